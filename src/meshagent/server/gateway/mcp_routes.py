"""A room's toolkits as an MCP server: streamable HTTP at `/rooms/{room}/mcp`, a participant token as the key.

Every tool that takes JSON arguments is there as `TOOLKIT_TOOL`. `?toolkit=NAME`, as often as needed, offers those
toolkits alone. Requests stand alone: there are no sessions to lose. Needs the package `mcp`, which is imported when the
first request comes.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
from base64 import b64encode
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from meshagent.api import jsontext
from meshagent.api.contracts.content import (
    Body,
    EmptyBody,
    ErrorBody,
    FileBody,
    JsonBody,
    LinkBody,
    TextBody,
)
from meshagent.api.errors import (
    LimitExceededError,
    NotFoundError,
    RequestTimeoutError,
    RoomException,
    UnavailableError,
)
from meshagent.api.version import __version__
from meshagent.server.gateway.asgi import AsgiApp, serve_asgi
from meshagent.server.gateway.bodies import read_body
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.server.gateway.token_expiry import while_token_lasts
from meshagent.server.kernel.admission import Admission
from meshagent.server.rooms.handle import ToolAccess, ToolDescription

if TYPE_CHECKING:
    from mcp import types
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

__all__ = ["McpRoutes"]

log = logging.getLogger(__name__)

MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
MAX_NAME_LENGTH: Final = 64
_FORBIDDEN: Final = re.compile(r"[^a-zA-Z0-9_-]")
_VISIT: Final = "meshagent.visit"


class McpRoutes:
    """Serves rooms' tools to MCP clients; `close` it after the last request.

    Args:
        rooms: Lets the token's holder into the room for the length of a request.
        call_timeout: Seconds that a tool may take.
        max_requests: Requests that may be under way at a time; more are refused.
    """

    def __init__(self, rooms: RoomGateway, *, call_timeout: float = 600.0, max_requests: int = 1000) -> None:
        self._rooms = rooms
        self._max_requests = max_requests
        self._under_way = 0
        self._call_timeout = call_timeout
        self._runner: asyncio.Task[None] | None = None
        self._app: asyncio.Future[AsgiApp] | None = None
        self._stop = asyncio.Event()

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/rooms/{room}/mcp", self.handle)]

    async def close(self) -> None:
        """End the requests that are under way."""
        self._stop.set()
        if self._runner is not None:
            await asyncio.wait([self._runner])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One MCP request.

        Raises:
            PermissionDeniedError: A bad token, one without the grant to use tools, or one that expired meanwhile.
            LimitExceededError: Too many requests are under way, or this one is too large.
            UnavailableError: The package `mcp` is not installed or cannot be started, or the server is stopping.
        """
        if self._under_way >= self._max_requests:
            limit = self._max_requests
            raise LimitExceededError(f"{limit} MCP requests are under way already", limit=limit)
        self._under_way += 1
        try:
            return await self._serve(request)
        finally:
            self._under_way -= 1

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        toolkits = frozenset(request.query.getall("toolkit", ()))
        async with self._rooms.visit(request) as (admission, room):
            admission.scope.require_agents("use_tools")
            async with while_token_lasts(admission):
                body = await read_body(request, MAX_REQUEST_BYTES)
                app = await self._application()
                visit = _Visit(room.tools, admission, toolkits, self._call_timeout)
                return await self._while_running(serve_asgi(app, request, body, extensions={_VISIT: visit}))

    async def _application(self) -> AsgiApp:
        """The MCP server, which starts with the first request, and again with the first one after a failure."""
        if self._stop.is_set():
            raise UnavailableError("the server is shutting down")
        if self._app is None or self._runner is None or self._runner.done():
            self._app = asyncio.get_running_loop().create_future()
            self._runner = asyncio.create_task(self._run(self._app), name="MCP server")
        return await asyncio.shield(self._app)

    async def _while_running(self, serving: Coroutine[Any, Any, web.StreamResponse]) -> web.StreamResponse:
        """Give a request up when the MCP server ends, which would leave it without an answer."""
        assert self._runner is not None
        work = asyncio.create_task(serving, name="MCP request")
        try:
            await asyncio.wait({work, self._runner}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise UnavailableError("the MCP server ended before it answered")
            return work.result()
        finally:
            work.cancel()
            await asyncio.wait({work})

    async def _run(self, started: asyncio.Future[AsgiApp]) -> None:
        """Hold the MCP server: what enters and leaves it must be one task."""
        failure = UnavailableError("the MCP server could not be started")
        try:
            await asyncio.to_thread(_import_mcp)  # it takes a second, in which the loop serves others
            manager = _session_manager()
            async with manager.run():
                started.set_result(manager.handle_request)
                await self._stop.wait()
        except ImportError:
            failure = UnavailableError("this server lacks the package `mcp`")
        except Exception:
            log.exception("the MCP server failed; the next request starts another one")
        finally:
            if not started.done():
                started.set_exception(failure)


def _import_mcp() -> None:
    for name in ("mcp.types", "mcp.server.lowlevel", "mcp.server.streamable_http_manager"):
        importlib.import_module(name)


def _session_manager() -> StreamableHTTPSessionManager:
    from mcp.server.lowlevel import Server
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    server: Server[Any] = Server(
        "meshagent",
        version=__version__,
        instructions="Tools that are hosted in a room.",
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
    )
    return StreamableHTTPSessionManager(
        server, stateless=True, json_response=True, max_request_body_size=MAX_REQUEST_BYTES
    )


class _Visit:
    """An MCP client in a room, for one request."""

    def __init__(self, tools: ToolAccess, admission: Admission, toolkits: frozenset[str], call_timeout: float) -> None:
        self._tools = tools
        self._admission = admission
        self._toolkits = toolkits
        self._call_timeout = call_timeout

    async def tools(self) -> dict[str, ToolDescription]:
        """The tools with JSON arguments, by their MCP names."""
        found: dict[str, ToolDescription] = {}
        for tool in await self._tools.list(self._admission):
            if not self._toolkits or tool.toolkit in self._toolkits:
                found[_unused(_FORBIDDEN.sub("_", f"{tool.toolkit}_{tool.name}"), found)] = tool
        return found

    async def call(self, name: str, arguments: Mapping[str, Any]) -> Body:
        """Call a tool by its MCP name; what it refuses is an `ErrorBody`.

        Raises:
            NotFoundError: There is no such tool.
        """
        tool = (await self.tools()).get(name)
        if tool is None:
            raise NotFoundError(f"there is no tool {name!r} in this room")
        try:
            async with asyncio.timeout(self._call_timeout):
                return await self._tools.call(self._admission, tool.toolkit, tool.name, arguments)
        except TimeoutError:
            timeout = RequestTimeoutError(f"{name} did not answer within {self._call_timeout:g} seconds")
            return ErrorBody(text=str(timeout))
        except RoomException as error:
            return ErrorBody(text=str(error))


async def _list_tools(context: Any, params: Any) -> types.ListToolsResult:
    from mcp import types

    return types.ListToolsResult(
        tools=[
            types.Tool(
                name=name,
                title=tool.title,
                description=tool.description,
                input_schema=_full_schema(tool),
            )
            for name, tool in (await _visit(context).tools()).items()
        ]
    )


async def _call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    import mcp
    from mcp import types

    try:
        answer = await _visit(context).call(params.name, params.arguments or {})
    except NotFoundError as error:
        raise mcp.MCPError(code=types.INVALID_PARAMS, message=str(error)) from None
    structured = answer.json if isinstance(answer, JsonBody) and isinstance(answer.json, dict) else None
    return types.CallToolResult(
        content=_blocks(answer), structured_content=structured, is_error=isinstance(answer, ErrorBody)
    )


def _visit(context: Any) -> _Visit:
    visit = context.request.scope[_VISIT]
    assert isinstance(visit, _Visit)
    return visit


def _blocks(answer: Body) -> list[types.ContentBlock]:
    """A content as MCP has it."""
    from mcp import types

    match answer:
        case EmptyBody():
            return []
        case TextBody() | ErrorBody():
            return [types.TextContent(type="text", text=answer.text)]
        case LinkBody():
            return [types.ResourceLink(type="resource_link", name=answer.name, uri=answer.url)]
        case FileBody() if answer.mime_type.startswith("image/"):
            return [types.ImageContent(type="image", mime_type=answer.mime_type, data=_base64(answer.data))]
        case FileBody() if answer.mime_type.startswith("audio/"):
            return [types.AudioContent(type="audio", mime_type=answer.mime_type, data=_base64(answer.data))]
        case FileBody():
            uri = f"attachment:{_FORBIDDEN.sub('_', answer.name)}"
            blob = types.BlobResourceContents(uri=uri, mime_type=answer.mime_type, blob=_base64(answer.data))
            return [types.EmbeddedResource(type="resource", resource=blob)]
        case JsonBody():
            return [types.TextContent(type="text", text=jsontext.dumps(answer.json).decode())]
    return [types.TextContent(type="text", text=jsontext.dumps(answer.to_json()).decode())]


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _full_schema(tool: ToolDescription) -> dict[str, Any]:
    """The input schema with its definitions; MCP wants an object at the root."""
    schema = {"type": "object", **tool.input_schema}
    return {**schema, "$defs": {**schema.get("$defs", {}), **tool.defs}} if tool.defs else schema


def _unused(name: str, taken: Mapping[str, object]) -> str:
    candidate, number = name[:MAX_NAME_LENGTH], 2
    while candidate in taken:
        candidate = f"{name[: MAX_NAME_LENGTH - 4]}_{number}"
        number += 1
    return candidate
