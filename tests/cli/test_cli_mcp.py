"""`meshagent mcp`: a real MCP server, as a program, in a real room and behind a proxy."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import mcp
import pytest
from mcp.client.sse import sse_client

from tests.support.chatting import joined
from tests.support.command_line import CommandLine, lines_until
from tests.support.server import TestServer

ROOT = Path(__file__).parents[2]
PROGRAM = (sys.executable, str(ROOT / "tests" / "support" / "mcp_servers.py"))


def address(line: str) -> str:
    return next(word for word in line.split() if word.startswith("http://")).rstrip(";")


async def test_a_program_becomes_a_toolkit_of_the_room(cli: CommandLine, server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        async with cli.start("mcp", "stdio", "--toolkit-name", "math", "--", *PROGRAM) as process:
            await lines_until(process.stderr, "math is in room room")
            answer = await alice.agents.invoke_tool(toolkit="math", tool="greet", arguments={"name": "you"})
            assert answer.to_json()["text"] == "hello you"
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), 20)
        assert "math" not in [toolkit.name for toolkit in await alice.agents.list_toolkits()]


async def test_a_program_is_started_for_each_room_that_calls(cli: CommandLine, server: TestServer) -> None:
    arguments = ("--toolkit-name", "math", "--host", "127.0.0.1", "--port", "0")
    async with (
        joined(server, "alice") as alice,
        cli.start("mcp", "stdio-service", *arguments, "--", *PROGRAM) as process,
    ):
        url = address((await lines_until(process.stderr, "waiting for invitations"))[-1])
        await alice.agents.make_call(name="math", url=url, arguments={})
        for _ in range(1000):
            if "math" in [toolkit.name for toolkit in await alice.agents.list_toolkits()]:
                break
            await asyncio.sleep(0.02)
        answer = await alice.agents.invoke_tool(toolkit="math", tool="add", arguments={"a": 1, "b": 2})
        assert answer.to_json()["json"] == {"result": 3}


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_a_program_is_offered_at_a_url_and_taken_into_a_room(
    cli: CommandLine, server: TestServer, transport: str
) -> None:
    async with cli.start("mcp", f"{transport}-proxy", "--", *PROGRAM) as proxy:
        url = address((await lines_until(proxy.stderr, "the MCP server is at"))[-1])
        async with mcp.Client(url if transport == "http" else sse_client(url)) as client:
            assert "add" in [tool.name for tool in (await client.list_tools()).tools]
        async with (
            joined(server, "alice") as alice,
            cli.start("mcp", transport, "--url", url, "--toolkit-name", "far") as process,
        ):
            await lines_until(process.stderr, "far is in room room")
            answer = await alice.agents.invoke_tool(toolkit="far", tool="add", arguments={"a": 1, "b": 2})
            assert answer.to_json()["json"] == {"result": 3}


async def test_what_is_no_mcp_server_is_told(cli: CommandLine) -> None:
    silent = (sys.executable, "-c", "pass")
    proxied, missing, unset = await asyncio.gather(
        cli.fails("mcp", "http-proxy", "--", *silent, code=5),
        cli.fails("mcp", "http-proxy", "--", "no-such-program-here", code=5),
        cli.fails("mcp", "http", code=2),
    )
    assert "error:" in proxied
    assert "error:" in missing
    assert "--url" in unset
