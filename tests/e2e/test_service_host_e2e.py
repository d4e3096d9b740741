"""A hosted service, called into a room of a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import aiohttp

from meshagent.api import RoomClient, SchemaRegistration, SchemaRegistry, ServiceHost, WebSocketClientProtocol
from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.services import send_webhook
from tests.support.server import TestServer, rooms_ended


class Greeter:
    """Says hello to the room, and counts who it met."""

    stopped: ClassVar[asyncio.Event]

    async def start(self, *, room: RoomClient) -> None:
        await room.messaging.enable()
        await room.messaging.broadcast_message(type="chat", message={"text": "hello"})

    async def stop(self) -> None:
        Greeter.stopped.set()


async def call(server: TestServer, host: ServiceHost, path: str, name: str) -> None:
    data = {
        "room_name": "room",
        "room_url": server.room_url(),
        "token": server.token(name, role="agent"),
        "arguments": {},
    }
    async with aiohttp.ClientSession() as session:
        await send_webhook(session, url=f"http://127.0.0.1:{host.port}{path}", event="room.call", data=data)


async def test_a_service_is_called_greets_and_is_dismissed(server: TestServer) -> None:
    Greeter.stopped = asyncio.Event()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    gone = asyncio.Event()
    host = ServiceHost(host="127.0.0.1", port=0)
    host.path("/greet")(Greeter)
    protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token("alice"))
    async with host, RoomClient(protocol=protocol) as alice:
        alice.messaging.on("message", lambda message: heard.put_nowait(message))
        alice.messaging.on("participant_removed", lambda participant: gone.set())
        await alice.messaging.enable()
        await call(server, host, "/greet", "greeter")
        message = await asyncio.wait_for(heard.get(), 5)
        assert message.message == {"text": "hello"}
        await alice.messaging.send_message(to=message.from_participant_id, type="dismiss", message={})
        await asyncio.wait_for(Greeter.stopped.wait(), 5)
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_call_ends_when_the_room_does(server: TestServer) -> None:
    Greeter.stopped = asyncio.Event()
    host = ServiceHost(host="127.0.0.1", port=0)
    host.path("/greet")(Greeter)
    async with host:
        await call(server, host, "/greet", "greeter")  # agents do not keep a room going
        await asyncio.wait_for(Greeter.stopped.wait(), 5)
        await rooms_ended(server)


async def test_a_schema_registry_deploys_into_the_room_that_calls(server: TestServer) -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    registry = SchemaRegistry(
        schemas=[SchemaRegistration(name="conversation", schema=schema)], host="127.0.0.1", port=0
    )
    data = {
        "room_name": "room",
        "room_url": server.room_url(),
        "token": server.token("registry", role="agent"),
        "arguments": {},
    }
    protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token("alice"))
    async with RoomClient(protocol=protocol) as alice, registry.server as receiver:
        async with aiohttp.ClientSession() as session:
            await send_webhook(session, url=f"http://127.0.0.1:{receiver.port}/webhook", event="room.call", data=data)
        file = await alice.storage.download(path=".schemas/conversation.json")
        assert json.loads(file.data) == schema.to_json()
