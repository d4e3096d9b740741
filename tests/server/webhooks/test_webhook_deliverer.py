"""Delivering events to webhooks: bodies, signatures, order, retries, bounds, stopping (protocol 15)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.errors import UnavailableError
from meshagent.api.webhook.signature import EVENT_ID_HEADER, EVENT_TIME_HEADER, SIGNATURE_HEADER, verify
from meshagent.server.stores.outbox import now
from meshagent.server.webhooks.retry import MAX_RETRY_AFTER, RetryPolicy
from meshagent.server.webhooks.settings import CALL_AGE, DeliveryLimits
from meshagent.server.webhooks.slots import PROJECT_REQUESTS
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.support.webhooks import DEFAULT_SECRET, FILE_UPDATED, Clock, Hook, Hooks, delivering, until

SLOW = RetryPolicy(initial_delay=600, max_delay=600)


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


async def test_an_event_arrives_signed_with_id_and_time(receiver: WebhookReceiver, tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        await webhooks.tell("room.started", {"session_id": "s"}, room="über")
        await webhooks.until_outcomes([("room.started", "delivered", 1)])
        [entry] = await webhooks.deliveries()
    (post,) = receiver.posts
    assert post.json == {"event": "room.started", "data": {"room_name": "über", "session_id": "s"}}
    assert b"\\u00fcber" in post.body
    verify(post.body, post.headers[SIGNATURE_HEADER], DEFAULT_SECRET, now=time.time())
    assert (entry.id, entry.room_name) == (post.headers[EVENT_ID_HEADER], "über")
    assert datetime.fromisoformat(post.headers[EVENT_TIME_HEADER]) == entry.created_at


async def test_a_webhooks_own_secret_comes_first(receiver: WebhookReceiver, tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook(receiver.url(), secret="its own")) as webhooks:
        await webhooks.tell("room.ended")
        await receiver.until_posts(1)
    verify(receiver.posts[0].body, receiver.posts[0].headers[SIGNATURE_HEADER], "its own", now=time.time())


async def test_without_any_secret_events_are_unsigned(receiver: WebhookReceiver, tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook(receiver.url()), secret=None) as webhooks:
        await webhooks.tell("room.ended")
        await receiver.until_posts(1)
    assert SIGNATURE_HEADER not in receiver.posts[0].headers


@pytest.mark.parametrize("payload", [{"a": 1, "room_name": "mine"}, '{"a": 1, "room_name": "mine"}'])
async def test_the_payload_is_added_below_the_event(receiver: WebhookReceiver, tmp_path: Path, payload: Any) -> None:
    async with delivering(tmp_path, Hook(receiver.url(), payload=payload, action="notify")) as webhooks:
        await webhooks.tell("room.ended", room="r")
        await receiver.until_posts(1)
    assert receiver.events == [{"event": "room.ended", "data": {"a": 1, "room_name": "r"}, "action": "notify"}]


async def test_the_action_call_sends_a_call_with_a_fresh_token_for_each_attempt(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    receiver.script = [503]
    async with delivering(tmp_path, Hook(receiver.url(), action="call", payload={"n": 1}, name="bot")) as webhooks:
        await webhooks.tell("room.started", room="r")
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


async def test_an_old_event_calls_nobody_into_its_room(receiver: WebhookReceiver, tmp_path: Path) -> None:
    clock = Clock()
    receiver.script = [503]
    async with delivering(tmp_path, Hook(receiver.url(), action="call"), clock=clock, retry=SLOW, grace=0) as webhooks:
        await webhooks.tell("room.started")
        await webhooks.until_outcomes([("room.started", "retrying", 1)])
    clock.ahead = CALL_AGE + timedelta(seconds=1)
    async with delivering(tmp_path, Hook(receiver.url(), action="call"), clock=clock) as webhooks:
        await webhooks.until_outcomes([("room.started", "failed", 2)])
    assert len(receiver.posts) == 1


async def test_failed_attempts_are_repeated_under_one_id(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [500, 429, 200]
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        await webhooks.tell("room.ended")
        await webhooks.until_outcomes([("room.ended", "delivered", 3)])
        assert webhooks.notes.lines == [
            ("room.ended", "retrying"),
            ("room.ended", "retrying"),
            ("room.ended", "delivered"),
        ]
    assert len({post.headers[EVENT_ID_HEADER] for post in receiver.posts}) == 1
    assert len(receiver.posts) == 3


async def test_attempts_end_when_the_event_is_too_old(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [500] * 1000
    limits = DeliveryLimits(max_age=timedelta(seconds=0.05))
    async with delivering(tmp_path, Hook(receiver.url()), limits=limits) as webhooks:
        await webhooks.tell("room.ended")

        async def has_failed() -> bool:
            return [outcome for _, outcome, _ in await webhooks.outcomes()] == ["failed"]

        await until(has_failed)
        [entry] = await webhooks.deliveries()
    assert (entry.status, entry.error) == (500, f"{receiver.url()} answered with status 500 (given up: too old)")
    assert entry.attempts == len(receiver.posts)


async def test_a_refusal_is_final(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [401]
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        await webhooks.tell("room.ended")
        await webhooks.until_outcomes([("room.ended", "failed", 1)])


async def test_secrets_in_the_url_stay_out_of_logs(
    receiver: WebhookReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.script = [401]
    async with delivering(tmp_path, Hook(receiver.url("/hook?key=very-secret"))) as webhooks:
        await webhooks.tell("room.ended")
        await webhooks.until_outcomes([("room.ended", "failed", 1)])
        [entry] = await webhooks.deliveries()
    assert receiver.posts[0].path == "/hook"
    assert entry.error == f"{receiver.url()} answered with status 401"
    assert "very-secret" not in caplog.text


async def test_an_address_that_may_not_be_called_is_a_failure(tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook("http://169.254.169.254/")) as webhooks:
        await webhooks.tell("room.ended")
        await webhooks.until_outcomes([("room.ended", "failed", 1)])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120),
        ("a date", 600),
        ("99999999999999", MAX_RETRY_AFTER),
        ("nonsense", 0),
    ],
)
async def test_retry_after_is_honoured_within_bounds(
    receiver: WebhookReceiver, tmp_path: Path, header: str, seconds: float
) -> None:
    if header == "a date":
        header = format_datetime(now() + timedelta(seconds=seconds), usegmt=True)
    receiver.script, receiver.headers = [503], {"Retry-After": header}
    retry = RetryPolicy(initial_delay=1e-3, max_delay=1e-3) if seconds else SLOW
    async with delivering(tmp_path, Hook(receiver.url()), retry=retry, grace=0) as webhooks:
        await webhooks.tell("room.ended", room="a")
        await webhooks.until_outcomes([("room.ended", "retrying", 1)])
        await webhooks.tell("room.ended", room="b")  # the receiver wants no requests at all
        [entry, later] = await webhooks.deliveries()
        waits = (entry.due_at - entry.updated_at).total_seconds()
    if seconds:
        assert seconds - 60 < waits <= seconds  # the date was made some time before the answer
        assert later.attempts == 0
        assert len(receiver.posts) == 1
    else:
        assert 300 <= waits <= 600


async def test_events_of_a_room_keep_their_order_through_failures(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [500, 200, 500, 500, 200]
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        for number in range(10):
            await webhooks.tell(FILE_UPDATED, {"path": str(number)})
        await webhooks.until_outcomes([(FILE_UPDATED, "delivered", n) for n in (2, 3, 1, 1, 1, 1, 1, 1, 1, 1)])
    seen = [event["data"]["path"] for event in receiver.events]
    assert list(dict.fromkeys(seen)) == [str(number) for number in range(10)]
    assert seen == sorted(seen)


async def test_an_event_that_fails_holds_up_its_own_room_only(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [500]
    async with delivering(tmp_path, Hook(receiver.url()), retry=SLOW, grace=0) as webhooks:
        await webhooks.tell(FILE_UPDATED, {"path": "1"}, room="bad")
        await webhooks.until_outcomes([(FILE_UPDATED, "retrying", 1)])
        await webhooks.tell(FILE_UPDATED, {"path": "2"}, room="bad")
        await webhooks.tell(FILE_UPDATED, {"path": "3"}, room="good")
        await receiver.until_posts(2)
    assert [event["data"]["path"] for event in receiver.events] == ["1", "3"]


async def test_a_webhook_that_hangs_holds_up_neither_the_room_nor_others(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    async with webhook_receiver() as stuck:
        stuck.held.clear()
        hooks = Hook(stuck.url(), id="stuck"), Hook(receiver.url(), id="fine")
        async with delivering(tmp_path, *hooks, grace=0.01) as webhooks:
            for number in range(5):
                await webhooks.tell(FILE_UPDATED, {"path": str(number)})
            await receiver.until_posts(5)
            assert len(stuck.posts) == 1
            assert await webhooks.outcomes("stuck") == [(FILE_UPDATED, "waiting", 0)] * 5
        stuck.held.set()


async def test_receivers_that_hang_take_a_part_of_the_connections_only(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    receiver.held.clear()
    hooks = [Hook(receiver.url(), id=f"w{number}") for number in range(PROJECT_REQUESTS + 3)]
    async with delivering(tmp_path, *hooks) as webhooks:
        await webhooks.tell("room.started")
        await receiver.until_posts(PROJECT_REQUESTS)
        assert [await webhooks.outcomes(hook.id) for hook in hooks] == [[("room.started", "waiting", 0)]] * len(hooks)
        assert len(receiver.posts) == PROJECT_REQUESTS
        receiver.held.set()
        await receiver.until_posts(len(hooks))


async def test_a_full_outbox_loses_the_oldest_and_says_so(
    receiver: WebhookReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.held.clear()
    async with delivering(tmp_path, Hook(receiver.url()), max_pending=3) as webhooks:
        await webhooks.tell(FILE_UPDATED, {"path": "0"})
        await receiver.until_posts(1)
        for number in range(1, 7):
            await webhooks.tell(FILE_UPDATED, {"path": str(number)})
        outcomes = [outcome for _, outcome, _ in await webhooks.outcomes()]
        assert outcomes == [*["dropped"] * 4, *["waiting"] * 3]
        receiver.held.set()
        await receiver.until_posts(4)
        assert webhooks.notes.lines[:4] == [(FILE_UPDATED, "dropped")] * 4
    assert [event["data"]["path"] for event in receiver.events] == ["0", "4", "5", "6"]
    assert "cannot keep up" in caplog.text


async def test_what_was_not_delivered_is_delivered_after_a_restart_in_order(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    receiver.script = [200, 503]
    async with delivering(tmp_path, Hook(receiver.url()), retry=SLOW) as webhooks:
        for number in range(3):
            await webhooks.tell(FILE_UPDATED, {"path": str(number)})
        await receiver.until_posts(2)
    clock = Clock()
    clock.ahead = timedelta(seconds=601)
    async with delivering(tmp_path, Hook(receiver.url()), clock=clock) as webhooks:
        await webhooks.until_outcomes([(FILE_UPDATED, "delivered", n) for n in (1, 2, 1)])
    assert [event["data"]["path"] for event in receiver.events] == ["0", "1", "1", "2"]
    ids = [post.headers[EVENT_ID_HEADER] for post in receiver.posts]
    assert ids[1] == ids[2]


async def test_stopping_delivers_what_is_due_and_does_not_wait_for_retries(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    receiver.script = [503]
    async with delivering(tmp_path, Hook(receiver.url()), retry=SLOW) as webhooks:
        for room in "abc":
            await webhooks.tell(FILE_UPDATED, room=room)
    assert [event["data"]["room_name"] for event in receiver.events] == ["a", "b", "c"]


async def test_webhooks_that_cannot_be_read_do_not_fail_what_happens(
    receiver: WebhookReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Hooks([Hook(receiver.url())], failure=UnavailableError("no database"))
    async with delivering(tmp_path, source=source) as webhooks:
        await webhooks.tell("room.started")
        assert "could not read the webhooks" in caplog.text
        source.failure = None
        await webhooks.tell("room.ended")
        await receiver.until_posts(1)
    assert [event["event"] for event in receiver.events] == ["room.ended"]


async def test_deliveries_wait_while_the_webhooks_cannot_be_read(receiver: WebhookReceiver, tmp_path: Path) -> None:
    source = Hooks([Hook(receiver.url())])
    receiver.held.clear()
    async with delivering(tmp_path, source=source, grace=0.01) as webhooks:
        await webhooks.tell("room.started")
        await webhooks.tell("room.ended")
        await receiver.until_posts(1)
        source.failure = UnavailableError("no database")
        receiver.held.set()
        await webhooks.until_outcomes([("room.started", "delivered", 1), ("room.ended", "waiting", 0)])
    source.failure = None
    async with delivering(tmp_path, source=source) as webhooks:
        await receiver.until_posts(2)


async def test_deliveries_of_a_webhook_that_is_gone_go_with_it(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [503]
    async with delivering(tmp_path, Hook(receiver.url()), retry=SLOW) as webhooks:
        await webhooks.tell("room.started")
        await receiver.until_posts(1)
    clock = Clock()
    clock.ahead = timedelta(seconds=601)
    async with delivering(tmp_path, clock=clock) as webhooks:

        async def is_empty() -> bool:
            return await webhooks.rows() == 0

        await until(is_empty)


async def test_what_a_deliverer_cannot_send_is_a_failure_and_not_the_end(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    bad = Hook(receiver.url(), payload={"x": object()})
    async with delivering(tmp_path, bad) as webhooks:
        await webhooks.tell("room.started")
        await webhooks.until_outcomes([("room.started", "failed", 1)])
        webhooks.source.hooks = [Hook(receiver.url())]
        await webhooks.tell("room.ended")
        await webhooks.until_outcomes([("room.started", "failed", 1), ("room.ended", "delivered", 1)])


async def test_no_task_is_left_when_nothing_is_to_do(receiver: WebhookReceiver, tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        await webhooks.tell("room.ended")

        async def is_idle() -> bool:
            return not any(task.get_name() == "webhook w1" for task in asyncio.all_tasks())

        await webhooks.until_outcomes([("room.ended", "delivered", 1)])
        await until(is_idle)


def test_waits_double_up_to_a_limit_with_jitter() -> None:
    assert list(RetryPolicy(attempts=5, initial_delay=1, max_delay=4, jitter=0).delays()) == [1, 2, 4, 4]
    assert all(0.5 <= delay <= 1 for delay in RetryPolicy(attempts=9, initial_delay=1, max_delay=1).delays())
    assert RetryPolicy(initial_delay=1, max_delay=600, jitter=0).delay_after(10_000) == 600
