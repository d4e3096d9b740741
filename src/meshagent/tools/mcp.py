"""Tools of MCP servers in a room. Needs the package `mcp`, which the extra `agents` brings along."""

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
"""A URL (streamable HTTP), what `stdio_server` returns, a transport, or a server object in this process."""


def stdio_server(
    command: str, args: Sequence[str] = (), *, env: Mapping[str, str] | None = None, cwd: str | None = None
) -> mcp.StdioServerParameters:
    """A server that is started as a process, and spoken with through its standard input and output.

    Args:
        command: The program.
        args: Its arguments.
        env: Environment variables beyond the few that every process gets.
        cwd: Where it runs.
    """
    import mcp

    return mcp.StdioServerParameters(command=command, args=list(args), env=dict(env or {}), cwd=cwd)


class McpConnection:
    """A connection to an MCP server. A task of its own holds it, so that any task may start, use and stop it.

    A connection that is lost is made again for the next call.

    Args:
        server: The server.
        headers: Sent with each HTTP request, such as `{"Authorization": "Bearer …"}`; for URLs only.
        timeout: Seconds that connecting, and each request, may take.
    """

    def __init__(self, server: McpServer, *, headers: Mapping[str, str] | None = None, timeout: float = 60.0) -> None:
        self._server = server
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._holder: asyncio.Task[None] | None = None
        self._client: mcp.Client | None = None
        self._stop = asyncio.Event()
        self._connecting = asyncio.Lock()

    async def start(self) -> None:
        """Connect, unless it is connected.

        Raises:
            UnavailableError: The server cannot be reached, or does not speak MCP.
        """
        async with self._connecting:
            if self._client is not None:
                return
            self._stop = asyncio.Event()
            connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._holder = asyncio.create_task(self._hold(connected), name="MCP connection")
            try:
                async with asyncio.timeout(self._timeout):
                    await asyncio.shield(connected)
            except TimeoutError:
                await self._end()
                raise UnavailableError(f"the MCP server did not answer within {self._timeout:g} seconds") from None
            except BaseException:
                await self._end()
                raise

    async def stop(self) -> None:
        """Disconnect; a process that was started for it ends. Does nothing if it is not connected."""
        async with self._connecting:
            await self._end()

    async def list_tools(self) -> list[mcp.types.Tool]:
        """The server's tools.

        Raises:
            UnavailableError: It cannot be reached; RoomException for its own failures.
        """
        tools: list[mcp.types.Tool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            client = await self._connected()
            page = await self._answered(client.list_tools(cursor=cursor))
            tools.extend(page.tools)
            cursor = page.next_cursor
            if cursor is None:
                break
        return tools

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> Body:
        """Call a tool; a tool that fails gives an `ErrorBody`. Errors as `list_tools`."""
        client = await self._connected()
        return to_body(name, await self._answered(client.call_tool(name, dict(arguments))))

    async def _connected(self) -> mcp.Client:
        await self.start()
        if self._client is None:
            raise UnavailableError("the connection to the MCP server ended")
        return self._client

    async def _answered(self, request: Any) -> Any:
        import anyio
        import mcp

        try:
            async with asyncio.timeout(self._timeout):
                return await request
        except TimeoutError:
            raise RequestTimeoutError(f"the MCP server did not answer within {self._timeout:g} seconds") from None
        except mcp.MCPError as error:
            if error.code != mcp.types.CONNECTION_CLOSED:
                raise RoomException(f"the MCP server refused: {error}") from None
            await self.stop()
            raise UnavailableError("the connection to the MCP server ended") from None
        except (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
            await self.stop()
            raise UnavailableError(f"the connection to the MCP server ended: {error}") from None

    async def _end(self) -> None:
        self._stop.set()
        holder, self._holder = self._holder, None
        if holder is not None:
            if self._client is None:
                holder.cancel()  # it is still connecting
            await asyncio.wait([holder])

    async def _hold(self, connected: asyncio.Future[None]) -> None:
        """Be connected until told to stop; what enters and leaves the connection must be one task."""
        try:
            async with self._opened() as client:
                self._client = client
                connected.set_result(None)
                await self._stop.wait()
        except Exception as error:  # noqa: BLE001 - transports fail in many ways, groups of errors included
            if connected.done():
                log.warning("the connection to the MCP server ended: %s", _first_cause(error))
            else:
                connected.set_exception(UnavailableError(f"the MCP server cannot be used: {_first_cause(error)}"))
        finally:
            self._client = None

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[mcp.Client]:
        import mcp

        if not self._headers:
            async with mcp.Client(self._server) as client:
                yield client
            return
        if not isinstance(self._server, str):
            raise InvalidStateError("headers go with a URL")
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
        """Call the server; errors as `McpConnection.call_tool`."""
        return await self._connection.call_tool(self.name, kwargs)


class McpToolkit(Toolkit):
    """The tools of an MCP server, as they were when it was made by `connect`."""

    def __init__(self, name: str, connection: McpConnection, tools: Sequence[mcp.types.Tool]) -> None:
        super().__init__(name, [McpTool(connection, described) for described in tools])

    @staticmethod
    @asynccontextmanager
    async def connect(server: McpServer, *, name: str = "mcp", **options: Any) -> AsyncIterator[McpToolkit]:
        """The toolkit of a server for the length of the block.

        Args:
            server: The server.
            name: The toolkit's name.
            options: As for `McpConnection`.

        Raises:
            UnavailableError: The server cannot be reached, or does not speak MCP.
        """
        connection = McpConnection(server, **options)
        try:
            yield McpToolkit(name, connection, await connection.list_tools())
        finally:
            await connection.stop()


class RemoteMcpToolkit(RemoteToolkit):
    """An MCP server as a toolkit of a room: `start` connects to it and registers its tools.

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
        """Connect to the server and register its tools; errors as `McpConnection.start`, `RemoteToolkit.start`."""
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
    """The answer of an MCP tool as a content: structured content as JSON, one text, one file, or a list of all."""
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
    """The first error in groups of groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
