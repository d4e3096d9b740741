"""A file of 100 MB to the server and back, over HTTP and as messages over a WebSocket.

    python -m benchmarks.files [--quick] [--rounds N] [-- server flags]

The server syncs an upload to the disk before it answers (durability as its flags say); the yardstick does not.
"""

from __future__ import annotations

import asyncio
import os

from benchmarks.running import run_benchmark
from benchmarks.subjects import Subject, both
from benchmarks.support import Options, Samples, Usage, measure

MEGABYTE = 1_000_000
CHUNK = 1 << 20


class HttpClient:
    """Just enough HTTP/1.1 to move a large body."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def upload(self, method: str, target: str, body: bytes) -> None:
        """Send `body`.

        Raises:
            RuntimeError: The server refused.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._head(method, target, f"Content-Length: {len(body)}\r\n"))
        view = memoryview(body)
        for start in range(0, len(body), CHUNK):
            writer.write(view[start : start + CHUNK])
            await writer.drain()
        await self._accepted(reader)
        writer.close()

    async def download(self, target: str) -> bytes:
        """Fetch a body.

        Raises:
            RuntimeError: The server refused.
        """
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=4 * CHUNK)
        writer.write(self._head("GET", target))
        await self._accepted(reader)
        parts = []
        while part := await reader.read(CHUNK):
            parts.append(part)
        writer.close()
        return b"".join(parts)

    def _head(self, method: str, target: str, extra: str = "") -> bytes:
        host = f"127.0.0.1:{self._port}"
        return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{extra}\r\n".encode()

    @staticmethod
    async def _accepted(reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.split(b" ", 2)[1].startswith(b"2"):
            raise RuntimeError((head + await reader.read(500)).decode(errors="replace"))


def figures(usage: Usage, size: int) -> dict[str, float]:
    """The figures of one transfer."""
    return {
        "MB/s": size / MEGABYTE / usage.wall,
        "server CPU ms/100 MB": usage.server_cpu * 1e3 * 100 * MEGABYTE / size,
    }


async def transfers(subject: Subject, turn: int, size: int) -> dict[str, dict[str, float]]:
    """Each way up and down once, and a check that what comes down is what went up."""
    body = os.urandom(CHUNK) * (size // CHUNK)
    room, client = "files", HttpClient(subject.port)
    results: dict[str, dict[str, float]] = {}
    fetched = b""

    method, target = await subject.http_upload(room, f"http{turn}.bin")
    usage = await measure(subject.pid, lambda: client.upload(method, target, body))
    results["file up, HTTP"] = figures(usage, len(body))

    source = await subject.http_download(room, f"http{turn}.bin")

    async def fetch() -> None:
        nonlocal fetched
        fetched = await client.download(source)

    results["file down, HTTP"] = figures(await measure(subject.pid, fetch), len(body))
    check(fetched, body)

    usage = await measure(subject.pid, lambda: subject.upload_frames(room, f"frames{turn}.bin", body))
    results["file up, messages"] = figures(usage, len(body))

    async def fetch_frames() -> None:
        nonlocal fetched
        fetched = await subject.download_frames(room, f"frames{turn}.bin")

    results["file down, messages"] = figures(await measure(subject.pid, fetch_frames), len(body))
    check(fetched, body)
    return results


def check(fetched: bytes, body: bytes) -> None:
    """Compare a file with what was sent.

    Raises:
        RuntimeError: They differ.
    """
    if fetched != body:
        raise RuntimeError(f"a file came back with {len(fetched)} of {len(body)} bytes, or with others")


async def run(options: Options, samples: Samples) -> None:
    """Measure both subjects in turn."""
    async with both(options) as subjects:
        for turn in range(options.rounds):
            for subject in subjects:
                for work, values in (await transfers(subject, turn, options.scaled(100, 2) * CHUNK)).items():
                    samples.add(subject.name, work, values)


if __name__ == "__main__":
    run_benchmark(run, __doc__)
