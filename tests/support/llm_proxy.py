"""The proxy for language models alone, on a free port, in front of a scripted provider."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.llm.scripted import Script, ScriptedModel
from meshagent.llm.scripted_http import ScriptedEndpoint
from meshagent.server.accounts.model_usage import ModelUsage
from meshagent.server.config import LlmSettings
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.gateway.llm_budgets import LlmBudgets
from meshagent.server.gateway.llm_proxy import LlmProxyRoutes
from meshagent.server.gateway.llm_usage import LlmUsage
from tests.support.lazy_imports import lazy_import

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_import("openai")

SECRET = "a secret that only the tests know"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def token(scope: ApiScope | None = None, room: str = "room", name: str = "bot") -> str:
    made = ParticipantToken(name=name, project_id="p", api_key_id="k")
    made.add_room_grant(room_name=room)
    made.add_api_grant(scope if scope is not None else ApiScope.agent_default())
    return made.to_jwt(secret=SECRET)


@dataclass
class Proxy:
    url: str
    usage: list[LlmUsage] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    budgets: LlmBudgets = field(default_factory=lambda: LlmBudgets(LlmSettings()))

    def client(self, jwt: str | None = None, path: str = "/rooms/room/v1") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=self.url + path, api_key=jwt or token(), max_retries=0)


@asynccontextmanager
async def proxy(
    script: Script | None = None,
    *,
    handler: Handler | None = None,
    model_usage: ModelUsage | None = None,
    **settings: Any,
) -> AsyncIterator[Proxy]:
    """A proxy; in front of a provider that follows a script or is a handler, or of nothing."""
    async with AsyncExitStack() as stack:
        result = Proxy("")
        if script is not None or handler is not None:
            app = web.Application()
            scripted = ScriptedEndpoint(ScriptedModel(script or []), name="big")

            async def provide(request: web.Request) -> web.StreamResponse:
                result.headers.append(dict(request.headers))
                if handler is not None:
                    return await handler(request)
                body = await request.json() if request.method == "POST" else None
                return await scripted.answer(request, request.match_info["path"], body)

            app.add_routes([web.route("*", "/v1/{path:.+}", provide)])
            upstream = await stack.enter_async_context(TestServer(app))
            settings.setdefault("base_url", str(upstream.make_url("/v1")))
            settings.setdefault("api_key", SecretStr("provider key"))
        authenticator = RoomAuthenticator(
            lookup=lambda project_id, key_id: SECRET if (project_id, key_id) == ("p", "k") else None,
            default_secret=None,
            default_project_id="p",
            now=lambda: 0.0,
        )
        routes = LlmProxyRoutes(authenticator, LlmSettings(**settings), usage=model_usage, on_usage=result.usage.append)
        result.budgets = routes.budgets
        await routes.start()
        stack.push_async_callback(routes.close)
        app = web.Application(middlewares=[error_middleware])
        app.add_routes(routes.routes())
        server = await stack.enter_async_context(TestServer(app))
        result.url = str(server.make_url("")).rstrip("/")
        yield result
