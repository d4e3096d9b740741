"""The outcomes of deliveries in the logs of rooms: whoever watches a room sees there what became of its events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.stores.outbox import Attempt, Delivery, Outcome


class DeliveryNotes(Protocol):
    """Port: told of the outcome of each attempt."""

    def attempted(self, delivery: Delivery, attempt: Attempt, url: str) -> None:
        """Note an attempt to deliver to `url`. Must neither wait nor raise."""
        ...

    def ended(self, delivery: Delivery, outcome: Outcome, error: str) -> None:
        """Note that a delivery has ended without an attempt. Must neither wait nor raise."""
        ...


class RoomDeliveryNotes:
    """Writes outcomes into the log of the room concerned, as `webhook.{outcome}`.

    Args:
        record: Writes into the log of a room, if it runs; takes the type and the data of the entry.
    """

    def __init__(self, record: Callable[[RoomKey, str, Mapping[str, Any]], None]) -> None:
        self._record = record

    def attempted(self, delivery: Delivery, attempt: Attempt, url: str) -> None:
        entry = {
            "url": _address(url),
            "attempts": attempt.attempts,
            "status": attempt.status,
            "error": attempt.error,
        }
        self._write(delivery, attempt.outcome, entry)

    def ended(self, delivery: Delivery, outcome: Outcome, error: str) -> None:
        self._write(delivery, outcome, {"attempts": delivery.attempts, "status": delivery.status, "error": error})

    def _write(self, delivery: Delivery, outcome: Outcome, details: Mapping[str, Any]) -> None:
        if delivery.room_name:
            entry = {"event": delivery.event, "event_id": delivery.id, "webhook_id": delivery.webhook_id, **details}
            self._record(RoomKey(delivery.project_id, delivery.room_name), f"webhook.{outcome}", entry)


def without_secrets(text: str, url: str) -> str:
    """A text in which a URL may be, without what may be secret in the URL."""
    return text.replace(url, _address(url))


def _address(url: str) -> str:
    """A URL without user, password and query, which may be secret."""
    try:
        parts = urlsplit(url)
    except ValueError:  # stored before such URLs were refused
        return "(not a URL)"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
