"""Services that are called into rooms, and webhooks that hear of it: server, SDK and real HTTP between them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import SecretStr

from meshagent.api import RoomClient, RoomException, ServiceHost, WebhookServer, WebSocketClientProtocol
from meshagent.api.documents.builtin import builtin_schema
from tests.support.server import PROJECT_ID, TestServer, rooms_ended, serve
from tests.support.websocket_peer import eventually

SECRET = "a webhook secret"


class Guests:
    """A service host whose agents note which rooms they came to, and as whom."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.left = 0
        guests = self

        class Guest:
            async def start(self, *, room: RoomClient) -> None:
                name = str(room.local_participant.get_attribute("name"))
                guests.came.put_nowait((room.room_name, name))

            async def stop(self) -> None:
                guests.left += 1

        self.host = ServiceHost(host="127.0.0.1", port=0, webhook_secret=SECRET)
        self.host.path("/guest")(Guest)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.host.port}"

    async def next(self) -> tuple[str, str]:
        """The room and the name of the next who comes."""
        return await asyncio.wait_for(self.came.get(), 5)


class Hearing(WebhookServer):
    """Notes every genuine webhook."""

    def __init__(self, secret: str) -> None:
        super().__init__(host="127.0.0.1", port=0, webhook_secret=secret)
        self.heard: list[dict[str, Any]] = []

    async def on_webhook(self, *, payload: dict[str, Any]) -> None:
        self.heard.append(payload)
        await super().on_webhook(payload=payload)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhook"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def guests(stack: AsyncExitStack) -> Guests:
    guests = Guests()
    await stack.enter_async_context(guests.host)
    return guests


@pytest.fixture
async def server(stack: AsyncExitStack, tmp_path: Path) -> TestServer:
    return await stack.enter_async_context(serve(tmp_path / "data", idle_grace=2.0, webhook_secret=SecretStr(SECRET)))


def join(server: TestServer, name: str = "alice") -> RoomClient:
    return RoomClient(protocol=WebSocketClientProtocol(url=server.room_url(), token=server.token(name)))


async def create(server: TestServer, what: str, **values: Any) -> None:
    """Make a webhook or a service of the project, by REST."""
    headers = {"Authorization": "Bearer test-admin-token"}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.post(f"/accounts/projects/{PROJECT_ID}/{what}", json=values) as answer,
    ):
        assert answer.status < 300, await answer.text()


async def test_a_participant_calls_a_service_into_the_room(server: TestServer, guests: Guests) -> None:
    async with join(server) as room:
        await room.agents.make_call(name="guest", url=f"{guests.url}/guest", arguments={"n": 1})
        assert await guests.next() == ("room", "guest")
        with pytest.raises(RoomException, match=f"{guests.url}/nobody answered with status 404"):
            await room.agents.make_call(name="guest", url=f"{guests.url}/nobody", arguments={})
    await rooms_ended(server)
    await eventually(lambda: guests.left == 1)


async def test_what_agents_require_is_installed_inside(server: TestServer) -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    async with join(server) as room:
        for base in ("http://localhost:8080", server.url, "https://api.meshagent.com"):
            await room.agents.make_call(name="thread", url=f"{base}/schemas/thread", arguments={})
            await room.agents.make_call(name="storage", url=f"{base}/toolkits/storage", arguments={})
        stored = await room.storage.download(path=".schemas/thread.json")
        assert json.loads(stored.data) == schema.to_json()
        with pytest.raises(RoomException, match="no built-in schema 'nothing'"):
            await room.agents.make_call(name="x", url=f"{server.url}/schemas/nothing", arguments={})


async def test_a_projects_services_come_to_each_run_of_a_room(server: TestServer, guests: Guests) -> None:
    endpoint = {"type": "meshagent.callable", "path": "/guest", "participant_name": "resident"}
    ports = {"1": {"liveness_path": "/", "endpoints": [endpoint]}}
    await create(server, "services", name="guests", url=guests.url, ports=ports)
    for _ in range(2):
        async with join(server):
            assert await guests.next() == ("room", "resident")
        await rooms_ended(server)


async def test_webhooks_hear_of_rooms_and_files_in_order(server: TestServer, stack: AsyncExitStack) -> None:
    hearing = await stack.enter_async_context(Hearing(SECRET))
    ours = await stack.enter_async_context(Hearing("a secret of its own"))
    await create(server, "webhooks", name="all", url=hearing.url, events=["*"], action="", payload="")
    await create(
        server,
        "webhooks",
        name="ends",
        url=ours.url,
        events=["room.ended"],
        payload={"k": 1},
        secret=ours.webhook_secret,
    )
    async with join(server) as room:
        async with room.storage.open(path="a.txt", overwrite=True) as file:
            await file.write(b"content")
        await room.storage.delete("a.txt")
    await rooms_ended(server)
    await eventually(lambda: len(hearing.heard) == 4 and len(ours.heard) == 1)
    assert [event["event"] for event in hearing.heard] == [
        "room.started",
        "storage.file.updated",
        "storage.file.deleted",
        "room.ended",
    ]
    assert hearing.heard[0]["data"]["room_url"] == server.room_url()
    assert {**ours.heard[0]["data"], "session_id": ""} == {"k": 1, "room_name": "room", "session_id": ""}


async def test_a_webhook_can_call_a_service_in(server: TestServer, guests: Guests) -> None:
    url = f"{guests.url}/guest"
    await create(server, "webhooks", name="greeter", url=url, events=["room.started"], action="call")
    async with join(server):
        assert await guests.next() == ("room", "greeter")
