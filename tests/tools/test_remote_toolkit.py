"""Toolkits hosted in a room: registration, calls, errors, reconnecting, stopping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshagent.api.contracts.content import FileBody
from meshagent.api.errors import InvalidStateError, RoomException
from meshagent.api.room.client import RoomClient
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.tools import RemoteToolkit, ToolContext, tool
from tests.support.scripted_server import BreakableProtocol, ScriptedServer, memory_pair


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    if a < 0:
        raise ValueError("too small")
    return a + b


@tool
async def whoami(context: ToolContext) -> dict[str, Any]:
    return {
        "caller": context.caller.id,
        "name": context.caller.get_attribute("name"),
        "for": context.beneficiary.id,
        "context": context.caller_context,
        "attachment": context.attachment.decode(),
    }


@tool
async def forever() -> None:
    await asyncio.Event().wait()


def register(header: dict[str, Any], payload: bytes) -> dict[str, Any]:
    return {"id": f"id of {header['name']}"}


@asynccontextmanager
async def hosted(**options: Any) -> AsyncIterator[tuple[ScriptedServer, RoomClient, RemoteToolkit]]:
    client, end = memory_pair()
    async with ScriptedServer(end) as server, RoomClient(protocol=client) as room:
        server.replies["agent.register_toolkit"] = register
        toolkit = RemoteToolkit("math", [add, whoami, forever], "Math", "sums", ["be exact"], **options)
        async with toolkit.hosted(room):
            yield server, room, toolkit


async def call(server: ScriptedServer, name: str, arguments: Any, **more: Any) -> None:
    payload = more.pop("payload", b"")
    header = {"name": name, "arguments": arguments, "caller_id": "bob", **more}
    await server.event("agent.tool_call.math", header, payload)


async def answers(server: ScriptedServer, count: int = 1) -> list[dict[str, Any]]:
    return [header for header, _ in await server.until_received("agent.tool_call_response", count)]


async def test_it_registers_with_its_tools_and_unregisters() -> None:
    async with hosted(public=False) as (server, _, _):
        [(registration, _)] = server.received("agent.register_toolkit")
        assert registration["name"] == "math"
        assert registration["public"] is False
        assert list(registration["tools"]) == ["add", "whoami", "forever"]
        assert registration["tools"]["add"]["input_schema"]["required"] == ["a", "b"]
    assert [header for header, _ in server.received("agent.unregister_toolkit")] == [{"id": "id of math"}]


async def test_it_answers_calls_with_what_the_tool_returns() -> None:
    async with hosted() as (server, room, _):
        await call(server, "add", {"a": 1, "b": 2})
        assert (await answers(server))[0]["json"] == {"result": 3}
        await call(server, "whoami", {}, on_behalf_of_id="carol", caller_context={"x": 1}, payload=b"bytes")
        expected = {"caller": "bob", "name": None, "for": "carol", "context": {"x": 1}, "attachment": "bytes"}
        assert (await answers(server, 2))[1]["json"] == expected
        await call(server, "whoami", {}, caller_id=room.local_participant.id)
        assert (await answers(server, 3))[2]["json"]["name"] == "alice"


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("add", {"a": -1, "b": 2}, "too small"),
        ("add", {"a": "x", "b": 2}, "invalid arguments of add"),
        ("add", [1, 2], "must be a JSON object"),
        ("subtract", {}, "no tool 'subtract'"),
    ],
)
async def test_failures_are_told_to_the_caller(name: str, arguments: Any, text: str) -> None:
    async with hosted() as (server, _, _):
        await call(server, name, arguments)
        [answer] = await answers(server)
        assert answer["type"] == "error"
        assert text in answer["text"]


async def test_calls_run_side_by_side_up_to_the_limit() -> None:
    async with hosted(max_calls=2) as (server, _, _):
        await call(server, "forever", {})
        await call(server, "add", {"a": 1, "b": 2})
        assert (await answers(server))[0]["json"] == {"result": 3}
        await call(server, "forever", {})
        await call(server, "add", {"a": 1, "b": 2})
        assert "busy" in (await answers(server, 2))[1]["text"]


async def test_stopping_ends_the_calls_that_run_and_tells_their_callers() -> None:
    async with hosted() as (server, _, toolkit):
        await call(server, "forever", {})
        await call(server, "add", {"a": 1, "b": 2})  # answered, so the one before runs
        await answers(server)
        await toolkit.stop()
        assert "was stopped" in (await answers(server, 2))[1]["text"]
        await toolkit.stop()


async def test_it_starts_once_and_not_beside_one_of_its_name() -> None:
    async with hosted() as (_, room, toolkit):
        with pytest.raises(InvalidStateError):
            await toolkit.start(room=room)
        with pytest.raises(InvalidStateError):
            await RemoteToolkit("math", [add]).start(room=room)


async def test_a_refused_registration_leaves_nothing_behind() -> None:
    client, end = memory_pair()
    async with ScriptedServer(end) as server, RoomClient(protocol=client) as room:

        def refuse(header: dict[str, Any], payload: bytes) -> None:
            raise RoomException("not here")

        server.replies["agent.register_toolkit"] = refuse
        toolkit = RemoteToolkit("math", [add])
        with pytest.raises(RoomException, match="not here"):
            await toolkit.start(room=room)
        server.replies["agent.register_toolkit"] = register
        await toolkit.start(room=room)
        await toolkit.stop()


async def test_it_registers_again_after_a_lost_connection_and_drops_answers_of_the_old_one() -> None:
    def prepare(attempt: int, server: ScriptedServer) -> None:
        server.replies["agent.register_toolkit"] = register

    release = asyncio.Event()

    @tool
    async def wait() -> str:
        await release.wait()
        return "late"

    protocol = BreakableProtocol(prepare)
    policy = ReconnectPolicy(initial_delay=0.001)
    async with (
        RoomClient(protocol=protocol, reconnect=policy) as room,
        RemoteToolkit("math", [add, wait]).hosted(room),
    ):
        await call(protocol.server, "wait", {})
        await call(protocol.server, "add", {"a": 1, "b": 2})
        await answers(protocol.server)
        protocol.break_connection()
        reconnected = asyncio.Event()
        room.on("reconnected", reconnected.set)
        async with asyncio.timeout(5):
            await reconnected.wait()
        await protocol.server.until_received("agent.register_toolkit")
        release.set()
        await call(protocol.server, "add", {"a": 2, "b": 2})
        assert [answer["json"] for answer in await answers(protocol.server)] == [{"result": 4}]


async def test_files_come_back_as_files() -> None:
    @tool
    async def make() -> FileBody:
        return FileBody(name="a.txt", mime_type="text/plain", data=b"hello")

    client, end = memory_pair()
    async with ScriptedServer(end) as server, RoomClient(protocol=client) as room:
        server.replies["agent.register_toolkit"] = register
        async with RemoteToolkit("math", [make]).hosted(room):
            await call(server, "make", {})
            [(header, payload)] = await server.until_received("agent.tool_call_response")
            assert (header["type"], payload) == ("file", b"hello")
