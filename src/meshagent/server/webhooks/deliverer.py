"""Delivers the events of the outbox to webhooks, in the background (protocol 15.4).

    announcer ─► outbox on disk ─► one worker per webhook for which something is pending

Nothing here waits on behalf of a room, and what is pending survives the server.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from meshagent.api.errors import ConflictError, RoomException
from meshagent.server.stores.outbox import Delivery, DeliveryOutbox, Outcome, now
from meshagent.server.webhooks.announcer import WebhookAnnouncer
from meshagent.server.webhooks.clocks import CautiousClock, SteadyClock
from meshagent.server.webhooks.deliveries import DeliveryNotes
from meshagent.server.webhooks.health import WebhookHealth, state_entry
from meshagent.server.webhooks.ports import WebhookSource
from meshagent.server.webhooks.requests import WebhookRequests
from meshagent.server.webhooks.retry import DELIVERY_RETRY, RetryPolicy
from meshagent.server.webhooks.settings import DeliveryLimits
from meshagent.server.webhooks.slots import ProjectSlots
from meshagent.server.webhooks.worker import WebhookWorker, WorkerParts

log = logging.getLogger(__name__)


class WebhookDeliverer:
    """The webhooks of a server. Call `start` and `close`.

    Of each webhook and room, events are delivered in the order in which they happened. A failed attempt is repeated
    with growing waits until the event is too old, and holds up the webhook's later events of the same room meanwhile;
    answers that say that the event is not wanted (4xx) are not repeated.

    Attributes:
        announcer: Takes the events of rooms.

    Args:
        source: The webhooks of projects.
        outbox: Keeps the deliveries.
        requests: Posts them.
        notes: Told of the outcomes.
        retry: The waits between attempts.
        limits: How long deliveries and webhooks are tried.
        clock: The time.
        steady: The time by which deliveries and webhooks become too old, if it is earlier; by default one that does
            not follow a clock that is set.
    """

    def __init__(
        self,
        source: WebhookSource,
        outbox: DeliveryOutbox,
        requests: WebhookRequests,
        notes: DeliveryNotes,
        *,
        retry: RetryPolicy = DELIVERY_RETRY,
        limits: DeliveryLimits | None = None,
        clock: Callable[[], datetime] = now,
        steady: Callable[[], datetime] | None = None,
    ) -> None:
        self._outbox = outbox
        self._notes = notes
        self._limits = limits or DeliveryLimits()
        self._clock = clock
        self._age_clock = CautiousClock(clock, steady or SteadyClock(clock))
        health = WebhookHealth(
            source, outbox, disable_after=self._limits.disable_after, clock=clock, age_clock=self._age_clock
        )
        self._parts = WorkerParts(
            source=source,
            outbox=outbox,
            requests=requests,
            health=health,
            notes=notes,
            slots=ProjectSlots(),
            retry=retry,
            clock=clock,
            age_clock=self._age_clock,
        )
        self.announcer = WebhookAnnouncer(
            source,
            outbox,
            wake=self._wake,
            dropped=self._note_dropped,
            max_age=self._limits.max_age,
            clock=clock,
        )
        self._closing = asyncio.Event()
        self._workers: dict[tuple[str, str], tuple[WebhookWorker, asyncio.Task[None]]] = {}
        self._upkeep: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take up what an earlier run of the server left, and begin to deliver.

        Raises:
            StoreFailedError: The outbox cannot be read.
        """
        await self.announcer.start()
        for project_id, webhook_id in await self._outbox.pending_webhooks():
            self._wake(project_id, webhook_id)
        self._upkeep = asyncio.get_running_loop().create_task(self._prune(), name="webhook upkeep")

    async def close(self, grace: float = 10.0) -> None:
        """Try what is due once more, for `grace` seconds; the rest is delivered after the next start."""
        try:
            async with asyncio.timeout(grace):
                await self.announcer.close()
                self._closing.set()
                while tasks := [task for _, task in self._workers.values()]:
                    await asyncio.wait(tasks)
        except TimeoutError:
            log.info("webhook deliveries go on after the next start: they did not finish within %s seconds", grace)
        self._closing.set()
        tasks = [task for _, task in self._workers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._upkeep is not None:
            await asyncio.gather(self._upkeep, return_exceptions=True)

    # --- the delivery log ----------------------------------------------------------------------------

    async def page(
        self, project_id: str, webhook_id: str, *, outcomes: Sequence[Outcome] = (), limit: int, offset: int
    ) -> tuple[Sequence[Delivery], int | None]:
        """Deliveries of a webhook, newest first, and the offset of the next page, None at the end."""
        found = await self._outbox.page(project_id, webhook_id, outcomes=outcomes, limit=limit + 1, offset=offset)
        return found[:limit], offset + limit if len(found) > limit else None

    async def get(self, project_id: str, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery.

        Raises:
            NotFoundError: There is no such delivery of this webhook.
        """
        return await self._outbox.get(project_id, webhook_id, delivery_id)

    async def resend(self, project_id: str, webhook_id: str, delivery_id: str) -> Delivery:
        """Deliver an event again, also one that was delivered. What is pending is tried at once instead.

        Returns:
            The delivery as it is now.

        Raises:
            NotFoundError: There is no such delivery of this webhook.
            ConflictError: It is an entry about the webhook itself.
        """
        found = await self.get(project_id, webhook_id, delivery_id)
        if found.outcome in ("disabled", "enabled"):
            raise ConflictError("this entry is about the webhook itself: there is nothing to send")
        await self._resend(project_id, webhook_id, [delivery_id])
        return await self.get(project_id, webhook_id, delivery_id)

    async def resend_undelivered(self, project_id: str, webhook_id: str, *, limit: int = 1000) -> int:
        """Deliver again what failed or was given up, oldest first, `limit` events at most; returns how many."""
        outcomes: tuple[Outcome, ...] = ("failed", "dropped", "abandoned")
        found = await self._outbox.page(project_id, webhook_id, outcomes=outcomes, limit=limit, offset=0)
        await self._resend(project_id, webhook_id, [delivery.id for delivery in reversed(found)])
        return len(found)

    async def enabled(self, project_id: str, webhook_id: str) -> None:
        """Note that somebody has enabled a webhook."""
        await self._outbox.add([state_entry(project_id, webhook_id, self._clock(), reason=None)])
        await self.announcer.webhooks_changed(project_id)

    async def disabled(self, project_id: str, webhook_id: str, reason: str) -> None:
        """Note that somebody has disabled a webhook, and give up what is pending for it."""
        at = self._clock()
        await self._outbox.abandon(webhook_id, f"the webhook was disabled: {reason}", at)
        await self._outbox.add([state_entry(project_id, webhook_id, at, reason=reason)])

    async def forget(self, webhook_id: str) -> None:
        """Remove what is kept of a webhook that was deleted."""
        await self._outbox.forget(webhook_id)

    async def _resend(self, project_id: str, webhook_id: str, ids: Sequence[str]) -> None:
        at = self._clock()
        await self._outbox.resend(ids, at, at + self._limits.max_age)
        self._wake(project_id, webhook_id)

    # --- workers and upkeep --------------------------------------------------------------------------

    def _wake(self, project_id: str, webhook_id: str) -> None:
        key = (project_id, webhook_id)
        running = self._workers.get(key)
        if running is not None:
            running[0].wake()
            return
        worker = WebhookWorker(self._parts, project_id, webhook_id, self._closing)
        task = asyncio.get_running_loop().create_task(worker.run(), name=f"webhook {webhook_id}")
        self._workers[key] = (worker, task)
        task.add_done_callback(lambda _: self._worker_ended(key, worker))

    def _worker_ended(self, key: tuple[str, str], worker: WebhookWorker) -> None:
        del self._workers[key]
        if worker.is_woken and not self._closing.is_set():  # after its last look into the outbox
            self._wake(*key)

    def _note_dropped(self, deliveries: Iterable[Delivery]) -> None:
        webhooks = set()
        for delivery in deliveries:
            self._notes.ended(delivery, "dropped", "too many events were waiting")
            webhooks.add(delivery.webhook_id)
        for webhook_id in webhooks:
            log.error("the webhook %s cannot keep up: dropped its oldest events", webhook_id)

    async def _prune(self) -> None:
        while not self._closing.is_set():
            at = self._age_clock()
            try:
                for delivery in await self._outbox.prune(at, at - self._limits.keep):
                    self._notes.ended(delivery, "failed", "given up: too old")
            except RoomException as error:
                log.warning("could not remove old deliveries of webhooks: %s", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._limits.prune_interval)
