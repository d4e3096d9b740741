"""The services of a project, called at each start of a room (protocol 15.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from meshagent.api.webhook.signature import EVENT_ID_HEADER
from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.client import OutgoingClient
from meshagent.server.webhooks.retry import RetryPolicy
from meshagent.server.webhooks.room_calls import RoomCallSender
from meshagent.server.webhooks.room_start_calls import RoomStartCalls
from tests.support.fake_room import FakeRoom
from tests.support.webhook_receiver import FakeTokens, WebhookReceiver, webhook_receiver


@dataclass(frozen=True)
class Call:
    """A call that a project's room makes when it starts."""

    url: str
    service_id: str = "s1"
    liveness_url: str | None = None
    participant_name: str = "helper"
    role: str = "agent"


@dataclass
class Services:
    """The services of every project."""

    calls: Sequence[Call]

    async def calls_of(self, project_id: str) -> Sequence[Call]:
        return self.calls


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


@asynccontextmanager
async def calling(*calls: Call) -> AsyncIterator[RoomStartCalls]:
    async with OutgoingClient(OutgoingSettings()) as http:
        retry = RetryPolicy(attempts=3, initial_delay=0.001)
        yield RoomStartCalls(Services(calls), http, RoomCallSender(http, FakeTokens(), "s"), retry=retry)


async def test_each_service_is_called_with_a_token_of_its_own(receiver: WebhookReceiver) -> None:
    room = FakeRoom()
    tool = Call(receiver.url("/tool"), service_id="s2", participant_name="tool", role="tool")
    async with calling(Call(receiver.url("/chat")), tool) as services:
        services.room_started(room)
        await room.settle()
    calls = {post.path: post.json["data"] for post in receiver.posts}
    assert {path: data["token"].split(" ", 2)[2] for path, data in calls.items()} == {
        "/chat": "of helper (agent) for project/room",
        "/tool": "of tool (tool) for project/room",
    }
    assert calls["/chat"]["room_url"] == room.url
    assert sorted(entry["service_id"] for kind, entry in room.recorded if kind == "service.called") == ["s1", "s2"]


async def test_a_service_that_is_not_up_yet_is_called_again_under_one_id(receiver: WebhookReceiver) -> None:
    receiver.script = [404, 503]
    room = FakeRoom()
    async with calling(Call(receiver.url())) as services:
        services.room_started(room)
        await room.settle()
    assert len({post.headers[EVENT_ID_HEADER] for post in receiver.posts}) == 1
    assert [(kind, entry["attempts"]) for kind, entry in room.recorded] == [("service.called", 3)]


async def test_calls_wait_for_liveness(receiver: WebhookReceiver) -> None:
    receiver.script = [503, 200, 200]
    room = FakeRoom()
    async with calling(Call(receiver.url(), liveness_url=receiver.url("/alive"))) as services:
        services.room_started(room)
        await room.settle()
    assert [post.path for post in receiver.posts] == ["/alive", "/alive", "/hook"]


async def test_giving_up_is_in_the_rooms_log(receiver: WebhookReceiver) -> None:
    receiver.script = [500] * 3
    room = FakeRoom()
    async with calling(Call(receiver.url()), Call("http://169.254.169.254/", service_id="s2")) as services:
        services.room_started(room)
        await room.settle()
    failures = {entry["service_id"]: entry for kind, entry in room.recorded if kind == "service.call_failed"}
    assert failures["s1"]["error"] == f"{receiver.url()} answered with status 500"
    assert (failures["s1"]["attempts"], failures["s2"]["attempts"]) == (3, 1)


async def test_the_end_of_the_room_ends_the_attempts(receiver: WebhookReceiver) -> None:
    receiver.held.clear()
    room = FakeRoom()
    async with calling(Call(receiver.url())) as services:
        services.room_started(room)
        await receiver.until_posts(1)
        tasks = list(room.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    receiver.held.set()
    assert room.recorded == []
