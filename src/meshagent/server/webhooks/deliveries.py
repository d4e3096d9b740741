"""The delivery log: operators look here when an event did not arrive."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from meshagent.server.kernel.room_key import RoomKey

Outcome = Literal["waiting", "retrying", "delivered", "failed", "dropped", "abandoned"]
"""`waiting` for its first attempt; `retrying` after a failed one; `delivered`; `failed` for good; `dropped` from a full
queue; `abandoned` because the server stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event on its way to one webhook. Bodies are not kept: they hold tokens.

    Attributes:
        id: The event id that the receiver gets, the same in each attempt.
        event: The event's name.
        room_name: The room concerned, empty if none is.
        attempts: How many were made.
        status: HTTP status of the last answer; None if there was none.
        error: What was wrong with the last attempt; None if nothing was.
        updated_at: When this was the state; aware.
    """

    id: str
    project_id: str
    webhook_id: str
    url: str
    event: str
    room_name: str
    outcome: Outcome
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    updated_at: datetime


class DeliveryLog(Protocol):
    """Port: where deliveries are noted."""

    def save(self, delivery: Delivery) -> None:
        """Note the state of a delivery, over what was noted under its id before. Must neither wait nor raise."""
        ...


class RoomLoggedDeliveries:
    """Passes deliveries on to another log, and writes each outcome into the log of its room, as `webhook.{outcome}`.

    Args:
        log: Keeps all of them.
        record: Writes into the log of a room, if it runs; takes the type and the data of the entry.
    """

    def __init__(self, log: DeliveryLog, record: Callable[[RoomKey, str, Mapping[str, Any]], None]) -> None:
        self._log = log
        self._record = record

    def save(self, delivery: Delivery) -> None:
        self._log.save(delivery)
        if delivery.outcome == "waiting" or not delivery.room_name:
            return
        entry = {
            "event": delivery.event,
            "event_id": delivery.id,
            "webhook_id": delivery.webhook_id,
            "url": _address(delivery.url),
            "attempts": delivery.attempts,
            "status": delivery.status,
            "error": delivery.error,
        }
        self._record(RoomKey(delivery.project_id, delivery.room_name), f"webhook.{delivery.outcome}", entry)


def _address(url: str) -> str:
    """A URL without user, password and query, which may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class MemoryDeliveryLog:
    """The latest deliveries, in memory; the oldest are dropped."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._deliveries: OrderedDict[str, Delivery] = OrderedDict()

    def save(self, delivery: Delivery) -> None:
        self._deliveries[delivery.id] = delivery
        if len(self._deliveries) > self._limit:
            self._deliveries.popitem(last=False)

    def of_project(self, project_id: str, webhook_id: str | None = None) -> list[Delivery]:
        """Deliveries of a project, or of one of its webhooks; newest first."""
        return [
            delivery
            for delivery in reversed(self._deliveries.values())
            if delivery.project_id == project_id and webhook_id in (None, delivery.webhook_id)
        ]
