"""A toolkit host that is gone without a word: calls go to another that has the same toolkit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshagent.api.wire import envelope
from meshagent.api.wire.packets import iter_packets
from meshagent.server.websocket import connection
from tests.support.server import serve
from tests.support.websocket_peer import Peer, client_frame, handshake
from tests.support.wire_client import join

TOOLKIT = {"name": "math", "public": True, "tools": {"add": {"description": "", "input_schema": {"type": "object"}}}}
CALL = {"toolkit": "math", "tool": "add", "arguments": {}}


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
