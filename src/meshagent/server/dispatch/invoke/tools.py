"""How an area of the room offers its operations as tools: by name, with what differs from the flat dialect."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import InvalidRequestError
from meshagent.server.dispatch.invoke.messages import Content, InvokeTool
from meshagent.server.dispatch.invoke.output import CallerOutput
from meshagent.server.dispatch.invoke.streams import OpenCall, StreamWork, WorkingCall
from meshagent.server.kernel.dispatcher import Caller

Spawn = Callable[..., Any]

Adapted = tuple[bytes, bytes]
"""Arguments as JSON text and payload, in the operation's own form."""


class StreamTool(Protocol):
    """A tool whose input is a stream."""

    @property
    def section(self) -> str | None:
        """The section of the token's scope that it needs; finer checks are its own."""
        ...

    def open(self, caller: Caller, output: CallerOutput, spawn: Spawn) -> OpenCall:
        """Begin a call."""
        ...


class AreaTool(Protocol):
    """One tool of an area."""

    def unary(self, content: Content, payload: bytes) -> tuple[str, bytes, bytes]:
        """The operation's name, its arguments as JSON text, and its payload.

        Raises:
            InvalidRequestError: The tool does not take such a content.
        """
        ...

    def stream(self, content: Content, request: InvokeTool) -> StreamTool:
        """What serves a call whose input is a stream.

        Raises:
            InvalidRequestError: The tool takes none.
        """
        ...

    @property
    def takes_stream(self) -> bool:
        """Whether its input is a stream."""
        ...

    def schema(self) -> dict[str, Any] | None:
        """JSON schema of its JSON input."""
        ...


@dataclass(frozen=True, slots=True)
class UnaryTool:
    """A tool that is an operation, with its input as JSON.

    Attributes:
        operation: Which.
        adapt: Turns the tool's JSON into the operation's request and payload; None where they are the same.
    """

    operation: Operation[Any, Any]
    adapt: Callable[[bytes], Adapted] | None = None

    def unary(self, content: Content, payload: bytes) -> tuple[str, bytes, bytes]:
        if content.type not in ("json", "empty"):
            raise InvalidRequestError(f"{self.operation.name} takes JSON, not a content of type {content.type!r}")
        arguments = bytes(content.json)
        if self.adapt is not None:
            arguments, payload = self.adapt(arguments)
        return self.operation.name, arguments, payload

    def stream(self, content: Content, request: InvokeTool) -> StreamTool:
        raise InvalidRequestError(f"{request.toolkit}.{request.tool} takes no stream")

    @property
    def takes_stream(self) -> bool:
        return False

    def schema(self) -> dict[str, Any] | None:
        return _schema_of(self.operation.request)


@dataclass(frozen=True, slots=True)
class WorkTool:
    """A tool whose input is a stream, served by a task.

    Attributes:
        work: Serves one call.
        section: The section of the scope that it needs.
    """

    work: StreamWork
    section: str | None

    def unary(self, content: Content, payload: bytes) -> tuple[str, bytes, bytes]:
        raise InvalidRequestError("this tool takes a stream: invoke it with control open")

    def stream(self, content: Content, request: InvokeTool) -> StreamTool:
        return self

    def open(self, caller: Caller, output: CallerOutput, spawn: Spawn) -> OpenCall:
        return WorkingCall(caller.participant, self.work, output, spawn)

    @property
    def takes_stream(self) -> bool:
        return True

    def schema(self) -> dict[str, Any] | None:
        return None


@dataclass(frozen=True, slots=True)
class DirectTool:
    """A tool whose stream is served in the connection's reader, where order and speed matter most."""

    begin: Callable[[Caller, CallerOutput, Spawn], OpenCall]
    section: str | None

    def unary(self, content: Content, payload: bytes) -> tuple[str, bytes, bytes]:
        raise InvalidRequestError("this tool takes a stream: invoke it with control open")

    def stream(self, content: Content, request: InvokeTool) -> StreamTool:
        return self

    def open(self, caller: Caller, output: CallerOutput, spawn: Spawn) -> OpenCall:
        return self.begin(caller, output, spawn)

    @property
    def takes_stream(self) -> bool:
        return True

    def schema(self) -> dict[str, Any] | None:
        return None


def attachment_of(encoded: str | None) -> bytes:
    """The bytes of a base64 attachment; none for null.

    Raises:
        InvalidRequestError: It is not base64.
    """
    if not encoded:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise InvalidRequestError("attachment_base64 is not base64") from None


def _schema_of(kind: type[Any]) -> dict[str, Any]:
    """The JSON schema of a request, in one piece."""
    try:
        (schema,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    except TypeError:  # a field that carries any JSON text has no schema
        return {"type": "object", "additionalProperties": True}
    root = dict(definitions.pop(kind.__name__, schema))
    return {**root, "$defs": definitions} if definitions else root


def text_of(value: object) -> bytes:
    """A request as JSON text."""
    return jsontext.dumps(value)
