"""Failures of calls: how they travel between processes, and what the end of a process means for the caller."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from meshagent.api.errors import InternalError, LimitExceededError, RoomException, UnavailableError
from meshagent.server.stores.errors import StoreFailedError

__all__ = ["EngineEndedError", "OutcomeUnknownError", "SentError", "received_error", "sent_error"]


class EngineEndedError(UnavailableError):
    """The engine's process ended, or cannot be started. Nothing was changed."""

    code = "engine_ended"


class OutcomeUnknownError(StoreFailedError):
    """The engine's process ended while it wrote: all of the write is stored, or nothing of it."""


class SentError(msgspec.Struct, frozen=True, array_like=True):
    """A failure on its way to another process."""

    kind: str
    text: str
    wire_code: int
    limit: int = 0


def _kinds(kind: type[RoomException]) -> Iterator[type[RoomException]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


_BY_NAME = {kind.__name__: kind for kind in _kinds(RoomException) if kind.__module__.startswith("meshagent.")}


def sent_error(error: BaseException) -> SentError:
    """A failure as the other process gets it; what is no error of the room API becomes an `InternalError`."""
    if not isinstance(error, RoomException):
        return SentError(
            "InternalError", "the table engine failed; the server's log says more", InternalError.wire_code
        )
    limit = error.limit if isinstance(error, LimitExceededError) else 0
    return SentError(type(error).__name__, str(error), error.wire_code, limit)


def received_error(sent: SentError) -> RoomException:
    """The failure that another process sent."""
    kind = _BY_NAME.get(sent.kind, InternalError)
    if issubclass(kind, LimitExceededError):
        return kind(sent.text, limit=sent.limit)
    return kind(sent.text, wire_code=sent.wire_code)
