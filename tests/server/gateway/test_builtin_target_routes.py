"""Built-in schemas and toolkits over HTTP, against a real room (protocol 9.10)."""

from __future__ import annotations

import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient as HttpClient
from aiohttp.test_utils import TestServer as AiohttpServer

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.tokens.grants import AgentsGrant
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, ApiScope
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.builtin_target_routes import MAX_CALL_BYTES, BuiltInTargetRoutes
from meshagent.server.gateway.http_errors import error_middleware
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.server.kernel.room_key import RoomKey
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer, serve

Http = HttpClient[web.Request, web.Application]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serve(tmp_path / "data", idle_grace=2.0) as server:
        yield server


@pytest.fixture
async def http(server: TestServer) -> AsyncIterator[Http]:
    authenticator = RoomAuthenticator(
        lookup=lambda _, key_id: SECRET if key_id == KEY_ID else None,
        default_secret=SECRET,
        default_project_id=PROJECT_ID,
        now=time.time,
    )
    gateway = RoomGateway(authenticator, server.started.rooms.locator, cast(Any, None))
    app = web.Application(middlewares=[error_middleware])
    app.add_routes(BuiltInTargetRoutes(authenticator, gateway).routes())
    async with HttpClient(AiohttpServer(app, host="127.0.0.1")) as client:
        yield client


def call(server: TestServer, token: str | None = None, **data: Any) -> dict[str, Any]:
    return {
        "event": "room.call",
        "data": {
            "room_name": "room",
            "room_url": server.room_url(),
            "token": server.token("thread", role="agent") if token is None else token,
            "arguments": {},
            **data,
        },
    }


async def test_a_schema_can_be_read(http: Http) -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    async with http.get("/schemas/thread") as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert await answer.json() == schema.to_json()
    async with http.get("/schemas/unknown") as answer:
        assert answer.status == 404


async def test_a_call_puts_the_schema_into_the_room(server: TestServer, http: Http) -> None:
    for _ in range(2):
        async with http.post("/schemas/gallery", json=call(server)) as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})
    schema = builtin_schema("gallery")
    assert schema is not None
    async with (
        server.started.rooms.locator.open(RoomKey(PROJECT_ID, "room")) as room,
        await room.files.open(".schemas/gallery.json", FULL_ROOM_SCOPE) as file,
    ):
        assert json.loads(await file.read()) == schema.to_json()


async def test_toolkits_are_there_already(server: TestServer, http: Http) -> None:
    async with http.post("/toolkits/storage", json=call(server)) as answer:
        assert answer.status == 200


async def test_names_that_are_not_known(server: TestServer, http: Http) -> None:
    for path in ("/schemas/unknown", "/toolkits/unknown"):
        async with http.post(path, json=call(server)) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "not_found")


async def test_the_token_decides(server: TestServer, http: Http) -> None:
    weak = server.token("x", scope=ApiScope(agents=AgentsGrant(call=False)))
    for token in ("", "nonsense", server.token(room="another"), server.token(secret="another secret"), weak):
        async with http.post("/schemas/thread", json=call(server, token)) as answer:
            assert answer.status == 403
    assert not server.started.rooms.directory.rooms


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"event": "room.started", "data": {"room_name": "r"}}', b'{"event": "room.call"}']
)
async def test_what_is_no_call_is_refused(http: Http, body: bytes) -> None:
    async with http.post("/schemas/thread", data=body) as answer:
        assert answer.status == 400


async def test_calls_are_bounded(http: Http) -> None:
    async with http.post("/schemas/thread", data=io.BytesIO(b"x" * (MAX_CALL_BYTES + 1))) as answer:
        assert answer.status == 413
