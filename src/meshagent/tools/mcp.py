"""Tools of MCP servers as toolkits. Requires the package `mcp`, which the extra `agents` installs."""

from __future__ import annotations

import asyncio
import logging
import mimetypes
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from meshagent.api import jsontext
from meshagent.api.contracts.content import Body, ErrorBody, FileBody, JsonBody, TextBody
from meshagent.api.errors import InvalidStateError, RequestTimeoutError, RoomException, UnavailableError
from meshagent.tools.context import ToolContext
from meshagent.tools.hosting import RemoteToolkit
from meshagent.tools.tool import Tool, ToolResult
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    import mcp
    import mcp.types

    from meshagent.api.room.client import RoomClient

__all__ = ["McpConnection", "McpTool", "McpToolkit", "RemoteMcpToolkit", "stdio_server"]

log = logging.getLogger(__name__)

MAX_PAGES = 100

McpServer: TypeAlias = Any
"""A URL (streamable HTTP), the result of `stdio_server`, a transport, or a server object in this process."""


def stdio_server(
    command: str, args: Sequence[str] = (), *, env: Mapping[str, str] | None = None, cwd: str | None = None
) -> mcp.StdioServerParameters:
    """Return a server that is started as a process and connected through its standard input and output.

    Args:
        command: The program.
        args: Its arguments.
        env: Environment variables, in addition to the few that MCP always passes.
        cwd: Working directory.
    """
    import mcp

    return mcp.StdioServerParameters(command=command, args=list(args), env=dict(env or {}), cwd=cwd)


