"""A model with no key: asked through the room's proxy with a participant token, using tools that are in the room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as HttpServer

from meshagent.agents.llm import (
    AgentChatContext,
    LLMAdapter,
    OpenAICompletionsAdapter,
    OpenAIResponsesAdapter,
)
from meshagent.api import RoomClient, WebSocketClientProtocol
from meshagent.api.errors import PermissionDeniedError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.config import LlmSettings
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.gateway.llm_proxy import LlmProxyRoutes
from meshagent.tools import RemoteToolkit, RoomToolkit, StorageToolkit, tool
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer, serve


@tool
async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


@asynccontextmanager
async def server_with_models(data_dir: Path) -> AsyncIterator[TestServer]:
    """A server whose rooms name an address where the proxy is."""
    authenticator = RoomAuthenticator(
        lookup=lambda project_id, key_id: SECRET if (project_id, key_id) == (PROJECT_ID, KEY_ID) else None,
        default_secret=None,
        default_project_id=PROJECT_ID,
        now=lambda: 0.0,
    )
    proxy = LlmProxyRoutes(authenticator, LlmSettings())
    app = web.Application(middlewares=[error_middleware])
    app.add_routes(proxy.routes())
    await proxy.start()
    try:
        async with HttpServer(app) as http, serve(data_dir, public_url=str(http.make_url(""))) as server:
            yield server
    finally:
        await proxy.close()


@asynccontextmanager
async def joined(server: TestServer, name: str, scope: ApiScope | None = None) -> AsyncIterator[RoomClient]:
    url = f"ws://127.0.0.1:{server.port}/rooms/room"
    protocol = WebSocketClientProtocol(url=url, token=server.token(name, scope=scope))
    async with RoomClient(protocol=protocol) as room:
        yield room


@pytest.mark.parametrize("adapter", [OpenAIResponsesAdapter(), OpenAICompletionsAdapter()])
async def test_a_model_uses_tools_of_the_room(tmp_path: Path, adapter: LLMAdapter) -> None:
    async with (
        server_with_models(tmp_path / "data") as server,
        joined(server, "host") as host,
        joined(server, "bot") as room,
        RemoteToolkit("math", [add]).hosted(host),
    ):
        math = await RoomToolkit.find(room, "math")
        assert math is not None

        async def ask(text: str) -> str:
            context = AgentChatContext()
            context.append_user_message(text)
            return str(await adapter.next(context=context, room=room, toolkits=[math, StorageToolkit()]))

        assert await ask("hello") == "You said: hello"
        assert await ask('call add {"a": 1, "b": 2}') == 'The tool answered: {"result":3}'
        assert await ask('call write_file {"path": "a.txt", "text": "hi"}') == "The tool answered: wrote a.txt"
        assert (await room.storage.download("a.txt")).data == b"hi"


async def test_a_token_without_the_grant_asks_no_model(tmp_path: Path) -> None:
    async with (
        server_with_models(tmp_path / "data") as server,
        joined(server, "alice", ApiScope.user_default()) as room,
    ):
        with pytest.raises(PermissionDeniedError, match="use language models"):
            await OpenAIResponsesAdapter().next(context=AgentChatContext(), room=room)
