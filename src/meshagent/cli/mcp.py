"""`meshagent mcp`: MCP servers as toolkits of rooms, and local MCP servers for others to reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.agent_options import run_as_service, run_in_room
from meshagent.cli.command import Options, command
from meshagent.cli.context import RoomTarget
from meshagent.cli.output import CommandError, UsageError
from meshagent.cli.values import parse_pairs

if TYPE_CHECKING:
    from meshagent.tools.mcp import RemoteMcpToolkit

app = typer.Typer(help="MCP servers in rooms, and local ones for others to reach.", no_args_is_help=True)

UrlOption = Annotated[str, typer.Option(help="Where the MCP server answers.")]
Headers = Annotated[
    list[str] | None, typer.Option("--header", "-H", help="NAME=VALUE that goes with each request; may be repeated.")
]
Words = Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The program that is the MCP server.")]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", help="NAME=VALUE for the program; may be repeated.")]
Cwd = Annotated[str | None, typer.Option(help="The folder in which the program runs.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, help="Port to listen on; 0 takes a free one.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolkitOptions(Options):
    """What the toolkit is called, and how long its server may take."""

    toolkit_name: Annotated[str, typer.Option(help="The toolkit's name in the room.")] = "mcp"
    title: Annotated[str | None, typer.Option(help="Its title, for people.")] = None
    rule: Annotated[
        list[str] | None, typer.Option("--rule", "-r", help="What a model should know of it; may be repeated.")
    ] = None
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that the MCP server may take.")] = 60.0


@command(app, "http")
async def http(target: RoomTarget, toolkit: ToolkitOptions, url: UrlOption, headers: Headers = None) -> None:
    """Make an MCP server at a URL a toolkit of the room, until Ctrl+C."""
    sent = parse_pairs(headers or [], "header")
    await _join(target, toolkit, lambda: _toolkit(toolkit, url, headers=sent))


@command(app, "sse")
async def sse(target: RoomTarget, toolkit: ToolkitOptions, url: UrlOption, headers: Headers = None) -> None:
    """As `http`, for MCP servers that speak the older SSE transport."""
    sent = parse_pairs(headers or [], "header")

    def make() -> RemoteMcpToolkit:
        from mcp.client.sse import sse_client

        return _toolkit(toolkit, _Reopened(lambda: sse_client(url, headers=sent)))

    await _join(target, toolkit, make)


@command(app, "stdio")
async def stdio(target: RoomTarget, toolkit: ToolkitOptions, words: Words, env: Env = None, cwd: Cwd = None) -> None:
    """Start an MCP server as a program, and make it a toolkit of the room, until Ctrl+C."""
    program = _program(words, env, cwd)
    await _join(target, toolkit, lambda: _toolkit(toolkit, program()))


@command(app, "stdio-service")
async def stdio_service(
    toolkit: ToolkitOptions,
    words: Words,
    env: Env = None,
    cwd: Cwd = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; by default every interface.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, help="Port to listen on; by default MESHAGENT_PORT or 8081.")
    ] = None,
    path: Annotated[str, typer.Option(help="The path that takes calls.")] = "/mcp",
) -> None:
    """Wait for calls, and start an MCP server as a program for each room that calls."""
    _require_mcp()
    program = _program(words, env, cwd)
    await run_as_service(lambda: _toolkit(toolkit, program()), host=host, port=port, path=path)


@command(app, "http-proxy")
async def http_proxy(words: Words, env: Env = None, cwd: Cwd = None, host: Host = "127.0.0.1", port: Port = 0) -> None:
    """Start an MCP server as a program, and offer it at a URL, until Ctrl+C."""
    from meshagent.cli.mcp_proxy import serve_proxy

    _require_mcp()
    await serve_proxy(_program(words, env, cwd)(), host=host, port=port, transport="http")


@command(app, "sse-proxy")
async def sse_proxy(words: Words, env: Env = None, cwd: Cwd = None, host: Host = "127.0.0.1", port: Port = 0) -> None:
    """As `http-proxy`, by the older SSE transport."""
    from meshagent.cli.mcp_proxy import serve_proxy

    _require_mcp()
    await serve_proxy(_program(words, env, cwd)(), host=host, port=port, transport="sse")


async def _join(target: RoomTarget, toolkit: ToolkitOptions, make: Callable[[], RemoteMcpToolkit]) -> None:
    _require_mcp()
    name = target.name or toolkit.toolkit_name
    await run_in_room(replace(target, role=target.role or "tool"), make(), name=name)


def _toolkit(options: ToolkitOptions, server: Any, **more: Any) -> RemoteMcpToolkit:
    from meshagent.tools.mcp import RemoteMcpToolkit

    return RemoteMcpToolkit(
        server,
        name=options.toolkit_name,
        title=options.title,
        rules=options.rule or [],
        timeout=options.timeout,
        **more,
    )


def _program(words: list[str], env: list[str] | None, cwd: str | None) -> Callable[[], Any]:
    """Says how to start the program; UsageError if the words make no sense."""
    variables = parse_pairs(env or [], "variable")
    if not words:
        raise UsageError("give the program after `--`")

    def make() -> Any:
        from meshagent.tools.mcp import stdio_server

        return stdio_server(words[0], words[1:], env=variables, cwd=cwd)

    return make


def _require_mcp() -> None:
    if find_spec("mcp") is None:
        raise CommandError("this needs the package `mcp`", hint="pip install 'openmeshagent[agents]'")


class _Reopened:
    """A transport that can be entered again after it was lost, by making it anew."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._open: Any = None

    async def __aenter__(self) -> Any:
        self._open = self._make()
        return await self._open.__aenter__()

    async def __aexit__(self, *exception: Any) -> Any:
        return await self._open.__aexit__(*exception)