class McpConnection:
    """A connection to an MCP server, which any task may start, use and stop.

    A lost connection is reopened by the next call.

    Args:
        server: The server.
        headers: Sent with each HTTP request, such as `{"Authorization": "Bearer …"}`. Only for URLs.
        timeout: Seconds for connecting, and for each request.
    """

    def __init__(self, server: McpServer, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0) -> None:
        self._server = server
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._connection_task: asyncio.Task[None] | None = None
        self._client: mcp.Client | None = None
        self._stop = asyncio.Event()
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        """Connect, if not already connected.

        Raises:
            UnavailableError: The server cannot be reached, or does not support MCP.
        """
        async with self._connecting:
            if self._client is not None:
                return
            self._stop = asyncio.Event()
            connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._connection_task = asyncio.create_task(self._run_connection(connected), name="MCP connection")
            try:
                async with asyncio.timeout(self._timeout):
                    await asyncio.shield(connected)
            except TimeoutError:
                await self._end()
                raise UnavailableError(f"MCP server did not respond within {self._timeout:g} seconds") from None
            except BaseException:
                await self._end()
                raise

    async def stop(self) -> None:
        """Disconnect, and end the server process if there is one. Does nothing if not connected."""
        async with self._connecting:
            await self._end()

    async def list_tools(self) -> list[mcp.types.Tool]:
        """Return the server's tools, up to 100 pages.

        Raises:
            UnavailableError: The server cannot be reached.
            RoomException: The server returned an error.
        """
        tools: list[mcp.types.Tool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            client = await self._ensure_client()
            page = await self._request(client.list_tools(cursor=cursor))
            tools.extend(page.tools)
            cursor = page.next_cursor
            if cursor is None:
                break
        return tools

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> Body:
        """Call a tool. If the tool fails, the result is an error content. Errors as `list_tools`."""
        client = await self._ensure_client()
        return to_body(name, await self._request(client.call_tool(name, dict(arguments))))

    async def _ensure_client(self) -> mcp.Client:
        await self.start()
        if self._client is None:
            raise UnavailableError("lost the connection to the MCP server")
        return self._client

    async def _request(self, request: Any) -> Any:
        import anyio
        import mcp

        try:
            async with asyncio.timeout(self._timeout):
                return await request
        except TimeoutError:
            raise RequestTimeoutError(f"MCP server did not respond within {self._timeout:g} seconds") from None
        except mcp.MCPError as error:
            if error.code != mcp.types.CONNECTION_CLOSED:
                raise RoomException(f"MCP server returned an error: {error}") from None
            await self.stop()
            raise UnavailableError("lost the connection to the MCP server") from None
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
            await self.stop()
            raise UnavailableError(f"lost the connection to the MCP server: {error}") from None

    async def _end(self) -> None:
        self._stop.set()
        connection_task, self._connection_task = self._connection_task, None
        if connection_task is not None:
            if self._client is None:
                connection_task.cancel()  # still connecting: it does not wait for `_stop` yet
            await asyncio.wait([connection_task])

    async def _run_connection(self, connected: asyncio.Future[None]) -> None:
        """Stay connected until `_stop` is set. A task of its own, because one task must enter and leave the client."""
        try:
            async with self._open_client() as client:
                self._client = client
                connected.set_result(None)
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - transports raise many types, including exception groups
            if connected.done():
                log.warning("lost the connection to the MCP server: %s", _first_cause(error))
            else:
                connected.set_exception(UnavailableError(f"cannot connect to the MCP server: {_first_cause(error)}"))
        finally:
            self._client = None

    @asynccontextmanager
    async def _open_client(self) -> AsyncIterator[mcp.Client]:
        import mcp

        if not self._headers:
            async with mcp.Client(self._server) as client:
                yield client
            return
        if not isinstance(self._server, str):
            raise InvalidStateError("headers require the URL of a server")
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        timeout = httpx2.Timeout(self._timeout)
        async with (
            httpx2.AsyncClient(headers=self._headers, timeout=timeout) as http,
            mcp.Client(streamable_http_client(self._server, http_client=http)) as client,
        ):
            yield client


class McpTool(Tool):
    """A tool of an MCP server."""

    def __init__(self, connection: McpConnection, described: mcp.types.Tool) -> None:
        super().__init__(
            name=described.name,
            title=described.title,
            description=described.description,
            input_schema=described.input_schema,
        )
        self._connection = connection

    async def execute(self, context: ToolContext, *args: Any, **kwargs: Any) -> ToolResult:
        """Call the tool on the server; errors as `McpConnection.call_tool`."""
        return await self._connection.call_tool(self.name, kwargs)


class McpToolkit(Toolkit):
    """The tools of an MCP server, as listed when `connect` was called."""

    def __init__(self, name: str, connection: McpConnection, tools: Sequence[mcp.types.Tool]) -> None:
        super().__init__(name, [McpTool(connection, described) for described in tools])

    @staticmethod
    @asynccontextmanager
    async def connect(server: McpServer, *, name: str = "mcp", **options: Any) -> AsyncIterator[McpToolkit]:
        """Connect to a server for the length of the block, and return its toolkit.

        Args:
            server: The server.
            name: The toolkit's name.
            options: As for `McpConnection`.

        Raises:
            UnavailableError: The server cannot be reached, or does not support MCP.
        """
        connection = McpConnection(server, **options)
        try:
            yield McpToolkit(name, connection, await connection.list_tools())
        finally:
            await connection.stop()


class RemoteMcpToolkit(RemoteToolkit):
    """Hosts the tools of an MCP server in a room: `start` connects to the server and registers its tools.

    Args:
        server: The server.
        name, title, description, rules, public: As for `RemoteToolkit`.
        headers, timeout: As for `McpConnection`.
    """

    def __init__(
        self,
        server: McpServer,
        *,
        name: str = "mcp",
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._connection = McpConnection(server, headers=headers, timeout=timeout)

    async def start(self, *, room: RoomClient) -> None:
        """Connect to the server and register its tools; errors as `McpConnection.start` and `RemoteToolkit.start`."""
        try:
            self.tools = [McpTool(self._connection, described) for described in await self._connection.list_tools()]
            await super().start(room=room)
        except BaseException:
            await self._connection.stop()
            raise

    async def stop(self) -> None:
        """Unregister and disconnect."""
        await super().stop()
        await self._connection.stop()


def to_body(tool: str, result: mcp.types.CallToolResult) -> Body:
    """Convert the result of an MCP tool to a content.

    Structured content becomes JSON, a single image or audio a file, text blocks one text, anything else a JSON list.
    """
    blocks: list[Any] = list(result.content)
    if result.is_error:
        return ErrorBody(text="\n".join(block.text for block in blocks if block.type == "text") or f"{tool} failed")
    if isinstance(result.structured_content, dict):
        return JsonBody(json=result.structured_content)
    if len(blocks) == 1 and blocks[0].type in ("image", "audio"):
        mime_type = blocks[0].mime_type
        extension = mimetypes.guess_extension(mime_type) or ""
        return FileBody(name=tool + extension, mime_type=mime_type, data=b64decode(blocks[0].data))
    if all(block.type == "text" for block in blocks):
        return TextBody(text="\n".join(block.text for block in blocks))
    return JsonBody(json={"content": [jsontext.loads(block.model_dump_json(exclude_none=True)) for block in blocks]})


def _first_cause(error: BaseException) -> BaseException:
    """Return the first leaf of nested exception groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
