"""Puts events into the durable outbox, before what they tell can be acknowledged (protocol 15.4).

An event is stored as *held* before the change that it tells of begins, and released when the change is made. A server
that is killed in between releases what it held at its next start: an event may then tell of a change that was not
made, but no change is made without its event. The end of a run is stored as a row of its own when the run begins.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from meshagent.api.errors import RoomException
from meshagent.server.stores.outbox import Delivery, DeliveryOutbox, RoomRun, now
from meshagent.server.webhooks.bodies import is_subscribed
from meshagent.server.webhooks.ports import Subscription, WebhookSource
from meshagent.server.webhooks.room_events import ROOM_ENDED, ROOM_STARTED, EventData, ExpectedEvents

log = logging.getLogger(__name__)

_SOURCE_SECONDS: Final = 5.0
"""How long a change waits for the list of webhooks if the accounts database is slow."""
_RETRY_SECONDS: Final = 1.0


@dataclass(slots=True)
class _Run:
    """A run of a room; `is_recorded` once its end cannot be lost."""

    run: RoomRun
    is_recorded: bool = False


@dataclass(frozen=True, slots=True)
class _Ending:
    """A run whose end is to be stored."""

    run: _Run
    data: EventData
    at: datetime


class WebhookAnnouncer:
    """Takes the events of rooms for the webhooks that subscribe to them; a project without webhooks costs nothing.

    Args:
        source: The webhooks of projects.
        outbox: Stores the events.
        wake: Called when something can be delivered: project id, webhook id.
        dropped: Called with deliveries that a full outbox has dropped.
        max_age: How long a delivery is tried.
        clock: The time.
    """

    def __init__(
        self,
        source: WebhookSource,
        outbox: DeliveryOutbox,
        *,
        wake: Callable[[str, str], None],
        dropped: Callable[[Iterable[Delivery]], None],
        max_age: timedelta,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._source = source
        self._outbox = outbox
        self._wake = wake
        self._dropped = dropped
        self._max_age = max_age
        self._clock = clock
        self._runs: dict[str, _Run] = {}
        self._endings: deque[_Ending] = deque()
        self._has_endings = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Release what a killed server held, and tell the ends of its runs; then begin to work."""
        for run in await self._outbox.recover(self._clock()):
            self._end(_Run(run, is_recorded=True))
        self._task = asyncio.get_running_loop().create_task(self._store_endings(), name="webhook events")

    async def close(self) -> None:
        """Store the ends of runs that are not stored yet; what fails now is told at the next start."""
        self._closing = True
        self._has_endings.set()
        if self._task is None:
            return
        try:
            await asyncio.wait([self._task])
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- what rooms tell -----------------------------------------------------------------------------

    async def is_expected(self, project_id: str, event: str) -> bool:
        """Whether a webhook of the project subscribes to an event."""
        return bool(await self._subscribed(project_id, event))

    async def expect(self, run: RoomRun, event: str, data: Sequence[EventData]) -> ExpectedEvents:
        """Store events that are about to happen, all of one kind.

        Args:
            run: The room's run.
            event: The kind, such as `storage.file.updated`.
            data: The data of each event.

        Raises:
            StoreFailedError: The disk failed; what the events tell should not be done either.
        """
        subscribed = await self._subscribed(run.project_id, event)
        if not subscribed:
            return NOTHING
        deliveries = [[self._delivery(run, webhook, event, one) for webhook in subscribed] for one in data]
        await self._hold(run, [delivery for group in deliveries for delivery in group])
        return _HeldEvents(self._outbox, deliveries, self._wake, self._clock)

    async def run_starting(self, run: RoomRun, started: EventData) -> ExpectedEvents:
        """A run is about to begin: its end will be told whatever happens, unless `run_came_to_nothing`.

        Returns:
            The event of its start. Errors as `expect`.
        """
        self._runs[run.session_id] = _Run(run)
        try:
            await self.webhooks_changed(run.project_id)
            return await self.expect(run, ROOM_STARTED, [started])
        except BaseException:
            self.run_came_to_nothing(run)
            raise

    def run_ended(self, run: RoomRun) -> None:
        """A run is over."""
        found = self._runs.pop(run.session_id, None)
        if found is not None:
            self._end(found)

    def run_came_to_nothing(self, run: RoomRun) -> None:
        """A run is over before anybody came."""
        found = self._runs.pop(run.session_id, None)
        if found is not None and found.is_recorded:
            self._outbox.cancel([], run.session_id)

    async def webhooks_changed(self, project_id: str) -> None:
        """Make sure that the ends of the project's runs are told, if it has webhooks."""
        unrecorded = [run for run in self._runs.values() if run.run.project_id == project_id and not run.is_recorded]
        if unrecorded and await self._subscribed(project_id, None):
            await self._outbox.add([], [run.run for run in unrecorded])
            for run in unrecorded:
                run.is_recorded = True

    # --- storing -------------------------------------------------------------------------------------

    async def _hold(self, run: RoomRun, deliveries: Sequence[Delivery]) -> None:
        live = self._runs.get(run.session_id)
        unrecorded = [live] if live is not None and not live.is_recorded else []
        try:
            dropped = await self._outbox.add(deliveries, [each.run for each in unrecorded])
        except asyncio.CancelledError:
            self._outbox.cancel([delivery.id for delivery in deliveries])
            raise
        for each in unrecorded:
            each.is_recorded = True
        self._dropped(dropped)

    def _end(self, run: _Run) -> None:
        data = {"room_name": run.run.room_name, "session_id": run.run.session_id}
        self._endings.append(_Ending(run, data, self._clock()))
        self._has_endings.set()

    async def _store_endings(self) -> None:
        while True:
            while self._endings:
                if await self._store_ending(self._endings[0]):
                    self._endings.popleft()
                elif self._closing:
                    return
                else:
                    await asyncio.sleep(_RETRY_SECONDS)
            if self._closing:
                return
            self._has_endings.clear()
            await self._has_endings.wait()

    async def _store_ending(self, ending: _Ending) -> bool:
        """Store the end of a run; False if that must be tried again."""
        run = ending.run.run
        try:
            async with asyncio.timeout(_SOURCE_SECONDS):
                webhooks = await self._source.of_project(run.project_id)
            subscribed = [webhook for webhook in webhooks if is_subscribed(webhook, ROOM_ENDED)]
            if not subscribed and not ending.run.is_recorded:
                return True
            deliveries = [
                self._delivery(run, webhook, ROOM_ENDED, ending.data, ending.at, held=False) for webhook in subscribed
            ]
            self._dropped(await self._outbox.end_run(run.session_id, deliveries, ending.at))
        except Exception:
            log.exception("could not store the event %s of room %s", ROOM_ENDED, run.room_name)
            return False
        for delivery in deliveries:
            self._wake(delivery.project_id, delivery.webhook_id)
        return True

    def _delivery(
        self,
        run: RoomRun,
        webhook: Subscription,
        event: str,
        data: EventData,
        at: datetime | None = None,
        *,
        held: bool = True,
    ) -> Delivery:
        moment = at or self._clock()
        return Delivery(
            project_id=run.project_id,
            webhook_id=webhook.id,
            room_name=run.room_name,
            event=event,
            data=json.dumps(data),
            created_at=moment,
            outcome="held" if held else "waiting",
            due_at=moment,
            expires_at=moment + self._max_age,
            updated_at=moment,
        )

    async def _subscribed(self, project_id: str, event: str | None) -> list[Subscription]:
        """The webhooks that subscribe to an event; those that subscribe to anything for None."""
        try:
            async with asyncio.timeout(_SOURCE_SECONDS):
                webhooks = await self._source.of_project(project_id)
        except (RoomException, OSError):  # a change must not fail because the accounts database does
            log.exception("could not read the webhooks for the event %s", event)
            return []
        if event is None:
            return [webhook for webhook in webhooks if webhook.disabled_at is None]
        return [webhook for webhook in webhooks if is_subscribed(webhook, event)]


class _Nothing:
    """No webhook subscribes to the events."""

    def happened(self, index: int = 0) -> None:
        pass

    def close(self) -> None:
        pass


NOTHING: Final = _Nothing()


class _HeldEvents:
    """Events that are stored and held."""

    def __init__(
        self,
        outbox: DeliveryOutbox,
        deliveries: Sequence[Sequence[Delivery]],
        wake: Callable[[str, str], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._outbox = outbox
        self._held = dict(enumerate(deliveries))
        self._wake = wake
        self._clock = clock

    def happened(self, index: int = 0) -> None:
        deliveries = self._held.pop(index, ())
        if not deliveries:
            return
        self._outbox.release([delivery.id for delivery in deliveries], self._clock())
        for delivery in deliveries:
            self._wake(delivery.project_id, delivery.webhook_id)

    def close(self) -> None:
        if self._held:
            self._outbox.cancel([delivery.id for group in self._held.values() for delivery in group])
            self._held.clear()
