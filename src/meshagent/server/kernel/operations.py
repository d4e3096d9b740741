"""How a service says which operations it serves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Operation
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.participant import Participant

Req = TypeVar("Req", bound=msgspec.Struct)
Res = TypeVar("Res", bound="msgspec.Struct | Body")

Grant = Callable[[ApiScope, Any], None]
"""Raises PermissionDeniedError unless the scope allows the request."""

Handler = Callable[[Participant, Any, bytes], Any]


@dataclass(frozen=True, slots=True)
class Served:
    """One operation, who serves it, and which grant it needs.

    The handler is called in the connection's reader, in order of arrival. What must stay in order it does
    before it returns; what takes time it returns as an awaitable, which becomes a task of the connection.
    """

    operation: Operation[Any, Any]
    handler: Handler
    grant: Grant | None


@dataclass(frozen=True, slots=True)
class AnswerThen:
    """An answer, and what must follow it on the same connection with nothing in between."""

    result: object
    after: Callable[[], None]


class PackedContent(NamedTuple):
    """A content that is packed already, as a host of a tool sent it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StreamedFile:
    """A file content whose bytes are read while they are sent; `size` bytes in all."""

    name: str
    mime_type: str
    size: int
    chunks: AsyncIterator[bytes]


def serve(
    operation: Operation[Req, Res],
    handler: Callable[[Participant, Req], Any],
    *,
    grant: Callable[[ApiScope, Req], None] | None,
) -> Served:
    """Serve an operation that has no payload.

    Args:
        operation: Which.
        handler: A service's method; it may return the result, an awaitable of it, or a `AnswerThen`.
        grant: What the token must allow; None where every participant may.
    """
    return Served(operation, lambda caller, request, _payload: handler(caller, request), grant)


def serve_payload(
    operation: Operation[Req, Res],
    handler: Callable[[Participant, Req, bytes], Any],
    *,
    grant: Callable[[ApiScope, Req], None] | None,
) -> Served:
    """Serve an operation whose request carries bytes."""
    return Served(operation, handler, grant)
