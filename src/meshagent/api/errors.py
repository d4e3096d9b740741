"""Errors of the room API, the same tree on both sides of the wire.

    RoomException
    ├── InvalidRequestError     the request itself is wrong: missing field, bad path, malformed update
    ├── PermissionDeniedError   the caller's token does not allow it
    ├── NotFoundError           no such file, document, queue, toolkit, participant …
    ├── AlreadyExistsError      the name is taken
    ├── ConflictError           somebody else changed it first
    ├── LimitExceededError      a documented limit was reached
    ├── InvalidStateError       right request, wrong moment: a closed handle, a finished call
    ├── UnavailableError        a part this server lacks, or that is not configured
    ├── RequestTimeoutError     it took longer than allowed
    ├── ConnectionLostError     the connection ended before the answer came
    └── InternalError           the server's own fault; the operator's log says more

Callers branch on the class or on `code`; the text is for people. On the wire an error is a body of type
`error` with that text; clients of the current generation also read the integer `wire_code`
(protocol 16.1).
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AlreadyExistsError",
    "ConflictError",
    "ConnectionLostError",
    "InternalError",
    "InvalidRequestError",
    "InvalidStateError",
    "LimitExceededError",
    "NotFoundError",
    "PermissionDeniedError",
    "RequestTimeoutError",
    "RoomException",
    "UnavailableError",
    "error_for_wire_code",
]


class RoomException(Exception):
    """A request to a room failed; `str(error)` says why in words that stand on their own.

    Attributes:
        code: Stable name of the kind of failure.
        wire_code: Its number on the wire.
        retryable: Whether the same request may succeed later without change.
    """

    code: ClassVar[str] = "failed"
    retryable: ClassVar[bool] = False
    wire_code: int = 1008

    def __init__(self, message: str = "the request failed", *, wire_code: int | None = None) -> None:
        super().__init__(message)
        if wire_code is not None:
            self.wire_code = wire_code


class InvalidRequestError(RoomException):
    """The request is wrong in itself; sending it again cannot help."""

    code = "invalid_request"
    wire_code = 1002


class PermissionDeniedError(RoomException):
    """The caller's token does not allow this."""

    code = "permission_denied"
    wire_code = 1001


class NotFoundError(RoomException):
    """What the request names does not exist."""

    code = "not_found"
    wire_code = 1003


class AlreadyExistsError(RoomException):
    """Something of that name exists and was not to be replaced."""

    code = "already_exists"
    wire_code = 1004


class ConflictError(RoomException):
    """The target changed, or holds something that stands in the way."""

    code = "conflict"
    retryable = True
    wire_code = 1005


class InvalidStateError(RoomException):
    """The object cannot do this now, as a closed handle cannot take bytes."""

    code = "invalid_state"
    wire_code = 1006


class UnavailableError(RoomException):
    """This server lacks the part, or it is not configured, or it cannot work right now."""

    code = "unavailable"
    retryable = True
    wire_code = 1007


class LimitExceededError(RoomException):
    """A documented limit was reached; `limit` is its value, in the unit that its setting names."""

    code = "limit_exceeded"
    retryable = True
    wire_code = 1008

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class RequestTimeoutError(RoomException):
    """The answer did not come in time; whether the request took effect is unknown."""

    code = "timeout"
    retryable = True
    wire_code = 1009


class ConnectionLostError(RoomException):
    """The connection ended before the answer came; whether the request took effect is unknown."""

    code = "connection_lost"
    retryable = True


class InternalError(RoomException):
    """The server failed in a way it did not foresee; its log has the traceback."""

    code = "internal"


_BY_WIRE_CODE: dict[int, type[RoomException]] = {
    cls.wire_code: cls
    for cls in (
        InvalidRequestError,
        PermissionDeniedError,
        NotFoundError,
        AlreadyExistsError,
        ConflictError,
        InvalidStateError,
        UnavailableError,
        RequestTimeoutError,
    )
}
# Numbers of single areas that mean one of the general kinds (protocol 16.2).
_BY_WIRE_CODE |= dict.fromkeys((2001, 3001, 5001, 6001, 7001), NotFoundError)
_BY_WIRE_CODE |= dict.fromkeys((2002, 3005, 5002, 7003), AlreadyExistsError)
_BY_WIRE_CODE |= {
    3003: InvalidStateError,
    3004: InvalidRequestError,
    4001: InvalidStateError,
    4002: InvalidStateError,
}


def error_for_wire_code(text: str, wire_code: int | None) -> RoomException:
    """The exception that an `error` body stands for: the class by number, plain `RoomException` without one."""
    if wire_code is None:
        return RoomException(text)
    return _BY_WIRE_CODE.get(wire_code, RoomException)(text, wire_code=wire_code)
