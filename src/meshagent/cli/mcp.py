"""`meshagent mcp`: connect MCP servers to rooms as toolkits, and serve local MCP servers over HTTP."""

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

app = typer.Typer(help="Connect MCP servers to rooms, or serve local ones over HTTP.", no_args_is_help=True)

UrlOption = Annotated[str, typer.Option(help="URL of the MCP server.")]
Headers = Annotated[list[str] | None, typer.Option("--header", "-H", help="HTTP header, NAME=VALUE; repeatable.")]
Words = Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="Command that starts the MCP server.")]
Env = Annotated[list[str] | None, typer.Option("--env", "-e", help="Environment variable, NAME=VALUE; repeatable.")]
Cwd = Annotated[str | None, typer.Option(help="Working directory of the command.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, help="Port to listen on; 0 chooses a free one.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolkitOptions(Options):
    """Options of the toolkit that represents the MCP server."""

    toolkit_name: Annotated[str, typer.Option(help="Name of the toolkit in the room.")] = "mcp"
    title: Annotated[str | None, typer.Option(help="Display name of the toolkit.")] = None
    rule: Annotated[
        list[str] | None, typer.Option("--rule", "-r", help="Instruction for models that use it; repeatable.")
    ] = None
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for the MCP server.")] = 60.0


@command(app, "http")
async def http(target: RoomTarget, toolkit: ToolkitOptions, url: UrlOption, headers: Headers = None) -> None:
    """Host the tools of an MCP server at a URL as a toolkit of the room, until Ctrl+C."""
    parsed = parse_pairs(headers or [], "header")
    await _join(target, toolkit, lambda: _toolkit(toolkit, url, headers=parsed))


@command(app, "sse")
async def sse(target: RoomTarget, toolkit: ToolkitOptions, url: UrlOption, headers: Headers = None) -> None:
    """As `http`, for MCP servers that use the older SSE transport."""
    parsed = parse_pairs(headers or [], "header")

    def make() -> RemoteMcpToolkit:
        from mcp.client.sse import sse_client

        return _toolkit(toolkit, _ReusableTransport(lambda: sse_client(url, headers=parsed)))

    await _join(target, toolkit, make)


@command(app, "stdio")
async def stdio(target: RoomTarget, toolkit: ToolkitOptions, words: Words, env: Env = None, cwd: Cwd = None) -> None:
    """Start an MCP server as a process, and host its tools as a toolkit of the room, until Ctrl+C."""
    make_server = _server_factory(words, env, cwd)
    await _join(target, toolkit, lambda: _toolkit(toolkit, make_server()))


@command(app, "stdio-service")
async def stdio_service(
    toolkit: ToolkitOptions,
    words: Words,
    env: Env = None,
    cwd: Cwd = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: all interfaces.")] = None,
    port: Annotated[int | None, typer.Option(min=0, help="Port to listen on. Default: MESHAGENT_PORT or 8081.")] = None,
    path: Annotated[str, typer.Option(help="URL path for invitations.")] = "/mcp",
) -> None:
    """Wait for invitations, and start an MCP server process for each inviting room."""
    _require_mcp()
    make_server = _server_factory(words, env, cwd)
    await run_as_service(lambda: _toolkit(toolkit, make_server()), host=host, port=port, path=path)


@command(app, "http-proxy")
async def http_proxy(words: Words, env: Env = None, cwd: Cwd = None, host: Host = "127.0.0.1", port: Port = 0) -> None:
    """Start an MCP server as a process, and serve it over HTTP, until Ctrl+C."""
    from meshagent.cli.mcp_proxy import serve_proxy

    _require_mcp()
    await serve_proxy(_server_factory(words, env, cwd)(), host=host, port=port, transport="http")


@command(app, "sse-proxy")
async def sse_proxy(words: Words, env: Env = None, cwd: Cwd = None, host: Host = "127.0.0.1", port: Port = 0) -> None:
    """As `http-proxy`, with the older SSE transport."""
    from meshagent.cli.mcp_proxy import serve_proxy

    _require_mcp()
    await serve_proxy(_server_factory(words, env, cwd)(), host=host, port=port, transport="sse")


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


def _server_factory(words: list[str], env: list[str] | None, cwd: str | None) -> Callable[[], Any]:
    """Return a function that describes the server process; UsageError if the command is missing."""
    variables = parse_pairs(env or [], "variable")
    if not words:
        raise UsageError("no command given after `--`")

    def make() -> Any:
        from meshagent.tools.mcp import stdio_server

        return stdio_server(words[0], words[1:], env=variables, cwd=cwd)

    return make


def _require_mcp() -> None:
    if find_spec("mcp") is None:
        raise CommandError("this command requires the package `mcp`", hint="pip install 'openmeshagent[agents]'")


class _ReusableTransport:
    """A transport that can be entered again after a lost connection: each entry creates a new one."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._open: Any = None

    async def __aenter__(self) -> Any:
        self._open = self._make()
        return await self._open.__aenter__()

    async def __aexit__(self, *exception: Any) -> Any:
        return await self._open.__aexit__(*exception)
