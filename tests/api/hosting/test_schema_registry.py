"""Deploying schemas into rooms that call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.schema import MeshSchema
from meshagent.api.errors import InvalidRequestError
from meshagent.api.hosting.host import ServiceHost
from meshagent.api.schema_registry import SchemaRegistration, SchemaRegistry
from meshagent.api.webhook.sender import WebhookRefusedError, send_webhook
from tests.support.scripted_room import ScriptedRoom, scripted_room


@pytest.fixture
async def room() -> AsyncIterator[ScriptedRoom]:
    async with scripted_room() as room:
        yield room


def schema(name: str) -> MeshSchema:
    found = builtin_schema(name)
    assert found is not None
    return found


def registry(**settings: Any) -> SchemaRegistry:
    schemas = [SchemaRegistration(name=name, schema=schema(name)) for name in ("thread", "gallery")]
    return SchemaRegistry(schemas=schemas, host="127.0.0.1", port=0, **settings)


async def call(port: int, path: str, room: ScriptedRoom, secret: str | None = None) -> None:
    data = {"room_name": "room", "room_url": room.url, "token": "T", "arguments": {}}
    async with aiohttp.ClientSession() as session:
        await send_webhook(session, url=f"http://127.0.0.1:{port}{path}", event="room.call", data=data, secret=secret)


def deployed(room: ScriptedRoom) -> dict[str, Any]:
    return {path: json.loads(content) for path, content in room.files.items()}


ALL = {f".schemas/{name}.json": schema(name).to_json() for name in ("thread", "gallery")}


async def test_it_serves_calls_by_itself_and_answers_once_all_is_there(room: ScriptedRoom) -> None:
    async with registry().server as server:
        await call(server.port, "/webhook", room)
        assert deployed(room) == ALL
        await room.until_present(0)


async def test_with_a_secret_calls_must_be_signed(room: ScriptedRoom) -> None:
    async with registry(webhook_secret="s", path="/schemas").server as server:
        with pytest.raises(WebhookRefusedError, match="401"):
            await call(server.port, "/schemas", room)
        await call(server.port, "/schemas", room, secret="s")
    assert deployed(room) == ALL


async def test_a_service_host_can_host_it(room: ScriptedRoom) -> None:
    class Schemas(SchemaRegistry):
        def __init__(self) -> None:
            super().__init__(name="schemas", schemas=registry().schemas)

    host = ServiceHost(host="127.0.0.1", port=0)
    host.path("/schemas")(Schemas)
    async with host:
        await call(host.port, "/schemas", room)
        await room.until_present(1)
        await room.send_message("dismiss")
        await room.until_present(0)
    assert deployed(room) == ALL


def test_names_of_schemas_have_no_dot() -> None:
    with pytest.raises(InvalidRequestError, match="contain a dot"):
        SchemaRegistration(name="thread.json", schema=schema("thread"))
