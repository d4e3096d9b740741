"""A toolkit host that is gone without a word: calls go to another that has the same toolkit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.wire import envelope
from meshagent.api.wire.packets import iter_packets
from meshagent.server.websocket import connection
from meshagent.server.websocket.shell import WebSocket
from tests.support.host_process import TOOLKIT, host_process
from tests.support.server import TestServer, serve
from tests.support.websocket_peer import Peer, client_frame, eventually, handshake
from tests.support.wire_client import WireClient, join

CALL = {"toolkit": "math", "tool": "add", "arguments": {}}


SOON = {"ping_interval": 1.0, "ping_timeout": 1.0}
"""Instead of the 50 seconds after which a silent host is dropped."""


async def register_silently(peer: Peer, path: str) -> None:
    """Join and register the toolkit, without ever answering a ping."""
    peer.send(handshake(path))
    assert " 101 " in await peer.head()
    data: Any = envelope.pack(TOOLKIT)
    for packet in iter_packets(1, "agent.register_toolkit", data):
        peer.send(client_frame(0x2, packet))


async def test_calls_prefer_a_host_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_QUIET_SECONDS", 0.0)
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.0)
    async with (
        serve(tmp_path) as server,
        join(server, "caller", role="agent") as caller,
        join(server, "live", role="agent") as live,
        await Peer.connect(server.port) as gone,
    ):
        await register_silently(gone, f"/rooms/room?token={server.token('gone', role='agent')}")
        await gone.body_until(b"__response__")
        await live.ok("agent.register_toolkit", TOOLKIT)
        await caller.send("agent.invoke_tool", CALL)  # the host that registered first is asked for a sign of life
        await caller.settle()
        message_id = await caller.send("agent.invoke_tool", CALL)
        call = await live.expect("agent.tool_call.math")
        await live.send("agent.tool_call_response", {"type": "text", "text": "3"}, message_id=call.id)
        assert (await caller.answer(message_id)).header["text"] == "3"


def participants(server: TestServer) -> set[str]:
    return {one.participant.name for one in server.started.rooms.directory.rooms[0].room.connections.values()}


def socket_of(server: TestServer, name: str) -> WebSocket:
    room = server.started.rooms.directory.rooms[0].room
    found = next(one.socket for one in room.connections.values() if one.participant.name == name)
    assert isinstance(found, WebSocket)
    return found


async def answer_calls(host: WireClient) -> None:
    while True:
        call = await host.expect("agent.tool_call.math")
        await host.send("agent.tool_call_response", {"type": "text", "text": "from the live one"}, message_id=call.id)


@asynccontextmanager
async def live_host(server: TestServer) -> AsyncIterator[WireClient]:
    """A host that answers for the length of the block."""
    async with join(server, "live", role="agent") as live:
        await live.ok("agent.register_toolkit", TOOLKIT)
        answering = asyncio.create_task(answer_calls(live))
        try:
            yield live
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)


async def answered(caller: WireClient) -> str:
    return str((await caller.request("agent.invoke_tool", CALL)).header["text"])


async def test_calls_go_past_a_stopped_process_long_before_it_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_QUIET_SECONDS", 0.1)
    monkeypatch.setattr(connection, "_ANSWER_SECONDS", 0.1)
    async with (
        serve(tmp_path) as server,
        join(server, "caller", role="agent") as caller,
        host_process(server.url, server.token("gone", role="agent")) as process,
        live_host(server),
    ):
        assert await answered(caller) == "from the process", "it registered first"
        process.send_signal(signal.SIGSTOP)
        await eventually(lambda: not socket_of(server, "gone").seems_present())
        for _ in range(3):
            assert await answered(caller) == "from the live one"
        assert "gone" in participants(server)


async def test_a_stopped_process_is_dropped_and_its_callers_are_told(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, limits=SOON) as server,
        join(server, "caller", role="agent") as caller,
        host_process(server.url, server.token("gone", role="agent")) as process,
        live_host(server),
    ):
        process.send_signal(signal.SIGSTOP)
        answer = await caller.request("agent.invoke_tool", CALL)
        assert "gone left the room" in answer.header["text"], "its system took the call: it may have been carried out"
        assert participants(server) == {"caller", "live"}
        assert await answered(caller) == "from the live one"


async def test_calls_that_never_reached_a_dead_host_are_answered_by_the_live_one(tmp_path: Path) -> None:
    async with (
        serve(tmp_path, limits=SOON) as server,
        join(server, "caller", role="agent") as caller,
        never_reading_host(server),
        live_host(server),
    ):
        caller.packet_bytes = 65536
        large = await caller.send("agent.invoke_tool", CALL, os.urandom(7_000_000))
        small = await caller.send("agent.invoke_tool", CALL)
        for message_id in (large, small):
            assert (await caller.answer(message_id)).header["text"] == "from the live one"
        assert participants(server) == {"caller", "live"}


@asynccontextmanager
async def never_reading_host(server: TestServer) -> AsyncIterator[None]:
    """A host that reads nothing after its registration, on a socket that takes little."""
    loop = asyncio.get_running_loop()
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await loop.sock_connect(raw, ("127.0.0.1", server.port))
        await loop.sock_sendall(raw, handshake(f"/rooms/room?token={server.token('gone', role='agent')}"))
        data: Any = envelope.pack(TOOLKIT)
        for packet in iter_packets(1, "agent.register_toolkit", data):
            await loop.sock_sendall(raw, client_frame(0x2, packet))
        received = b""
        async with asyncio.timeout(20):
            while b"__response__" not in received:
                received += await loop.sock_recv(raw, 4096)
        yield
