"""Webhooks that fail for days are disabled, and say so (protocol 15.4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshagent.api.errors import UnavailableError
from meshagent.server.webhooks.clocks import SteadyClock
from meshagent.server.webhooks.settings import DeliveryLimits
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.support.webhooks import FILE_UPDATED, Clock, Hook, Hooks, delivering

LIMITS = DeliveryLimits(disable_after=timedelta(days=5), max_age=timedelta(days=30))


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


async def test_a_webhook_that_fails_for_days_is_disabled_and_says_so(
    receiver: WebhookReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.script = [404, 404, 404]
    clock, source = Clock(), Hooks([Hook(receiver.url())])
    async with delivering(tmp_path, source=source, limits=LIMITS, clock=clock) as webhooks:
        await webhooks.tell("room.started")
        await webhooks.until_outcomes([("room.started", "failed", 1)])
        since = source.find("w1").failing_since
        assert since is not None
        clock.ahead = timedelta(days=4, hours=23)
        await webhooks.tell("room.started")
        await webhooks.until_outcomes([("room.started", "failed", 1)] * 2)
        assert source.find("w1").disabled_at is None
        clock.ahead = timedelta(days=5, hours=1)
        receiver.held.clear()
        await webhooks.tell("room.ended")
        await receiver.until_posts(3)
        await webhooks.tell(FILE_UPDATED)  # waits behind the attempt after which the webhook is disabled
        receiver.held.set()
        await webhooks.until_outcomes(
            [
                *[("room.started", "failed", 1)] * 2,
                ("room.ended", "failed", 1),
                (FILE_UPDATED, "abandoned", 0),
                ("webhook.disabled", "disabled", 0),
            ]
        )
        entry = (await webhooks.deliveries())[-1]
        rows = await webhooks.rows()
        await webhooks.tell("room.started")
        assert await webhooks.rows() == rows, "nothing more is stored"
    hook = source.find("w1")
    assert hook.disabled_at is not None
    assert hook.disabled_reason is not None
    assert hook.disabled_reason.startswith(f"every attempt since {since.isoformat(timespec='seconds')} failed")
    assert "answered with status 404" in hook.disabled_reason
    assert json.loads(entry.data) == {"reason": hook.disabled_reason}
    assert "disabled the webhook w1" in caplog.text
    assert len(receiver.posts) == 3


async def test_an_event_that_is_accepted_while_its_webhook_is_disabled_is_not_sent_again(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    clock, source = Clock(), Hooks([Hook(receiver.url())])
    async with delivering(tmp_path, source=source, limits=LIMITS, clock=clock) as webhooks:
        receiver.held.clear()
        await webhooks.tell("room.started")
        await webhooks.tell("room.ended")
        await receiver.until_posts(1)
        await source.disable("project", "w1", clock(), "not now")
        await webhooks.deliverer.disabled("project", "w1", "not now")
        receiver.held.set()
        disabled = ("webhook.disabled", "disabled", 0)
        await webhooks.until_outcomes([("room.started", "delivered", 1), ("room.ended", "abandoned", 0), disabled])
        source.enable("w1")
        await webhooks.deliverer.enabled("project", "w1")
        assert await webhooks.deliverer.resend_undelivered("project", "w1") == 1
        await receiver.until_posts(2)
    assert [event["event"] for event in receiver.events] == ["room.started", "room.ended"]


async def test_one_success_keeps_a_webhook_enabled(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [404, 200, 404]
    clock, source = Clock(), Hooks([Hook(receiver.url())])
    async with delivering(tmp_path, source=source, limits=LIMITS, clock=clock) as webhooks:
        for days in (0, 3, 6):
            clock.ahead = timedelta(days=days)
            await webhooks.tell("room.started")
            await receiver.until_posts(days // 3 + 1)
        await webhooks.until_outcomes([("room.started", outcome, 1) for outcome in ("failed", "delivered", "failed")])
    hook = source.find("w1")
    assert hook.disabled_at is None
    assert hook.failing_since is not None
    assert clock() - hook.failing_since < timedelta(days=1)


async def test_webhooks_are_never_disabled_where_that_is_switched_off(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    receiver.script = [404, 404]
    clock, source = Clock(), Hooks([Hook(receiver.url())])
    limits = DeliveryLimits(disable_after=None)
    async with delivering(tmp_path, source=source, limits=limits, clock=clock) as webhooks:
        await webhooks.tell("room.started")
        await receiver.until_posts(1)
        clock.ahead = timedelta(days=1000)
        await webhooks.tell("room.ended")
        await webhooks.until_outcomes([("room.started", "failed", 1), ("room.ended", "failed", 1)])
    assert source.find("w1").disabled_at is None


async def test_a_webhook_that_cannot_be_disabled_goes_on(
    receiver: WebhookReceiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class ReadOnly(Hooks):
        async def disable(self, *_: object) -> None:
            raise UnavailableError("no database")

        async def set_failing(self, *_: object) -> None:
            raise UnavailableError("no database")

    clock = Clock()
    receiver.script = [404, 404, 200]
    source = ReadOnly([Hook(receiver.url(), failing_since=clock() - timedelta(days=9))])
    async with delivering(tmp_path, source=source, limits=LIMITS, clock=clock) as webhooks:
        for _ in range(3):
            await webhooks.tell("room.started")
        await webhooks.until_outcomes([("room.started", outcome, 1) for outcome in ("failed", "failed", "delivered")])
    assert "could not disable the webhook w1" in caplog.text
    assert "could not note whether the webhook w1 works" in caplog.text


async def test_a_clock_that_is_set_forward_makes_nothing_too_old(receiver: WebhookReceiver, tmp_path: Path) -> None:
    receiver.script = [503] * 5
    clock, source = Clock(), Hooks([Hook(receiver.url())])
    steady = SteadyClock(clock)
    limits = DeliveryLimits(max_age=timedelta(days=1), prune_interval=0.01)
    async with delivering(tmp_path, source=source, limits=limits, clock=clock, steady=steady) as webhooks:
        receiver.held.clear()
        await webhooks.tell("room.started")
        await receiver.until_posts(1)
        clock.ahead = timedelta(days=1000)
        receiver.held.set()
        await webhooks.until_outcomes([("room.started", "delivered", 6)])
    assert source.find("w1").disabled_at is None
