"""Numbers that JSON cannot hold are refused where null would mean something else (protocol 2.3)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from meshagent.api.contracts import database
from meshagent.api.errors import InvalidRequestError
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import iter_packets
from tests.support.chatting import joined
from tests.support.server import TestServer
from tests.support.wire_client import Received, WireClient, join

MESSAGE_IDS = itertools.count(900)
DIALECTS = ["flat", "invoke"]
NUMBERS = ["NaN", "Infinity", "-Infinity", "1e400"]


async def ask(client: WireClient, dialect: str, tool: str, request: str) -> Received:
    """A request to a queue, with its header as a text that need not be JSON."""
    message_type = f"queues.{tool}"
    if dialect == "invoke":
        message_type = "room.invoke_tool"
        call = f'{{"toolkit":"queues","tool":"{tool}","arguments":'
        request = call + '{"type":"json","json":' + request + "}}"
    message_id = next(MESSAGE_IDS)
    for packet in iter_packets(message_id, message_type, envelope.join(request.encode(), b""), client.packet_bytes):
        await client.socket.send_bytes(packet)
    return await client.answer(message_id)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_lease_that_is_no_number_leaves_the_message(server: TestServer, dialect: str, number: str) -> None:
    async with join(server) as alice:
        await alice.ok("queues.send", {"name": "jobs", "message": "work"})
        for member in ("lease", "max_attempts"):
            answer = await ask(alice, dialect, "receive", f'{{"name":"jobs","wait":false,"{member}":{number}}}')
            assert answer.header["type"] == "error"
            assert answer.header["text"].startswith(f"{member}: NaN, infinity")
        assert (await alice.request("queues.receive", {"name": "jobs", "wait": False})).header["text"] == "work"


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_delay_that_is_no_number_sends_nothing(server: TestServer, dialect: str, number: str) -> None:
    async with join(server) as alice:
        answer = await ask(alice, dialect, "send", f'{{"name":"jobs","message":1,"delay":{number}}}')
        assert answer.header["text"].startswith("delay: NaN, infinity")
        assert await alice.ok("queues.list") == {"queues": []}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_the_client_refuses_numbers_that_json_lacks(server: TestServer, number: Any) -> None:
    async with joined(server, "alice") as alice:
        await alice.queues.send("jobs", "work")
        options: dict[str, Any]
        for options in ({"lease": number}, {"lease": 5, "max_attempts": number}):
            with pytest.raises(InvalidRequestError, match="NaN, infinity"):
                await alice.queues.receive("jobs", wait=False, **options)
        with pytest.raises(InvalidRequestError, match="delay: NaN, infinity"):
            await alice.queues.send("jobs", 1, delay=number)
        with pytest.raises(InvalidRequestError, match="limit: NaN, infinity"):
            await alice.call(database.SEARCH, database.SearchRequest(table="t", limit=number))
        assert [(queue.name, queue.size) for queue in await alice.queues.list()] == [("jobs", 1)]


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_message_may_still_have_such_numbers_which_are_null(server: TestServer, dialect: str) -> None:
    async with join(server) as alice:
        await ask(alice, dialect, "send", '{"name":"jobs","message":{"a":[NaN,-Infinity]}}')
        answer = await alice.request("queues.receive", {"name": "jobs", "wait": False})
        assert answer.header["json"] == {"a": [None, None]}
