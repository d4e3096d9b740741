"""Bodies of HTTP requests on a real server: compressed ones, large ones, and those that nobody asked for."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import decompressobj as zlib_decompressobj

import aiohttp
import pytest

from meshagent.server.gateway.bodies import MAX_JSON_VALUES
from meshagent.testing import RoomServer
from tests.support.server import serve
from tests.support.wire_client import join

MIB = 1024 * 1024


@cache
def packed(size: int) -> bytes:
    """`size` zeros in MiB, in gzip's format."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(size)) + packer.flush()


class Unpackers:
    """The bytes that each step of unpacking made, in the whole process, and the turn of the loop in which it ran."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []
        self.turn = 0

    def make(self, *arguments: Any) -> Unpackers.Watched:
        return self.Watched(zlib_decompressobj(*arguments), self)

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    class Watched:
        def __init__(self, unpacker: Any, watch: Unpackers) -> None:
            self._unpacker = unpacker
            self._watch = watch

        def decompress(self, *arguments: Any) -> bytes:
            made: bytes = self._unpacker.decompress(*arguments)
            self._watch.steps.append((self._watch.turn, len(made)))
            return made

        def __getattr__(self, name: str) -> Any:
            return getattr(self._unpacker, name)


@pytest.fixture
def unpackers(monkeypatch: pytest.MonkeyPatch) -> Unpackers:
    watch = Unpackers()
    monkeypatch.setattr(zlib, "decompressobj", watch.make)
    return watch


@pytest.fixture
async def http(server: RoomServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.token()}"}) as session:
        yield session


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "rooms/room/storage/a.bin", 403),
        ("POST", "rooms/room/storage:move", 403),
        ("PATCH", "rooms/room/documents/a.document", 403),
        ("POST", "rooms/room/v1/responses", 403),
        ("POST", "rooms/room/mcp", 403),
        ("POST", "accounts/projects/p/rooms", 401),
        ("GET", "healthz", 200),
        ("POST", "no/such/route", 404),
    ],
)
async def test_nobody_unpacks_the_body_of_a_stranger(
    server: RoomServer, unpackers: Unpackers, method: str, path: str, status: int
) -> None:
    body = packed(64)
    async with aiohttp.ClientSession() as session:
        headers = {"Content-Encoding": "gzip"}
        async with session.request(method, f"{server.url}/{path}", data=body, headers=headers) as answer:
            assert answer.status == status
    assert unpackers.steps == []


@pytest.mark.parametrize(
    ("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("GZIP", gzip.compress)]
)
async def test_a_compressed_upload_is_stored_unpacked(
    server: RoomServer, http: aiohttp.ClientSession, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    url, content = f"{server.url}/rooms/room/storage/a.bin", bytes(range(256)) * 4096
    async with http.put(url, data=pack(content), headers={"Content-Encoding": encoding}) as answer:
        assert answer.status == 201
        assert (await answer.json())["size"] == len(content)
    async with http.get(url) as answer:
        assert await answer.read() == content


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"content", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(b"content")), 415),
        ("gzip", gzip.compress(b"content" * 1000)[:-9], 400),
        ("gzip", gzip.compress(b"content") + b"more", 400),
        ("gzip", b"content", 400),
        ("gzip", b"", 400),
    ],
    ids=["br", "twice", "broken off", "too long", "not packed", "empty"],
)
async def test_what_is_not_packed_as_it_says_leaves_the_old_file(
    server: RoomServer, http: aiohttp.ClientSession, encoding: str, body: bytes, status: int
) -> None:
    url = f"{server.url}/rooms/room/storage/a.bin"
    async with http.put(url, data=b"old") as answer:
        assert answer.status == 201
    async with http.put(url, data=body, headers={"Content-Encoding": encoding}) as answer:
        assert answer.status == status, await answer.text()
        assert (answer.headers.get("Accept-Encoding") == "gzip, deflate") == (status == 415)
    async with http.get(url) as answer:
        assert await answer.read() == b"old"


async def test_the_bound_of_a_file_is_that_of_what_is_unpacked(tmp_path: Path) -> None:
    async with serve(tmp_path / "data", limits={"max_file_bytes": MIB}) as server:
        headers = {"Authorization": f"Bearer {server.token()}", "Content-Encoding": "gzip"}
        url = f"{server.url}/rooms/room/storage/a.bin"
        async with aiohttp.ClientSession(headers=headers) as session:
            async with session.put(url, data=gzip.compress(bytes(MIB))) as answer:
                assert answer.status == 201
            async with session.put(url, data=gzip.compress(bytes(MIB + 1))) as answer:
                assert answer.status == 413


async def test_large_bodies_are_taken_in_small_steps(
    server: RoomServer, unpackers: Unpackers, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []

    def loads(text: bytes) -> Any:
        parsed.append(len(text))
        return json.loads(text)

    monkeypatch.setattr("meshagent.server.gateway.bodies.jsontext", SimpleNamespace(loads=loads))
    turns = asyncio.create_task(unpackers.count_turns())
    async with join(server) as alice:
        await alice.open_document("a.document")
        token = {"Authorization": f"Bearer {server.token()}"}
        document = f"{server.url}/rooms/room/documents/a.document"
        large, deep = packed(64), b"[" + b"0," * MAX_JSON_VALUES + b"0]"
        long_text = json.dumps({"document": {"content": [], "x": "a" * (7 * MIB)}}).encode()
        async with aiohttp.ClientSession(headers=token) as session:
            for body, headers, status in (
                (large, {"Content-Encoding": "gzip"}, 413),
                (gzip.compress(deep), {"Content-Encoding": "gzip"}, 413),
                (deep, {}, 413),
                (long_text, {}, 400),
            ):
                async with session.patch(document, data=io.BytesIO(body), headers=headers) as answer:
                    assert answer.status == status, await answer.text()
            async with session.put(
                f"{server.url}/rooms/room/storage/a.bin", data=large, headers={"Content-Encoding": "gzip"}
            ) as answer:
                assert answer.status == 201
    turns.cancel()
    assert sum(size for _, size in unpackers.steps) > 64 * MIB
    assert max(size for _, size in unpackers.steps) <= 64 * 1024
    assert max(Counter(turn for turn, _ in unpackers.steps).values()) <= 2
    assert parsed == [len(long_text)], "what has too many values is not even parsed"
