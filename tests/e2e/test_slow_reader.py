"""A participant that does not read is cut off, and nobody else waits for it (protocol 1.9)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.server import TestServer, serve
from tests.support.websocket_peer import Peer, handshake
from tests.support.wire_client import join


@pytest.fixture
async def small_buffers(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serve(tmp_path, limits={"max_buffered_bytes": 256 * 1024, "drain_timeout": 0.5}) as server:
        yield server


async def test_a_slow_reader_is_cut_off_while_fifty_others_get_everything(small_buffers: TestServer) -> None:
    server = small_buffers
    async with AsyncExitStack() as stack:
        sender = await stack.enter_async_context(join(server, "sender"))
        readers = [await stack.enter_async_context(join(server, f"reader {number}")) for number in range(50)]
        for reader in readers:
            await reader.ok("messaging.enable")
        peer = await stack.enter_async_context(await Peer.connect(server.port))
        peer.send(handshake(f"/rooms/room?token={server.token('stalled')}"))
        assert " 101 " in await peer.head()
        room = server.started.rooms.directory.rooms[0].room.state
        stalled = next(p for p in room.participants.values() if p.name == "stalled")
        stalled.messaging_enabled = True
        count = 0
        while stalled.id in room.participants:
            count += 1
            # An error says that the stalled participant missed it; the others have it all the same.
            await sender.request("messaging.broadcast", {"type": "bulk", "message": {"n": count}}, b"x" * 200_000)
            assert count < 200, "the stalled participant was never cut off"
        for reader in readers:
            await reader.settle()
            numbers = [m.header["message"]["n"] for m in reader.of_type("messaging.send") if m.header["type"] == "bulk"]
            assert numbers == list(range(1, count + 1))
