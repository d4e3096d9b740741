"""The events of webhooks (protocol 15.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshagent.api.errors import InvalidRequestError

__all__ = ["CallEvent", "RoomEndedEvent", "RoomStartedEvent", "WebhookEvent", "read_event"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomStartedEvent:
    """A room has started. `room_url` is its WebSocket URL, empty if the sender did not give it."""

    room_name: str
    room_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEndedEvent:
    """A room has ended; it may start again."""

    room_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEvent:
    """A room asks this program to join.

    Attributes:
        room_name: The name of the room.
        room_url: Its WebSocket URL.
        token: The participant token to join with.
        arguments: Any JSON, by convention an object. The command line sends what its user typed as a string.
    """

    room_name: str
    room_url: str
    token: str = field(repr=False)
    arguments: Any = None


WebhookEvent = RoomStartedEvent | RoomEndedEvent | CallEvent


def read_event(event: str, data: Mapping[str, Any]) -> WebhookEvent | None:
    """The typed form of an event; None if the name is not known.

    Raises:
        InvalidRequestError: A member of `data` is missing; the text names it.
    """
    read = _READERS.get(event)
    return None if read is None else read(data)


def _started(data: Mapping[str, Any]) -> RoomStartedEvent:
    # Servers of the current generation do not send the URL.
    url = data.get("room_url")
    return RoomStartedEvent(room_name=_text(data, "room_name"), room_url=url if isinstance(url, str) else "")


def _ended(data: Mapping[str, Any]) -> RoomEndedEvent:
    return RoomEndedEvent(room_name=_text(data, "room_name"))


def _call(data: Mapping[str, Any]) -> CallEvent:
    return CallEvent(
        room_name=_text(data, "room_name"),
        room_url=_text(data, "room_url"),
        token=_text(data, "token"),
        arguments=data.get("arguments"),
    )


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], WebhookEvent]]] = {
    "room.started": _started,
    "room.ended": _ended,
    "room.call": _call,
}


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise InvalidRequestError(f"the data of the event must have a string {key!r}")
    return value
