"""Large JSON on the wire: what costs too much is refused before it is read, and what is cheap goes through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api import jsontext
from meshagent.api.wire.packets import iter_packets
from meshagent.server.kernel.json_cost import MAX_JSON_VALUES, MAX_LENIENT_VALUES
from tests.support.invoke_client import OPEN, Stream
from tests.support.server import TestServer
from tests.support.wire_client import WireClient, join

MANY = b"[" + b"[]," * MAX_JSON_VALUES + b"%s]"
TOOLKIT = {"name": "feed", "public": True, "tools": {"read": {"input_spec": {"types": ["json"], "stream": True}}}}


@pytest.fixture
def read_leniently(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the texts that were read in the slow way."""
    sizes: list[int] = []
    loads = jsontext._loads_anything

    def watched(text: bytes | str) -> Any:
        sizes.append(len(text))
        return loads(text)

    monkeypatch.setattr(jsontext, "_loads_anything", watched)
    return sizes


async def send_text(client: WireClient, message_type: str, header: bytes, *, message_id: int = 900) -> int:
    """Send a header exactly as it is written."""
    data = len(header).to_bytes(8, "big") + header
    for packet in iter_packets(message_id, message_type, data, 65536):
        await client.socket.send_bytes(packet)
    return message_id


async def test_a_large_message_goes_through_as_text(server: TestServer, read_leniently: list[int]) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        await bob.ok("messaging.enable")
        header = b'{"type":"many","message":' + MANY % b"1" + b"}"
        answer = await alice.answer(await send_text(alice, "messaging.broadcast", header))
        assert answer.header["type"] == "empty"
        assert len((await bob.message("many")).header["message"]) == MAX_JSON_VALUES + 1
        assert read_leniently == []


@pytest.mark.parametrize(
    ("message_type", "header"),
    [
        ("messaging.broadcast", b'{"type":"many","message":' + MANY % b"NaN" + b"}"),
        ("room.create", b'{"path":"a.document","json":{"a":' + MANY % b"1" + b"}}"),
        ("room.create", b'{"path":"a.document","json":{"a":' + MANY % b"!" + b"}}"),
        ("room.invoke_tool", b'{"toolkit":"a","tool":"b","arguments":' + MANY % b"NaN" + b"}"),
        ("room.invoke_tool", b'{"toolkit":"feed","tool":"read","caller_context":{"a":' + MANY % b"1" + b"}}"),
    ],
    ids=["NaN", "values", "broken", "arguments", "context"],
)
async def test_what_costs_too_much_is_refused(
    server: TestServer, read_leniently: list[int], message_type: str, header: bytes
) -> None:
    async with join(server) as alice:
        await alice.ok("room.register_toolkit", TOOLKIT)
        answer = await alice.answer(await send_text(alice, message_type, header))
        assert answer.header["type"] == "error"
        assert "JSON" in answer.header["text"]
        await alice.settle()
        assert read_leniently == []


@pytest.mark.parametrize("message_type", ["set_attributes", "agent.ask_response"])
async def test_what_gets_no_answer_is_ignored(server: TestServer, read_leniently: list[int], message_type: str) -> None:
    async with join(server) as alice:
        for last in (b"1", b"NaN"):
            await send_text(alice, message_type, b'{"task_id":"a","answer":' + MANY % last + b"}")
            await alice.settle()
        assert read_leniently == []


async def test_a_host_that_answers_such_a_text_fails_its_call(server: TestServer, read_leniently: list[int]) -> None:
    text = b'{"type":"json","json":' + MANY % b"NaN" + b',"__meshagent__":{"v":1}}'
    async with join(server, "host") as host, join(server, "caller") as caller:
        await host.ok("room.register_toolkit", TOOLKIT)
        header = {"toolkit": "feed", "tool": "read", "arguments": {"type": "json", "json": {}}}
        request = await caller.send("room.invoke_tool", header)
        call = await host.expect("room.tool_call.feed")
        await send_text(host, "room.tool_call_response", text, message_id=call.id)
        assert "must be strict" in (await caller.answer(request)).header["text"]

        stream = await Stream.open(caller, "feed", "read", "mine")
        call = await host.expect("room.tool_call.feed")
        await host.send("room.tool_call_response", OPEN, message_id=call.id)
        await stream.opened()
        chunk = b'{"tool_call_id":"x","chunk":' + text + b"}"
        await send_text(host, "room.tool_call_response_chunk", chunk, message_id=call.id)
        error, _ = await stream.next()
        assert error["type"] == "error"
        assert "must be strict" in error["text"]
        await stream.closed()
        assert read_leniently == []


async def test_not_a_number_is_still_null_in_smaller_texts(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        await bob.ok("messaging.enable")
        numbers = b"[" + b"1," * (MAX_LENIENT_VALUES // 2) + b"NaN]"
        await send_text(alice, "messaging.broadcast", b'{"type":"some","message":' + numbers + b"}")
        async with asyncio.timeout(20):
            assert (await bob.message("some")).header["message"][-1] is None
