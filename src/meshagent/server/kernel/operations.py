"""How a service declares the operations it serves, and what it may answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.content import Body, unpack_body_parts
from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import InvalidRequestError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.participant import Participant

Req = TypeVar("Req", bound=msgspec.Struct)
Res = TypeVar("Res", bound="msgspec.Struct | Body")

Grant = Callable[[ApiScope, Any], None]
"""Raises PermissionDeniedError unless the scope allows the request."""

Handler = Callable[[Participant, Any, bytes], Any]


@dataclass(frozen=True, slots=True)
class ServedOperation:
    """One operation with its handler, and the grant that it needs.

    The handler is called in the connection's reader, in order of arrival. What must stay in order it does
    before it returns; what takes time it returns as an awaitable, which becomes a task of the connection.
    """

    operation: Operation[Any, Any]
    handler: Handler
    grant: Grant | None


@dataclass(frozen=True, slots=True)
class AnswerWithFollowUp:
    """An answer, and a callback that runs right after it was sent: nothing comes in between on that connection."""

    result: object
    follow_up: Callable[[], None]


class EncodedContent(msgspec.Struct, frozen=True, gc=False):
    """A content that is relayed as it is: nobody between its sender and its receiver decodes it.

    Attributes:
        header: JSON text of its header.
        payload: Its bytes, for the types that have some.
    """

    header: bytes
    payload: bytes = b""

    @property
    def type(self) -> str:
        """The content's type; empty for what is no content, such as a progress event in a stream."""
        try:
            return jsontext.decode(self.header, _Typed).type
        except InvalidRequestError:
            return ""

    def decoded(self) -> Body:
        """The content.

        Raises:
            InvalidRequestError: Its header is not JSON, names an unknown type, or lacks a field.
        """
        header = jsontext.loads(self.header)
        if not isinstance(header, dict):
            raise InvalidRequestError("the header of a content must be a JSON object")
        return unpack_body_parts(header, self.payload)


class _Typed(msgspec.Struct, frozen=True):
    type: str = ""


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
) -> ServedOperation:
    """Serve an operation that has no payload.

    Args:
        operation: The operation.
        handler: A service's method; it may return the result, an awaitable of it, or an `AnswerWithFollowUp`.
        grant: What the token must allow; None if every participant may call it.
    """
    return ServedOperation(operation, lambda caller, request, _payload: handler(caller, request), grant)


def serve_payload(
    operation: Operation[Req, Res],
    handler: Callable[[Participant, Req, bytes], Any],
    *,
    grant: Callable[[ApiScope, Req], None] | None,
) -> ServedOperation:
    """Serve an operation whose request carries bytes; as `serve` otherwise."""
    return ServedOperation(operation, handler, grant)
