"""Errors of the room API, the same tree on both sides of the wire.

    RoomException
    ├── InvalidRequestError     the request itself is wrong: missing field, bad path, malformed update
    ├── PermissionDeniedError   the caller's token does not allow it
    ├── NotFoundError           no such file, document, queue, toolkit, participant, …
    ├── AlreadyExistsError      the name is already in use
    ├── ConflictError           somebody else changed it first
    ├── LimitExceededError      a documented limit was reached
    ├── InvalidStateError       the object is in the wrong state: a closed handle, a finished call
    ├── UnavailableError        not supported by this server, or not configured, or down
    ├── RequestTimeoutError     it took longer than allowed
    ├── ConnectionLostError     the connection ended before the answer came
    └── InternalError           a fault in the server; its log has the traceback

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
    """A request to a room failed; `str(error)` says why.

    Attributes:
        code: Stable name of the kind of error.
        wire_code: Its number on the wire.
        retryable: Whether the same request may succeed later.
    """

    code: ClassVar[str] = "failed"
    retryable: ClassVar[bool] = False
    wire_code: int = 1008

    def __init__(self, message: str = "the request failed", *, wire_code: int | None = None) -> None:
        super().__init__(message)
        if wire_code is not None:
            self.wire_code = wire_code


class InvalidRequestError(RoomException):
    """The request is invalid; sending it again cannot help."""

    code = "invalid_request"
    wire_code = 1002


class PermissionDeniedError(RoomException):
    """The caller's token does not allow the request."""

    code = "permission_denied"
    wire_code = 1001


class NotFoundError(RoomException):
    """What the request names does not exist."""

    code = "not_found"
    wire_code = 1003


class AlreadyExistsError(RoomException):
    """The name is already in use, and the request does not replace what has it."""

    code = "already_exists"
    wire_code = 1004


class ConflictError(RoomException):
    """The target has changed meanwhile, or its content does not allow the request."""

    code = "conflict"
    retryable = True
    wire_code = 1005


class InvalidStateError(RoomException):
    """The object is in the wrong state for the request, such as a closed file handle."""

    code = "invalid_state"
    wire_code = 1006


class UnavailableError(RoomException):
    """The server does not support this, or it is not configured, or it does not work at the moment."""

    code = "unavailable"
    retryable = True
    wire_code = 1007


class LimitExceededError(RoomException):
    """A documented limit was reached; `limit` is its value, in the unit of its setting."""

    code = "limit_exceeded"
    retryable = True
    wire_code = 1008

    def __init__(self, message: str, *, limit: int) -> None:
        super().__init__(message)
        self.limit = limit


class RequestTimeoutError(RoomException):
    """There was no answer in time. The request may or may not have taken effect."""

    code = "timeout"
    retryable = True
    wire_code = 1009


class ConnectionLostError(RoomException):
    """The connection ended before the answer came. The request may or may not have taken effect."""

    code = "connection_lost"
    retryable = True


class InternalError(RoomException):
    """An unexpected error in the server; its log has the traceback."""

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
# Numbers of single areas that stand for a general kind of error (protocol 16.2).
_BY_WIRE_CODE |= dict.fromkeys((2001, 3001, 5001, 6001, 7001), NotFoundError)
_BY_WIRE_CODE |= dict.fromkeys((2002, 3005, 5002, 7003), AlreadyExistsError)
_BY_WIRE_CODE |= {
    3003: InvalidStateError,
    3004: InvalidRequestError,
    4001: InvalidStateError,
    4002: InvalidStateError,
}


def error_for_wire_code(text: str, wire_code: int | None) -> RoomException:
    """The exception for an `error` content: the class of its number, `RoomException` without a number."""
    if wire_code is None:
        return RoomException(text)
    return _BY_WIRE_CODE.get(wire_code, RoomException)(text, wire_code=wire_code)
