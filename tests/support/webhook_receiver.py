"""A web server that keeps what is posted to it, and answers by a script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer as AiohttpServer

from meshagent.api.tokens.scope import ApiScope


@dataclass(frozen=True, slots=True)
class Post:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class WebhookReceiver:
    """Answers 200, or the statuses in `script` one after another, with `headers`.

    While `held` is clear it does not answer.
    """

    base: str = ""
    posts: list[Post] = field(default_factory=list)
    script: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/hook") -> str:
        return self.base + path

    @property
    def events(self) -> list[Any]:
        """Bodies of all posts."""
        return [post.json for post in self.posts]

    async def until_posts(self, count: int) -> None:
        """Wait for at least `count` posts."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.posts) >= count)

    async def handle(self, request: web.Request) -> web.Response:
        async with self._changed:
            self.posts.append(Post(request.path, request.headers, await request.read()))
            self._changed.notify_all()
        await self.held.wait()
        status = self.script.pop(0) if self.script else 200
        location = {"Location": self.url("/elsewhere")} if status == 302 else {}
        return web.Response(status=status, headers=self.headers | location)


@asynccontextmanager
async def webhook_receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver on a free port, for the length of the block."""
    receiver = WebhookReceiver()
    receiver.held.set()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    async with AiohttpServer(app, host="127.0.0.1") as server:
        receiver.base = str(server.make_url("")).rstrip("/")
        yield receiver


class FakeTokens:
    """Issues readable texts in place of tokens."""

    def __init__(self) -> None:
        self.issued = 0
        self.scopes: list[ApiScope | None] = []

    async def issue(
        self, project_id: str, *, room_name: str, name: str, role: str | None = None, scope: ApiScope | None = None
    ) -> str:
        self.issued += 1
        self.scopes.append(scope)
        return f"token {self.issued} of {name} ({role}) for {project_id}/{room_name}"
