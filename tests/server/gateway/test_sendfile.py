"""Sending files past Python's memory: order, slow receivers, receivers that stop or leave, no leaked descriptors."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from meshagent.server.gateway.sendfile import can_sendfile, sendfile

CONTENT = os.urandom(1 << 20) * 12  # more than loopback sockets buffer


class Pair:
    """A server's transport, its client's reader, and a file to send."""

    def __init__(
        self, served: asyncio.StreamWriter, reader: asyncio.StreamReader, client: asyncio.StreamWriter
    ) -> None:
        self.transport = cast(asyncio.Transport, served.transport)  # uvloop's is none by its type
        self.drain = served.drain
        self.reader = reader
        self.client = client
        self.descriptor = -1

    def send(self, start: int = 0, stop: int = len(CONTENT), *, stall_timeout: float = 10.0) -> asyncio.Task[None]:
        work = sendfile(self.transport, self.drain, self.descriptor, start, stop, stall_timeout=stall_timeout)
        return asyncio.get_running_loop().create_task(work)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    accepted: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda _, writer: accepted.set_result(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    reader, client = await asyncio.open_connection("127.0.0.1", port)
    served = await accepted
    connected = Pair(served, reader, client)
    (tmp_path / "file").write_bytes(CONTENT)
    connected.descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    yield connected
    os.close(connected.descriptor)
    client.transport.abort()
    served.transport.abort()
    server.close()
    for _ in range(3):
        await asyncio.sleep(0)  # so that the transports are closed in fact


async def test_a_file_follows_what_was_written_before(pair: Pair) -> None:
    assert can_sendfile(pair.transport)
    before = open_descriptors()
    pair.transport.write(b"head")
    sending = pair.send(5, len(CONTENT) - 5)
    expected = b"head" + CONTENT[5:-5]
    arrived_whole = await pair.reader.readexactly(len(expected)) == expected  # too long to be shown in a failure
    assert arrived_whole
    await sending
    pair.transport.write(b"tail")
    assert await pair.reader.readexactly(4) == b"tail"
    assert open_descriptors() == before


@pytest.mark.parametrize("written_before", [b"", bytes(16 << 20)], ids=["file", "buffer"])
async def test_a_receiver_that_takes_nothing_is_given_up(pair: Pair, written_before: bytes) -> None:
    before = open_descriptors()
    pair.transport.write(written_before)
    with pytest.raises(TimeoutError):
        await pair.send(stall_timeout=0.02)
    assert open_descriptors() == before


async def test_a_receiver_that_leaves_ends_the_sending(pair: Pair) -> None:
    before = open_descriptors()
    sending = pair.send()
    await pair.reader.readexactly(10)
    pair.client.transport.abort()
    with pytest.raises(ConnectionError):
        await sending
    assert open_descriptors() <= before


async def test_a_transport_that_is_closed_meanwhile_ends_the_sending(pair: Pair) -> None:
    sending = pair.send()
    await pair.reader.readexactly(10)
    pair.transport.abort()
    while not sending.done():  # take what is on its way, so that the sending goes on and notices
        await asyncio.wait([sending], timeout=0.01)
        await pair.reader.read(1 << 20)
    with pytest.raises(ConnectionError):
        await sending


async def test_cancelling_releases_the_socket(pair: Pair) -> None:
    before = open_descriptors()
    sending = pair.send()
    await pair.reader.readexactly(10)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await asyncio.sleep(0)
    assert open_descriptors() == before


async def test_a_file_that_became_shorter_is_an_error(pair: Pair) -> None:
    os.truncate(f"/proc/self/fd/{pair.descriptor}", 100)
    with pytest.raises(ConnectionAbortedError, match="shorter"):
        await pair.send()


@pytest.mark.parametrize("cancelled", ["before it fails", "when it has failed"])
async def test_a_cancelled_download_that_fails_is_nobodys_error(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, cancelled: str
) -> None:
    errors: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    at_work, fail = asyncio.Event(), threading.Event()

    def broken(*_: object) -> int:
        loop.call_soon_threadsafe(at_work.set)
        fail.wait()
        raise BrokenPipeError

    monkeypatch.setattr("meshagent.server.gateway.sendfile._send_until_full", broken)
    before = open_descriptors()
    task = pair.send()
    await at_work.wait()
    if cancelled == "before it fails":
        task.cancel()
        fail.set()
    else:
        fail.set()
        loop.call_soon(task.cancel)
    await asyncio.wait([task])
    assert open_descriptors() == before
    del task
    gc.collect()
    assert errors == []
