"""Rooms as MCP servers, seen through the official client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer as AnyHttpServer
from aiohttp.test_utils import TestServer as HttpServer

from meshagent.api import RoomClient, WebSocketClientProtocol
from meshagent.api.contracts.content import Body, FileBody, LinkBody
from meshagent.api.tokens.grants import MessagingGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.gateway.mcp_routes import McpRoutes
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.tools import RemoteToolkit, RequestTool, ToolContext, tool
from tests.support.lazy_imports import lazy_import
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer, serve

if TYPE_CHECKING:
    import mcp
else:
    mcp = lazy_import("mcp")


@tool
async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@tool
async def greet(context: ToolContext, name: str) -> str:
    return f"hello {name}"


@tool
async def picture() -> FileBody:
    return FileBody(name="a.png", mime_type="image/png", data=b"\x89PNG")


@tool
async def report() -> FileBody:
    return FileBody(name="a report.pdf", mime_type="application/pdf", data=b"%PDF")


@tool
async def link() -> LinkBody:
    return LinkBody(name="here", url="https://example.com/x")


@tool
async def nothing() -> None:
    return None


class Upload(RequestTool):
    async def execute(self, context: ToolContext, request: Body) -> None:
        return None


MATH = [add, greet, picture, report, link, nothing, Upload(name="upload")]


class Site:
    """A room server, and its rooms as MCP servers."""

    def __init__(self, server: TestServer, http: AnyHttpServer) -> None:
        self.server = server
        self._http = http

    def url(self, jwt: str | None = None, query: str = "") -> str:
        token = self.server.token("mcp client") if jwt is None else jwt
        return f"{self._http.make_url('/rooms/room/mcp')}?token={token}{query}"

    def client(self, query: str = "", **options: Any) -> mcp.Client:
        return mcp.Client(self.url(query=query), **options)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path) as site:
        yield site


@asynccontextmanager
async def running_site(tmp_path: Path, *, call_timeout: float = 30) -> AsyncIterator[Site]:
    async with serve(tmp_path / "data", idle_grace=2.0) as server:
        authenticator = RoomAuthenticator(
            lookup=lambda project_id, key_id: SECRET if (project_id, key_id) == (PROJECT_ID, KEY_ID) else None,
            default_secret=None,
            default_project_id=PROJECT_ID,
            now=lambda: 0.0,
        )
        routes = McpRoutes(
            RoomGateway(authenticator, server.started.rooms.locator, cast(Any, None)), call_timeout=call_timeout
        )
        app = web.Application(middlewares=[error_middleware])
        app.add_routes(routes.routes())
        async with HttpServer(app) as http:
            yield Site(server, http)
        await routes.close()


@asynccontextmanager
async def hosted(site: Site) -> AsyncIterator[RoomClient]:
    protocol = WebSocketClientProtocol(url=site.server.room_url(), token=site.server.token("host", role="user"))
    async with RoomClient(protocol=protocol) as room, RemoteToolkit("math-kit", MATH).hosted(room):
        yield room


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_lists_and_calls_a_rooms_tools(site: Site, mode: Any) -> None:
    async with hosted(site), site.client(mode=mode) as client:
        tools = {listed.name: listed for listed in (await client.list_tools()).tools}
        assert tools["math-kit_add"].description == "Adds two numbers."
        assert tools["math-kit_add"].input_schema["required"] == ["a", "b"]
        assert "math-kit_upload" not in tools
        result = await client.call_tool("math-kit_add", {"a": 1, "b": 2})
        assert result.structured_content == {"result": 3}
        assert not result.is_error


async def test_every_kind_of_answer_reaches_the_client(site: Site) -> None:
    async with hosted(site), site.client("&toolkit=math-kit") as client:
        assert len((await client.list_tools()).tools) == 6

        async def content(name: str, /, **arguments: Any) -> list[dict[str, Any]]:
            result = await client.call_tool(f"math-kit_{name}", arguments)
            assert not result.is_error
            return [block.model_dump(mode="json", exclude_none=True) for block in result.content]

        assert await content("greet", name="bob") == [{"type": "text", "text": "hello bob"}]
        assert await content("picture") == [{"type": "image", "mime_type": "image/png", "data": "iVBORw=="}]
        [resource] = await content("report")
        assert resource["resource"]["blob"] == "JVBERg=="
        [found] = await content("link")
        assert (found["type"], found["uri"]) == ("resource_link", "https://example.com/x")
        assert await content("nothing") == []


async def test_failures_are_results_that_a_model_can_read(site: Site) -> None:
    async with hosted(site), site.client("&toolkit=math-kit") as client:
        wrong = await client.call_tool("math-kit_add", {"a": "x", "b": 2})
        assert wrong.is_error
        assert "arguments of add" in str(wrong.content)
        with pytest.raises(mcp.MCPError, match="no tool"):
            await client.call_tool("math-kit_divide", {})


async def test_the_rooms_own_toolkits_are_there_too(site: Site) -> None:
    async with site.client() as client:
        assert any(listed.name.startswith("storage_") for listed in (await client.list_tools()).tools)
    async with site.client("&toolkit=nothing") as client:
        assert (await client.list_tools()).tools == []


async def test_a_tool_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async with running_site(tmp_path, call_timeout=0.05) as site, hosted(site) as room:
        await room.send_request(
            "agent.register_toolkit",
            {"name": "deaf", "public": True, "tools": {"x": {"input_schema": {"type": "object"}}}},
        )
        async with site.client("&toolkit=deaf") as client:
            result = await client.call_tool("deaf_x", {})
            assert result.is_error
            assert "did not answer" in str(result.content)


@pytest.mark.parametrize("refused", ["none", "bad", "scope", "room"])
async def test_only_tokens_for_the_room_and_its_tools_are_let_in(site: Site, refused: str) -> None:
    token = site.server.token
    jwt = {
        "none": "",
        "bad": token(secret="another secret that is long enough"),
        "scope": token(scope=ApiScope(messaging=MessagingGrant())),
        "room": token(room="other"),
    }[refused]
    async with aiohttp.ClientSession() as session, session.post(site.url(jwt), json={}) as answer:
        assert answer.status == 403
    assert site.server.started.rooms.directory.rooms == [] or refused == "scope"


class FailingManager:
    """A session manager that fails: at its first start, or while a request waits for its answer."""

    def __init__(self, *, at_start: bool) -> None:
        self._fails_at_start = at_start
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        if self._fails_at_start:
            raise RuntimeError("no sessions today")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fail_when_asked())
            yield

    async def _fail_when_asked(self) -> None:
        await self._asked.wait()
        raise RuntimeError("no answers today")

    async def handle_request(self, scope: Any, receive: Any, send: Any) -> None:
        self._asked.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("at_start", [True, False])
async def test_a_failing_session_manager_is_an_error_and_the_next_request_starts_another(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, at_start: bool
) -> None:
    with monkeypatch.context() as patched:
        manager = FailingManager(at_start=at_start)
        patched.setattr("mcp.server.streamable_http_manager.StreamableHTTPSessionManager", lambda *_, **__: manager)
        async with asyncio.timeout(5), aiohttp.ClientSession() as session, session.post(site.url(), json={}) as answer:
            assert answer.status == 503
            assert "MCP server" in await answer.text()
    assert "today" in caplog.text
    async with hosted(site), site.client("&toolkit=math-kit") as client:
        assert (await client.call_tool("math-kit_add", {"a": 1, "b": 2})).structured_content == {"result": 3}
