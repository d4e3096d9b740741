"""Delivers events to webhooks, in the background (protocol 15.2, 15.3).

    publish ─► events ─► fan-out task ─► one queue per webhook ─► one task per webhook that has something to do

Nothing here waits on behalf of a room: `publish` puts an event into a bounded queue and returns.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from meshagent.api.errors import RoomException
from meshagent.api.webhook.signature import signed_body
from meshagent.server.outgoing.client import HttpStatusError
from meshagent.server.webhooks.bodies import event_body, is_call, is_subscribed, payload_of
from meshagent.server.webhooks.deliveries import Delivery, DeliveryLog, Outcome
from meshagent.server.webhooks.ports import Poster, Subscription, WebhookSource
from meshagent.server.webhooks.retry import RetryPolicy, is_temporary
from meshagent.server.webhooks.room_calls import CALL_EVENT, Invitation, RoomCallSender, event_headers

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Event:
    project_id: str
    name: str
    data: Mapping[str, Any]
    at: datetime

    @property
    def room_name(self) -> str:
        return str(self.data.get("room_name", ""))


@dataclass(slots=True)
class _QueuedDelivery:
    """One event for one webhook, and the state of its delivery."""

    event: _Event
    subscription: Subscription
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    attempts: int = 0
    status: int | None = None
    error: str | None = None


@dataclass(slots=True)
class _WebhookQueue:
    """The queued deliveries of one webhook. Its task runs while there are any."""

    waiting: deque[_QueuedDelivery] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None
    overflowed: bool = False


class WebhookDeliverer:
    """Delivers room events to webhooks. Call `start` and `close`.

    A webhook gets its events in the order in which they happened. A failed attempt is repeated a few times, with
    growing waits, and holds up the webhook's later events meanwhile; answers that say that the event is not wanted
    (4xx) are not repeated. A queue that is full loses its oldest event, with an error in the server's log and an
    entry in the delivery log. What waits when the server is killed is lost.

    Args:
        source: The webhooks of projects.
        http: Posts.
        caller: Makes the calls of webhooks whose action is `call`.
        room_url: The WebSocket URL of a room: project id, room name.
        default_secret: Signs for webhooks without a secret of their own; None leaves those unsigned.
        deliveries: Notes what becomes of each.
        retry: The retry policy.
        max_waiting: Events that may wait for one webhook.
        max_events: Events that may wait to be matched with webhooks.
    """

    def __init__(
        self,
        source: WebhookSource,
        http: Poster,
        caller: RoomCallSender,
        *,
        room_url: Callable[[str, str], str],
        default_secret: str | None,
        deliveries: DeliveryLog,
        retry: RetryPolicy | None = None,
        max_waiting: int = 1000,
        max_events: int = 10_000,
    ) -> None:
        self._source = source
        self._http = http
        self._caller = caller
        self._room_url = room_url
        self._default_secret = default_secret
        self._deliveries = deliveries
        self._retry = retry or RetryPolicy()
        self._max_waiting = max_waiting
        self._max_events = max_events
        self._events: deque[_Event] = deque()
        self._arrived = asyncio.Event()
        self._closing = asyncio.Event()
        self._queues: dict[tuple[str, str], _WebhookQueue] = {}
        self._fan_out_task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._fan_out_task = asyncio.get_running_loop().create_task(self._fan_out(), name="webhook events")

    def publish(self, project_id: str, event: str, data: Mapping[str, Any]) -> None:
        """Tell the project's webhooks of an event; returns at once, and never fails.

        Args:
            project_id: Whose webhooks.
            event: Its name, such as `room.started`.
            data: What it tells; `room_name` names the room concerned. Do not change it afterwards.
        """
        if self._closing.is_set():
            log.warning("dropped the event %s: the server is shutting down", event)
            return
        if len(self._events) >= self._max_events:
            lost = self._events.popleft()
            log.error(
                "dropped the event %s of room %s: %s events are already queued",
                lost.name,
                lost.room_name,
                self._max_events,
            )
        self._events.append(_Event(project_id, event, data, datetime.now(UTC)))
        self._arrived.set()

    async def close(self, grace: float = 10.0) -> None:
        """Deliver what waits, each event with one attempt at most, for `grace` seconds; abandon the rest."""
        self._closing.set()
        self._arrived.set()
        if self._fan_out_task is None:
            return
        try:
            async with asyncio.timeout(grace):
                await asyncio.wait([self._fan_out_task])
                while tasks := self._queue_tasks():
                    await asyncio.wait(tasks)
        except TimeoutError:
            log.warning("webhook deliveries did not finish within %s seconds", grace)
        await self._abandon_all()

    # --- from events to webhooks ---------------------------------------------------------------------

    async def _fan_out(self) -> None:
        while True:
            while self._events:
                event = self._events.popleft()
                try:
                    for subscription in await self._source.of_project(event.project_id):
                        if is_subscribed(subscription, event.name):
                            self._enqueue(_QueuedDelivery(event, subscription))
                except Exception:
                    log.exception("could not read the webhooks for the event %s", event.name)
            if self._closing.is_set():
                return
            self._arrived.clear()
            await self._arrived.wait()

    def _enqueue(self, delivery: _QueuedDelivery) -> None:
        key = (delivery.event.project_id, delivery.subscription.id)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _WebhookQueue()
        if len(queue.waiting) >= self._max_waiting:
            dropped = queue.waiting.popleft()
            dropped.error = f"dropped: {self._max_waiting} events were already queued"
            self._log_delivery(dropped, "dropped")
            if not queue.overflowed:  # once, until the webhook has caught up
                log.error("the webhook %s cannot keep up: dropping its oldest events", delivery.subscription.url)
            queue.overflowed = True
        queue.waiting.append(delivery)
        self._log_delivery(delivery, "waiting")
        if queue.task is None:
            name = f"webhook {delivery.subscription.url}"
            queue.task = asyncio.get_running_loop().create_task(self._run_queue(key, queue), name=name)

    async def _run_queue(self, key: tuple[str, str], queue: _WebhookQueue) -> None:
        try:
            while queue.waiting:
                await self._deliver(queue.waiting.popleft())
        finally:
            queue.task = None
            if not queue.waiting:
                del self._queues[key]

    # --- one delivery --------------------------------------------------------------------------------

    async def _deliver(self, delivery: _QueuedDelivery) -> None:
        try:
            for delay in (*self._retry.delays(), None):
                error = await self._attempt(delivery)
                if error is None:
                    self._log_delivery(delivery, "delivered")
                    return
                if delay is None or not is_temporary(error):
                    break
                self._log_delivery(delivery, "retrying")
                if await self._closes_within(delay):
                    self._log_delivery(delivery, "abandoned")
                    return
            self._log_delivery(delivery, "failed")
            log.warning("could not deliver the event %s: %s", delivery.event.name, delivery.error)
        except asyncio.CancelledError:
            self._log_delivery(delivery, "abandoned")
            raise
        except Exception as error:
            log.exception("could not deliver the event %s to %s", delivery.event.name, delivery.subscription.url)
            delivery.error = f"{type(error).__name__}: {error}"
            self._log_delivery(delivery, "failed")

    async def _attempt(self, delivery: _QueuedDelivery) -> RoomException | None:
        """Post once; return the error, or None."""
        delivery.attempts += 1
        delivery.status = delivery.error = None
        try:
            await self._post(delivery)
        except RoomException as error:
            delivery.error = str(error)
            delivery.status = error.status if isinstance(error, HttpStatusError) else None
            return error
        return None

    async def _post(self, delivery: _QueuedDelivery) -> None:
        subscription, event = delivery.subscription, delivery.event
        if is_call(subscription):
            body = {"event": CALL_EVENT, "data": await self._caller.event_data(self._invitation(delivery))}
        else:
            body = event_body(subscription, event.name, event.data)
        secret = subscription.secret or self._default_secret
        signed = signed_body(body, secret=secret, headers=event_headers(delivery.id, event.at))
        await self._http.post(subscription.url, signed.body, signed.headers)

    def _invitation(self, delivery: _QueuedDelivery) -> Invitation:
        project_id, room_name = delivery.event.project_id, delivery.event.room_name
        return Invitation(
            project_id=project_id,
            room_name=room_name,
            room_url=self._room_url(project_id, room_name),
            name=delivery.subscription.name,
            arguments=payload_of(delivery.subscription),
        )

    async def _closes_within(self, delay: float) -> bool:
        """Wait for the next attempt; True if there will be none because the server stops."""
        try:
            async with asyncio.timeout(delay):
                await self._closing.wait()
        except TimeoutError:
            return False
        return True

    # --- the log, and the end ------------------------------------------------------------------------

    def _log_delivery(self, delivery: _QueuedDelivery, outcome: Outcome) -> None:
        self._deliveries.save(
            Delivery(
                id=delivery.id,
                project_id=delivery.event.project_id,
                webhook_id=delivery.subscription.id,
                url=delivery.subscription.url,
                event=delivery.event.name,
                room_name=delivery.event.room_name,
                outcome=outcome,
                attempts=delivery.attempts,
                status=delivery.status,
                error=delivery.error,
                created_at=delivery.event.at,
                updated_at=datetime.now(UTC),
            )
        )

    def _queue_tasks(self) -> list[asyncio.Task[None]]:
        return [queue.task for queue in self._queues.values() if queue.task is not None]

    async def _abandon_all(self) -> None:
        assert self._fan_out_task is not None
        tasks = [self._fan_out_task, *self._queue_tasks()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for queue in self._queues.values():
            for delivery in queue.waiting:
                self._log_delivery(delivery, "abandoned")
        self._queues.clear()
