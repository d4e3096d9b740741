"""An MCP server that runs as a program, offered at a URL: its tools, prompts and resources are passed on."""

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
    """Start `program` and pass requests on to it, until Ctrl+C.

    Raises:
        CommandError: The program does not speak MCP, or the address cannot be used.
    """
    try:
        async with mcp.Client(program) as client:
            server = forwarding(client)
            app = server.streamable_http_app(host=host) if transport == "http" else _sse_app(server)
            await _listen(app, host, port, "/mcp" if transport == "http" else "/sse")
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, Exception):
            raise error from None
        raise CommandError(f"the MCP server cannot be used: {error}", code=ExitCode.NO_CONNECTION) from None
    except (mcp.MCPError, OSError) as error:
        raise CommandError(f"the MCP server cannot be used: {error}", code=ExitCode.NO_CONNECTION) from None


def forwarding(client: mcp.Client) -> Server[Any]:
    """A server that answers with what `client` is answered."""

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

    can, known = client.server_capabilities, client.server_info
    return Server(
        "proxy" if known is None else known.name,
        version="" if known is None else known.version or "",
        instructions=client.instructions,
        on_list_tools=list_tools if can.tools is not None else None,
        on_call_tool=call_tool if can.tools is not None else None,
        on_list_prompts=list_prompts if can.prompts is not None else None,
        on_get_prompt=get_prompt if can.prompts is not None else None,
        on_list_resources=list_resources if can.resources is not None else None,
        on_read_resource=read_resource if can.resources is not None else None,
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
        listening = config.bind_socket()
    except SystemExit:  # what uvicorn makes of an address that is taken
        raise CommandError(f"{host}:{port} cannot be listened on") from None
    listening.listen()  # so that who reads the address may connect at once
    note(f"the MCP server is at http://{host}:{listening.getsockname()[1]}{path}; Ctrl+C stops it")
    await uvicorn.Server(config).serve(sockets=[listening])
