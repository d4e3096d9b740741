"""Delivers what is due for one webhook, in order, until nothing is pending (protocol 15.4)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshagent.api.errors import RoomException
from meshagent.server.outgoing.client import HttpStatusError
from meshagent.server.stores.outbox import LONGEST_WAIT, Attempt, Delivery, DeliveryOutbox, Outcome
from meshagent.server.webhooks.deliveries import DeliveryNotes, without_secrets
from meshagent.server.webhooks.health import WebhookHealth
from meshagent.server.webhooks.ports import Subscription, WebhookSource
from meshagent.server.webhooks.requests import WebhookRequests
from meshagent.server.webhooks.retry import RetryPolicy, is_temporary, requested_delay
from meshagent.server.webhooks.slots import ProjectSlots

log = logging.getLogger(__name__)

BATCH: Final = 100
_BACKLOG_SECONDS: Final = 0.1
_FAILURE_SECONDS: Final = 5.0
"""Wait after an error of the server's own, such as a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What the workers of all webhooks share."""

    source: WebhookSource
    outbox: DeliveryOutbox
    requests: WebhookRequests
    health: WebhookHealth
    notes: DeliveryNotes
    slots: ProjectSlots
    retry: RetryPolicy
    clock: Callable[[], datetime]
    age_clock: Callable[[], datetime]


class WebhookWorker:
    """Delivers to one webhook; one delivery at a time, so that a slow receiver is not flooded.

    Args:
        parts: What all workers share.
        project_id: The webhook's project.
        webhook_id: Which webhook.
        closing: Set when the server stops: then each delivery that is due is tried once, and no wait begins.
    """

    def __init__(self, parts: WorkerParts, project_id: str, webhook_id: str, closing: asyncio.Event) -> None:
        self._parts = parts
        self._project_id = project_id
        self._webhook_id = webhook_id
        self._closing = closing
        self._slots = parts.slots.of_project(project_id)
        self._woken = asyncio.Event()
        self._paused_until: datetime | None = None

    @property
    def is_woken(self) -> bool:
        """Whether something is new since the last look into the outbox."""
        return self._woken.is_set()

    def wake(self) -> None:
        """Something is new in the outbox."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until nothing is pending."""
        while True:
            self._woken.clear()
            try:
                due_at = await self._deliver_due()
            except Exception:
                log.exception("could not deliver to the webhook %s", self._webhook_id)
                due_at = self._parts.clock() + timedelta(seconds=_FAILURE_SECONDS)
            if due_at is not None and not self._closing.is_set():
                await self._wait_until(due_at)
            elif not self._woken.is_set() or self._paused_until is not None:
                return

    async def _wait_until(self, due_at: datetime) -> None:
        """Wait for a time, for new events unless the receiver wants none, or for the end of the server.

        While there is a backlog, new events are noticed a little later: looking through it takes time.
        """
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), _BACKLOG_SECONDS)
        wait = due_at - self._parts.clock()
        seconds = max(wait.total_seconds(), 0.001) if wait <= LONGEST_WAIT else 0.001  # the clock was set back
        events = [self._closing] if self._paused_until is not None else [self._closing, self._woken]
        tasks = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _deliver_due(self) -> datetime | None:
        """Deliver what is due; when more will be due, None if nothing is pending."""
        outbox, clock = self._parts.outbox, self._parts.clock
        while True:
            if self._paused_until is not None:
                if clock() < self._paused_until <= clock() + LONGEST_WAIT:
                    return self._paused_until
                self._paused_until = None
            batch = await outbox.due(self._webhook_id, clock(), BATCH)
            if not batch:
                return await outbox.next_due(self._webhook_id)
            recorded: list[asyncio.Future[None]] = []
            try:
                if not await self._deliver_batch(batch, recorded):
                    return None
            finally:
                await asyncio.gather(*recorded, return_exceptions=True)

    async def _deliver_batch(self, batch: Sequence[Delivery], recorded: list[asyncio.Future[None]]) -> bool:
        """Deliver each; False if the webhook is gone or disabled. What is retried holds up its room only."""
        held_up: set[str] = set()
        for delivery in batch:
            if delivery.room_name in held_up or self._paused_until is not None:
                continue
            subscription = await self._subscription()
            if subscription is None:
                return False
            attempt, error = await self._attempt(delivery, subscription)
            recorded.append(self._parts.outbox.record(attempt))
            self._parts.notes.attempted(delivery, attempt, subscription.url)
            if attempt.outcome == "retrying":
                held_up.add(delivery.room_name)
            if error is None:
                await self._parts.health.worked(self._project_id, subscription)
            elif await self._parts.health.failed(self._project_id, subscription, error):
                return False
        return True

    async def _subscription(self) -> Subscription | None:
        """The webhook as it is now; None, and nothing pending any more, if it is gone or disabled."""
        parts = self._parts
        for subscription in await parts.source.of_project(self._project_id):
            if subscription.id == self._webhook_id:
                if subscription.disabled_at is None:
                    return subscription
                parts.outbox.abandon(self._webhook_id, "the webhook is disabled", parts.clock())
                return None
        parts.outbox.forget(self._webhook_id)
        return None

    async def _attempt(self, delivery: Delivery, subscription: Subscription) -> tuple[Attempt, str | None]:
        """Post once; what became of it, and the error."""
        attempts = delivery.attempts + 1
        try:
            async with self._slots:
                await self._parts.requests.post(delivery, subscription)
        except RoomException as error:
            text = without_secrets(str(error), subscription.url)
            return self._failure(delivery, attempts, error, text), text
        except Exception as error:
            log.exception("could not deliver the event %s to the webhook %s", delivery.event, subscription.id)
            text = f"{type(error).__name__}: {error}"
            return self._result(delivery, "failed", attempts, None, text), text
        return self._result(delivery, "delivered", attempts, None, None), None

    def _failure(self, delivery: Delivery, attempts: int, error: RoomException, text: str) -> Attempt:
        status = error.status if isinstance(error, HttpStatusError) else None
        if not is_temporary(error):
            return self._result(delivery, "failed", attempts, status, text)
        now = self._parts.clock()
        requested = requested_delay(error)
        if requested:
            self._paused_until = now + timedelta(seconds=requested)
        wait = timedelta(seconds=max(self._parts.retry.delay_after(attempts), requested))
        due_at = now + wait
        if self._parts.age_clock() + wait > delivery.expires_at:
            return self._result(delivery, "failed", attempts, status, f"{text} (given up: too old)")
        return self._result(delivery, "retrying", attempts, status, text, due_at)

    def _result(
        self,
        delivery: Delivery,
        outcome: Outcome,
        attempts: int,
        status: int | None,
        error: str | None,
        due_at: datetime | None = None,
    ) -> Attempt:
        if outcome == "failed":
            log.warning("could not deliver the event %s: %s", delivery.event, error)
        now = self._parts.clock()
        return Attempt(
            id=delivery.id,
            outcome=outcome,
            attempts=attempts,
            status=status,
            error=error,
            due_at=due_at or now,
            at=now,
        )
