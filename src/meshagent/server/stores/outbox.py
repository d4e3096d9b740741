"""The durable outbox of webhooks: what is to be delivered, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, Protocol
from uuid import uuid4

__all__ = ["FINISHED", "LONGEST_WAIT", "Attempt", "Delivery", "DeliveryOutbox", "Outcome", "RoomRun", "now"]

Outcome = Literal["held", "waiting", "retrying", "delivered", "failed", "dropped", "abandoned", "disabled", "enabled"]
"""`held` until what it tells has happened; `waiting` for its first attempt; `retrying` after a failed one; `delivered`;
`failed` for good; `dropped` from a full outbox; `abandoned` because its webhook was disabled. `disabled` and `enabled`
are entries about the webhook itself."""

FINISHED: Final = ("delivered", "failed", "dropped", "abandoned", "disabled", "enabled")


LONGEST_WAIT: Final = timedelta(hours=2)
"""What is due later than that is due now: the clock was set back since the time was chosen."""


def now() -> datetime:
    """The time, in UTC and whole milliseconds, as it is stored."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook. The body is made for each attempt, because it may hold a fresh token.

    Attributes:
        id: The event id that the receiver gets, the same in each attempt.
        room_name: The room concerned, empty if none is.
        event: The event's name.
        data: The event's data, as JSON text.
        created_at: When the event happened; aware, like all times here.
        attempts: How many were made, since the last `resend`.
        resends: How often somebody asked to send it again.
        status: HTTP status of the last answer; None if there was none.
        error: What was wrong with the last attempt; None if nothing was.
        due_at: When the next attempt is due.
        expires_at: When it fails for good.
        updated_at: When this was the state.
    """

    id: str = field(default_factory=lambda: str(uuid4()))
    project_id: str
    webhook_id: str
    room_name: str
    event: str
    data: str
    created_at: datetime
    outcome: Outcome = "held"
    attempts: int = 0
    resends: int = 0
    status: int | None = None
    error: str | None = None
    due_at: datetime
    expires_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What became of an attempt to deliver.

    Attributes:
        due_at: When the next one is due, if it is retried.
    """

    id: str
    outcome: Outcome
    attempts: int
    status: int | None
    error: str | None
    due_at: datetime
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRun:
    """A run of a room whose end is still to be told."""

    session_id: str
    project_id: str
    room_name: str


class DeliveryOutbox(Protocol):
    """Port: keeps deliveries until they are made, and for some time after that.

    Writes are applied in the order of the calls, and are durable when the call returns or its future is done. Futures
    may be ignored: their errors are reported. Reads see every write that was called before.

    Raises:
        StoreFailedError: From every method: the disk failed.
    """

    async def recover(self, at: datetime) -> Sequence[RoomRun]:
        """Let go what a killed server held, and return the runs that it could not end. Call once, before all else."""
        ...

    async def add(self, deliveries: Sequence[Delivery], runs: Sequence[RoomRun] = ()) -> Sequence[Delivery]:
        """Store deliveries, and runs that have begun.

        Returns:
            Those that were dropped because their webhook has too many.
        """
        ...

    def release(self, ids: Sequence[str], at: datetime) -> asyncio.Future[None]:
        """What held deliveries tell has happened now: they follow those that were released before."""
        ...

    def cancel(self, ids: Sequence[str], session_id: str | None = None) -> asyncio.Future[None]:
        """What held deliveries tell has not happened, or the run came to nothing."""
        ...

    async def end_run(self, session_id: str, deliveries: Sequence[Delivery], at: datetime) -> Sequence[Delivery]:
        """Store and release what tells the end of a run, and forget the run; returns as `add`."""
        ...

    def record(self, attempt: Attempt) -> asyncio.Future[None]:
        """Note an attempt. One that succeeded counts even if the delivery was given up while it was posted."""
        ...

    def abandon(self, webhook_id: str, error: str, at: datetime) -> asyncio.Future[None]:
        """Give up all that is pending for a webhook."""
        ...

    def forget(self, webhook_id: str) -> asyncio.Future[None]:
        """Remove all deliveries of a webhook that is gone."""
        ...

    async def resend(self, ids: Sequence[str], at: datetime, expires_at: datetime) -> None:
        """Deliver again, after all that is pending; what is pending itself is due at once."""
        ...

    async def due(self, webhook_id: str, at: datetime, limit: int) -> Sequence[Delivery]:
        """Deliveries that are due, in order. One that is retried later holds up those of its room that follow it."""
        ...

    async def next_due(self, webhook_id: str) -> datetime | None:
        """When the next delivery of a webhook is due; None if nothing is pending."""
        ...

    async def pending_webhooks(self) -> Sequence[tuple[str, str]]:
        """Project and id of every webhook for which something is pending."""
        ...

    async def page(
        self, project_id: str, webhook_id: str, *, outcomes: Sequence[Outcome] = (), limit: int, offset: int
    ) -> Sequence[Delivery]:
        """Deliveries of a webhook, newest first; all but held ones by default."""
        ...

    async def get(self, project_id: str, webhook_id: str, delivery_id: str) -> Delivery:
        """One delivery.

        Raises:
            NotFoundError: There is no such delivery of this webhook.
        """
        ...

    async def prune(self, at: datetime, finished_before: datetime) -> Sequence[Delivery]:
        """Remove finished deliveries that are old or too many, and fail the expired ones, which are returned."""
        ...
