"""MCP servers as toolkits: in this process, as a program, and hosted in a room."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.contracts.content import Body, ErrorBody, FileBody, JsonBody, TextBody
from meshagent.api.errors import InvalidStateError, RoomException, UnavailableError
from meshagent.api.room.client import RoomClient
from meshagent.tools.mcp import McpConnection, McpToolkit, RemoteMcpToolkit, stdio_server
from tests.support.mcp_servers import make_server
from tests.support.scripted_server import ScriptedServer, memory_pair
from tests.support.tool_contexts import context

PROGRAM = Path(__file__).parents[1] / "support" / "mcp_servers.py"


async def test_a_servers_tools_are_a_toolkit() -> None:
    async with McpToolkit.connect(make_server(), name="math") as toolkit:
        add = toolkit.get_tool("add")
        assert (toolkit.name, add.title, add.description) == ("math", "Add", "adds two numbers")

        async def call(name: str, /, **arguments: Any) -> Body:
            return await toolkit.execute(context=context(), name=name, arguments=arguments)

        assert await call("add", a=1, b=2) == JsonBody(json={"result": 3})
        assert await call("greet", name="bob") == TextBody(text="hello bob")
        assert await call("picture") == FileBody(name="picture.png", mime_type="image/png", data=b"\x89PNG")
        failed = await call("fail")
        assert isinstance(failed, ErrorBody)
        with pytest.raises(RoomException):
            await call("add", a="x")


async def test_a_refusal_of_the_server_is_told() -> None:
    connection = McpConnection(make_server())
    try:
        answer = await connection.call_tool("divide", {})
        assert isinstance(answer, ErrorBody)
        assert "divide" in answer.text
    finally:
        await connection.stop()
    await connection.stop()


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError):
        await McpConnection("http://127.0.0.1:9/mcp", timeout=5).start()
    with pytest.raises(UnavailableError):
        await McpConnection(stdio_server("/no/such/program")).start()
    with pytest.raises(UnavailableError):
        await McpConnection(make_server(), headers={"a": "b"}).start()


@pytest.mark.slow
async def test_a_server_program_is_started_again_after_it_died() -> None:
    connection = McpConnection(stdio_server(sys.executable, [str(PROGRAM)]), timeout=30)
    try:
        assert await connection.call_tool("add", {"a": 1, "b": 2}) == JsonBody(json={"result": 3})
        with pytest.raises(UnavailableError):
            await connection.call_tool("die", {})
        assert await connection.call_tool("add", {"a": 2, "b": 2}) == JsonBody(json={"result": 4})
    finally:
        await connection.stop()


async def test_a_server_is_hosted_in_a_room() -> None:
    client, end = memory_pair()
    async with ScriptedServer(end) as server, RoomClient(protocol=client) as room:
        server.replies["agent.register_toolkit"] = lambda header, payload: {"id": "1"}
        toolkit = RemoteMcpToolkit(make_server(), name="math", title="Math")
        async with toolkit.hosted(room):
            [(registration, _)] = server.received("agent.register_toolkit")
            assert registration["tools"]["add"]["input_schema"]["required"] == ["a", "b"]
            call = {"name": "add", "arguments": {"a": 1, "b": 2}, "caller_id": "bob"}
            await server.event("agent.tool_call.math", call)
            [(answer, _)] = await server.until_received("agent.tool_call_response")
            assert answer["json"] == {"result": 3}
            with pytest.raises(InvalidStateError):
                await RemoteMcpToolkit(make_server(), name="math").start(room=room)
