"""Delivering events to webhooks: bodies, signatures, order, retries, full queues, stopping (protocol 15)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from meshagent.api.contracts.storage import FileEvent
from meshagent.api.webhook.signature import EVENT_ID_HEADER, EVENT_TIME_HEADER, SIGNATURE_HEADER, verify
from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.client import OutgoingClient
from meshagent.server.webhooks.deliverer import WebhookDeliverer
from meshagent.server.webhooks.deliveries import Delivery, MemoryDeliveryLog
from meshagent.server.webhooks.retry import RetryPolicy
from meshagent.server.webhooks.room_calls import RoomCallSender
from meshagent.server.webhooks.room_events import RoomEvents
from tests.support.fake_room import FakeRoom
from tests.support.webhook_receiver import FakeTokens, WebhookReceiver, webhook_receiver
from tests.support.websocket_peer import eventually

DEFAULT_SECRET = "the server's secret"
QUICK = RetryPolicy(attempts=4, initial_delay=0.001)


@dataclass(frozen=True)
class Hook:
    """A webhook of a project."""

    url: str
    id: str = "w1"
    name: str = "hook"
    events: Sequence[str] = ("*",)
    action: str | None = ""
    payload: Any = ""
    secret: str | None = None


@dataclass
class Hooks:
    """The webhooks of project `project`."""

    hooks: list[Hook] = field(default_factory=list)
    failure: Exception | None = None

    async def of_project(self, project_id: str) -> Sequence[Hook]:
        if self.failure is not None:
            raise self.failure
        return self.hooks if project_id == "project" else []


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
def deliveries() -> MemoryDeliveryLog:
    return MemoryDeliveryLog()


@asynccontextmanager
async def delivering(
    deliveries: MemoryDeliveryLog,
    *hooks: Hook,
    source: Hooks | None = None,
    secret: str | None = DEFAULT_SECRET,
    retry: RetryPolicy = QUICK,
    grace: float = 2.0,
    **limits: int,
) -> AsyncIterator[WebhookDeliverer]:
    async with OutgoingClient(OutgoingSettings()) as http:
        deliverer = WebhookDeliverer(
            source or Hooks(list(hooks)),
            http,
            RoomCallSender(http, FakeTokens(), secret),
            room_url=lambda project_id, room_name: f"ws://host/rooms/{room_name}",
            default_secret=secret,
            deliveries=deliveries,
            retry=retry,
            **limits,
        )
        deliverer.start()
        try:
            yield deliverer
        finally:
            await deliverer.close(grace)


def outcomes(deliveries: MemoryDeliveryLog) -> list[tuple[str, str, int]]:
    """(event, outcome, attempts), oldest first."""
    return [(entry.event, entry.outcome, entry.attempts) for entry in reversed(deliveries.of_project("project"))]


async def test_an_event_arrives_signed_with_id_and_time(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog
) -> None:
    async with delivering(deliveries, Hook(receiver.url())) as deliverer:
        RoomEvents(deliverer).started(FakeRoom(name="über"))
        await receiver.until_posts(1)
    (post,) = receiver.posts
    assert post.json == {
        "event": "room.started",
        "data": {"room_name": "über", "room_url": "ws://localhost/rooms/room", "session_id": "session"},
    }
    assert b"\\u00fcber" in post.body
    verify(post.body, post.headers[SIGNATURE_HEADER], DEFAULT_SECRET, now=time.time())
    (entry,) = deliveries.of_project("project")
    assert (entry.id, entry.outcome, entry.room_name) == (post.headers[EVENT_ID_HEADER], "delivered", "über")
    assert datetime.fromisoformat(post.headers[EVENT_TIME_HEADER]) == entry.created_at


async def test_a_webhooks_own_secret_comes_first(receiver: WebhookReceiver, deliveries: MemoryDeliveryLog) -> None:
    async with delivering(deliveries, Hook(receiver.url(), secret="its own")) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await receiver.until_posts(1)
    verify(receiver.posts[0].body, receiver.posts[0].headers[SIGNATURE_HEADER], "its own", now=time.time())


async def test_without_any_secret_events_are_unsigned(receiver: WebhookReceiver, deliveries: MemoryDeliveryLog) -> None:
    async with delivering(deliveries, Hook(receiver.url()), secret=None) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await receiver.until_posts(1)
    assert SIGNATURE_HEADER not in receiver.posts[0].headers


async def test_webhooks_get_what_they_subscribed_to(receiver: WebhookReceiver, deliveries: MemoryDeliveryLog) -> None:
    ended = Hook(receiver.url("/ended"), id="w1", events=("room.ended",))
    files = Hook(receiver.url("/files"), id="w2", events=("storage.file.updated", "storage.file.deleted"))
    room = FakeRoom()
    async with delivering(deliveries, ended, files) as deliverer:
        events = RoomEvents(deliverer)
        events.started(room)
        events.file_updated(room, FileEvent(path="a.txt", participant_id="p1"))
        events.file_deleted(room, FileEvent(path="a.txt", participant_id=None))
        events.ended(room)
        RoomEvents(deliverer).ended(FakeRoom(project_id="another"))
        await receiver.until_posts(3)
    told = [(post.path, post.json["event"]) for post in receiver.posts]
    assert sorted(told) == [
        ("/ended", "room.ended"),
        ("/files", "storage.file.deleted"),
        ("/files", "storage.file.updated"),
    ]
    file_data = [post.json["data"] for post in receiver.posts if post.path == "/files"]
    assert file_data[0] == {"room_name": "room", "path": "a.txt", "participant_id": "p1"}


@pytest.mark.parametrize("payload", [{"a": 1, "room_name": "mine"}, '{"a": 1, "room_name": "mine"}'])
async def test_the_payload_is_added_below_the_event(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog, payload: Any
) -> None:
    async with delivering(deliveries, Hook(receiver.url(), payload=payload, action="notify")) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await receiver.until_posts(1)
    assert receiver.events == [{"event": "room.ended", "data": {"a": 1, "room_name": "r"}, "action": "notify"}]


async def test_the_action_call_sends_a_call_with_a_fresh_token_for_each_attempt(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog
) -> None:
    receiver.script = [503]
    async with delivering(deliveries, Hook(receiver.url(), action="call", payload={"n": 1}, name="bot")) as deliverer:
        deliverer.publish("project", "room.started", {"room_name": "r", "room_url": "ws://host/rooms/r"})
        await receiver.until_posts(2)
    assert receiver.events == [
        {
            "event": "room.call",
            "data": {
                "room_name": "r",
                "room_url": "ws://host/rooms/r",
                "token": f"token {number} of bot (agent) for project/r",
                "arguments": {"n": 1},
            },
        }
        for number in (1, 2)
    ]


async def test_failed_attempts_are_repeated_under_one_id(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog
) -> None:
    receiver.script = [500, 429, 200]
    async with delivering(deliveries, Hook(receiver.url())) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await eventually(lambda: outcomes(deliveries) == [("room.ended", "delivered", 3)])
    assert len({post.headers[EVENT_ID_HEADER] for post in receiver.posts}) == 1
    assert len(receiver.posts) == 3


async def test_attempts_end(receiver: WebhookReceiver, deliveries: MemoryDeliveryLog) -> None:
    receiver.script = [500] * 10
    async with delivering(deliveries, Hook(receiver.url())) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await eventually(lambda: outcomes(deliveries) == [("room.ended", "failed", 4)])
    entry = deliveries.of_project("project", "w1")[0]
    assert (entry.status, entry.error) == (500, f"{receiver.url()} answered with status 500")
    assert deliveries.of_project("project", "w2") == []


async def test_a_refusal_is_final(receiver: WebhookReceiver, deliveries: MemoryDeliveryLog) -> None:
    receiver.script = [401]
    async with delivering(deliveries, Hook(receiver.url())) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await eventually(lambda: outcomes(deliveries) == [("room.ended", "failed", 1)])


async def test_an_address_that_may_not_be_called_is_a_failure(deliveries: MemoryDeliveryLog) -> None:
    async with delivering(deliveries, Hook("http://169.254.169.254/")) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await eventually(lambda: outcomes(deliveries) == [("room.ended", "failed", 1)])


async def test_events_of_a_webhook_keep_their_order_through_failures(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog
) -> None:
    receiver.script = [500, 200, 500, 500, 200]
    async with delivering(deliveries, Hook(receiver.url())) as deliverer:
        for number in range(10):
            deliverer.publish("project", "storage.file.updated", {"path": str(number)})
        await eventually(lambda: len(receiver.posts) == 13)
    seen = [event["data"]["path"] for event in receiver.events]
    assert list(dict.fromkeys(seen)) == [str(number) for number in range(10)]
    assert seen == sorted(seen)


async def test_a_webhook_that_hangs_holds_up_neither_the_room_nor_others(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog
) -> None:
    async with webhook_receiver() as stuck:
        stuck.held.clear()
        hooks = Hook(stuck.url(), id="stuck"), Hook(receiver.url(), id="fine")
        async with delivering(deliveries, *hooks, grace=0.01) as deliverer:
            for number in range(5):
                deliverer.publish("project", "storage.file.updated", {"path": str(number)})
            await receiver.until_posts(5)
            assert len(stuck.posts) == 1
        stuck.held.set()
    assert [entry.outcome for entry in deliveries.of_project("project", "stuck")] == ["abandoned"] * 5


async def test_a_full_queue_loses_the_oldest_and_says_so(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.held.clear()
    async with delivering(deliveries, Hook(receiver.url()), max_waiting=2) as deliverer:
        deliverer.publish("project", "storage.file.updated", {"path": "0"})
        await receiver.until_posts(1)
        for number in range(1, 6):
            deliverer.publish("project", "storage.file.updated", {"path": str(number)})
        await eventually(lambda: len(deliveries.of_project("project")) == 6)
        receiver.held.set()
        await receiver.until_posts(3)
    assert [event["data"]["path"] for event in receiver.events] == ["0", "4", "5"]
    assert [outcome for _, outcome, _ in outcomes(deliveries)] == ["delivered", *["dropped"] * 3, *["delivered"] * 2]
    assert caplog.text.count("cannot keep up") == 1


async def test_events_that_nobody_fetches_are_bounded(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog, caplog: pytest.LogCaptureFixture
) -> None:
    async with delivering(deliveries, Hook(receiver.url()), max_events=2) as deliverer:
        for number in range(3):
            deliverer.publish("project", "storage.file.updated", {"path": str(number), "room_name": "r"})
        await receiver.until_posts(2)
    assert [event["data"]["path"] for event in receiver.events] == ["1", "2"]
    assert "dropped the event" in caplog.text


async def test_stopping_delivers_what_waits_and_does_not_wait_for_retries(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.script = [200, 503]
    slow = RetryPolicy(attempts=3, initial_delay=60)
    async with delivering(deliveries, Hook(receiver.url()), retry=slow) as deliverer:
        for number in range(3):
            deliverer.publish("project", "storage.file.updated", {"path": str(number)})
    assert [outcome for _, outcome, _ in outcomes(deliveries)] == ["delivered", "abandoned", "delivered"]
    deliverer.publish("project", "room.ended", {"room_name": "r"})
    assert "dropped the event room.ended: the server is shutting down" in caplog.text


async def test_webhooks_that_cannot_be_read_cost_that_event_only(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog, caplog: pytest.LogCaptureFixture
) -> None:
    source = Hooks([Hook(receiver.url())], failure=OSError("no database"))
    async with delivering(deliveries, source=source) as deliverer:
        deliverer.publish("project", "room.started", {"room_name": "r"})
        await eventually(lambda: "could not read the webhooks" in caplog.text)
        source.failure = None
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await receiver.until_posts(1)
    assert [event["event"] for event in receiver.events] == ["room.ended"]


async def test_what_has_no_json_form_is_a_failure_and_not_the_end(
    receiver: WebhookReceiver, deliveries: MemoryDeliveryLog
) -> None:
    async with delivering(deliveries, Hook(receiver.url())) as deliverer:
        deliverer.publish("project", "room.started", {"room_name": object()})
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await receiver.until_posts(1)
    assert [outcome for _, outcome, _ in outcomes(deliveries)] == ["failed", "delivered"]


async def test_no_task_is_left_when_nothing_is_to_do(receiver: WebhookReceiver, deliveries: MemoryDeliveryLog) -> None:
    async with delivering(deliveries, Hook(receiver.url())) as deliverer:
        deliverer.publish("project", "room.ended", {"room_name": "r"})
        await eventually(lambda: outcomes(deliveries) == [("room.ended", "delivered", 1)])
        names = [task.get_name() for task in asyncio.all_tasks()]
        assert not any(name.startswith("webhook http") for name in names)


def test_the_memory_of_deliveries_is_bounded() -> None:
    log = MemoryDeliveryLog(limit=2)
    for number in range(3):
        log.save(_delivery(str(number)))
    assert [entry.id for entry in log.of_project("project")] == ["2", "1"]


def test_waits_double_up_to_a_limit_with_jitter() -> None:
    assert list(RetryPolicy(attempts=5, initial_delay=1, max_delay=4, jitter=0).delays()) == [1, 2, 4, 4]
    assert all(0.5 <= delay <= 1 for delay in RetryPolicy(attempts=9, initial_delay=1, max_delay=1).delays())


def _delivery(delivery_id: str) -> Delivery:
    at = datetime.now(UTC)
    return Delivery(
        id=delivery_id,
        project_id="project",
        webhook_id="w",
        url="http://host/",
        event="room.ended",
        room_name="r",
        outcome="waiting",
        attempts=0,
        status=None,
        error=None,
        created_at=at,
        updated_at=at,
    )
