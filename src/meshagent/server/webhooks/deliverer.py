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
from meshagent.server.webhooks.bodies import event_body, is_call, payload_of, wants
from meshagent.server.webhooks.deliveries import Delivery, DeliveryLog, Outcome
from meshagent.server.webhooks.ports import Poster, Subscription, WebhookSource
from meshagent.server.webhooks.retry import RetryPolicy, may_pass
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
class _Job:
    """One event for one webhook, and how far it has come."""

    event: _Event
    subscription: Subscription
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    attempts: int = 0
    status: int | None = None
    error: str | None = None


@dataclass(slots=True)
class _Lane:
    """What waits for one webhook. Its task lives while there is something to deliver."""

    waiting: deque[_Job] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None
    overflowed: bool = False


class WebhookDeliverer:
    """Tells webhooks what happens in rooms. Use `start` and `close`, or wire both into an exit stack.

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
        retry: How patiently attempts are repeated.
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
        self._lanes: dict[tuple[str, str], _Lane] = {}
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
            log.warning("the event %s is lost: the server is stopping", event)
            return
        if len(self._events) >= self._max_events:
            lost = self._events.popleft()
            log.error("the event %s of room %s is lost: %s others wait", lost.name, lost.room_name, self._max_events)
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
                while lanes := self._lane_tasks():
                    await asyncio.wait(lanes)
        except TimeoutError:
            log.warning("webhook deliveries did not end within %s seconds", grace)
        await self._cut()

    # --- from events to webhooks ---------------------------------------------------------------------

    async def _fan_out(self) -> None:
        while True:
            while self._events:
                event = self._events.popleft()
                try:
                    for subscription in await self._source.of_project(event.project_id):
                        if wants(subscription, event.name):
                            self._enqueue(_Job(event, subscription))
                except Exception:
                    log.exception("the webhooks for the event %s could not be read", event.name)
            if self._closing.is_set():
                return
            self._arrived.clear()
            await self._arrived.wait()

    def _enqueue(self, job: _Job) -> None:
        key = (job.event.project_id, job.subscription.id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
        if len(lane.waiting) >= self._max_waiting:
            dropped = lane.waiting.popleft()
            dropped.error = f"{self._max_waiting} events were waiting"
            self._note(dropped, "dropped")
            if not lane.overflowed:  # once, until the webhook has caught up
                log.error("the webhook %s cannot keep up and loses events", job.subscription.url)
            lane.overflowed = True
        lane.waiting.append(job)
        self._note(job, "waiting")
        if lane.task is None:
            name = f"webhook {job.subscription.url}"
            lane.task = asyncio.get_running_loop().create_task(self._work(key, lane), name=name)

    async def _work(self, key: tuple[str, str], lane: _Lane) -> None:
        try:
            while lane.waiting:
                await self._deliver(lane.waiting.popleft())
        finally:
            lane.task = None
            if not lane.waiting:
                del self._lanes[key]

    # --- one delivery --------------------------------------------------------------------------------

    async def _deliver(self, job: _Job) -> None:
        try:
            for delay in (*self._retry.delays(), None):
                error = await self._attempt(job)
                if error is None:
                    self._note(job, "delivered")
                    return
                if delay is None or not may_pass(error):
                    break
                self._note(job, "retrying")
                if await self._closes_within(delay):
                    self._note(job, "abandoned")
                    return
            self._note(job, "failed")
            log.warning("the event %s was not delivered: %s", job.event.name, job.error)
        except asyncio.CancelledError:
            self._note(job, "abandoned")
            raise
        except Exception as error:
            log.exception("the event %s cannot be delivered to %s", job.event.name, job.subscription.url)
            job.error = f"{type(error).__name__}: {error}"
            self._note(job, "failed")

    async def _attempt(self, job: _Job) -> RoomException | None:
        """Post once. What is wrong, or None."""
        job.attempts += 1
        job.status = job.error = None
        try:
            await self._post(job)
        except RoomException as error:
            job.error = str(error)
            job.status = error.status if isinstance(error, HttpStatusError) else None
            return error
        return None

    async def _post(self, job: _Job) -> None:
        subscription, event = job.subscription, job.event
        if is_call(subscription):
            body = {"event": CALL_EVENT, "data": await self._caller.event_data(self._invitation(job))}
        else:
            body = event_body(subscription, event.name, event.data)
        secret = subscription.secret or self._default_secret
        signed = signed_body(body, secret=secret, headers=event_headers(job.id, event.at))
        await self._http.post(subscription.url, signed.body, signed.headers)

    def _invitation(self, job: _Job) -> Invitation:
        project_id, room_name = job.event.project_id, job.event.room_name
        return Invitation(
            project_id=project_id,
            room_name=room_name,
            room_url=self._room_url(project_id, room_name),
            name=job.subscription.name,
            arguments=payload_of(job.subscription),
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

    def _note(self, job: _Job, outcome: Outcome) -> None:
        self._deliveries.save(
            Delivery(
                id=job.id,
                project_id=job.event.project_id,
                webhook_id=job.subscription.id,
                url=job.subscription.url,
                event=job.event.name,
                room_name=job.event.room_name,
                outcome=outcome,
                attempts=job.attempts,
                status=job.status,
                error=job.error,
                created_at=job.event.at,
                updated_at=datetime.now(UTC),
            )
        )

    def _lane_tasks(self) -> list[asyncio.Task[None]]:
        return [lane.task for lane in self._lanes.values() if lane.task is not None]

    async def _cut(self) -> None:
        assert self._fan_out_task is not None
        tasks = [self._fan_out_task, *self._lane_tasks()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for lane in self._lanes.values():
            for job in lane.waiting:
                self._note(job, "abandoned")
        self._lanes.clear()
