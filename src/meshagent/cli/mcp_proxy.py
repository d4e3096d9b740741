"""Serves an MCP server process over HTTP: forwards its tools, prompts and resources."""

from __future__ import annotations

from typing import Any, Literal

import mcp
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from meshagent.cli.output import CommandError, ExitCode, note

Transport = Literal["http", "sse"]


async def serve_proxy(program: Any, *, host: str, port: int, transport: Transport) -> None:
    """Start `program` and forward requests to it, until Ctrl+C.

    Raises:
        CommandError: The program does not support MCP, or the address is not available.
    """
    try:
        async with mcp.Client(program) as client:
            server = forwarding_server(client)
            app = server.streamable_http_app(host=host) if transport == "http" else _sse_app(server)
            await _listen(app, host, port, "/mcp" if transport == "http" else "/sse")
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, Exception):
            raise error from None
        raise CommandError(f"cannot use the MCP server: {error}", code=ExitCode.NO_CONNECTION) from None
    except (mcp.MCPError, OSError) as error:
        raise CommandError(f"cannot use the MCP server: {error}", code=ExitCode.NO_CONNECTION) from None


def forwarding_server(client: mcp.Client) -> Server[Any]:
    """Return a server that forwards every request to `client`."""

    async def list_tools(context: Any, params: Any) -> Any:
        return await client.list_tools(cursor=None if params is None else params.cursor)

    async def call_tool(context: Any, params: Any) -> Any:
        return await client.call_tool(params.name, params.arguments)

    async def list_prompts(context: Any, params: Any) -> Any:
        return await client.list_prompts(cursor=None if params is None else params.cursor)

    async def get_prompt(context: Any, params: Any) -> Any:
        return await client.get_prompt(params.name, params.arguments)

    async def list_resources(context: Any, params: Any) -> Any:
        return await client.list_resources(cursor=None if params is None else params.cursor)

    async def read_resource(context: Any, params: Any) -> Any:
        return await client.read_resource(params.uri)

    capabilities, info = client.server_capabilities, client.server_info
    return Server(
        "proxy" if info is None else info.name,
        version="" if info is None else info.version or "",
        instructions=client.instructions,
        on_list_tools=list_tools if capabilities.tools is not None else None,
        on_call_tool=call_tool if capabilities.tools is not None else None,
        on_list_prompts=list_prompts if capabilities.prompts is not None else None,
        on_get_prompt=get_prompt if capabilities.prompts is not None else None,
        on_list_resources=list_resources if capabilities.resources is not None else None,
        on_read_resource=read_resource if capabilities.resources is not None else None,
    )


def _sse_app(server: Server[Any]) -> Starlette:
    transport = SseServerTransport("/messages/")

    async def handle(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
        return Response()

    return Starlette(routes=[Route("/sse", handle), Mount("/messages/", app=transport.handle_post_message)])


async def _listen(app: Starlette, host: str, port: int, path: str) -> None:
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", lifespan="on")
    try:
        listener = config.bind_socket()
    except SystemExit:  # uvicorn exits if the address is in use
        raise CommandError(f"cannot listen on {host}:{port}") from None
    listener.listen()  # clients may connect as soon as the URL is printed
    note(f"the MCP server is at http://{host}:{listener.getsockname()[1]}{path}; press Ctrl+C to stop")
    await uvicorn.Server(config).serve(sockets=[listener])
