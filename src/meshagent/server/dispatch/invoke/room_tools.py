"""Tools of the room itself: operations whose input may have to be converted, and streams."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import InvalidRequestError
from meshagent.server.dispatch.contents import ContentHeader
from meshagent.server.dispatch.invoke.stream import Stream, StreamInput
from meshagent.server.dispatch.invoke.stream_tasks import Spawn, StreamHandler, TaskInput

OperationInput = tuple[bytes, bytes]
"""An operation's request as JSON text, and its payload."""


@dataclass(frozen=True, slots=True)
class OperationTool:
    """A tool that is an operation.

    Attributes:
        operation: The operation.
        convert: Turns the tool's JSON into the operation's input; None where they are the same.
        takes_binary: Whether the input may be a binary content: headers are the request, data is the payload.
    """

    operation: Operation[Any, Any]
    convert: Callable[[bytes], OperationInput] | None = None
    takes_binary: bool = False

    def input(self, content: ContentHeader, payload: bytes) -> OperationInput:
        """The operation's input, from the content that the caller sent.

        Raises:
            InvalidRequestError: The tool does not take such a content.
        """
        if content.type == "binary" and self.takes_binary:
            return bytes(content.headers), payload
        if content.type not in ("json", "empty"):
            raise InvalidRequestError(f"{self.operation.name} takes JSON, not a content of type {content.type!r}")
        arguments = bytes(content.json)
        if self.convert is not None:
            return self.convert(arguments)
        return arguments, b"" if self.takes_binary else payload

    def schema(self) -> dict[str, Any] | None:
        """JSON schema of its JSON input."""
        return _schema_of(self.operation.request)


@dataclass(frozen=True, slots=True)
class StreamTool:
    """A tool whose input is a stream.

    Attributes:
        begin: Starts what serves the stream.
        section: The section of the token's scope that it needs; finer checks are made by what serves the stream.
    """

    begin: Callable[[Stream], StreamInput]
    section: str


RoomTool = OperationTool | StreamTool

RoomToolkit = Mapping[str, RoomTool]
"""The tools of one part of the room, by name."""


def task_tool(handler: StreamHandler, section: str, spawn: Spawn) -> StreamTool:
    """A tool whose streams are served by a task each.

    Args:
        handler: Serves the streams.
        section: As in `StreamTool`.
        spawn: Runs a task of the room.
    """
    return StreamTool(partial(TaskInput, handler=handler, spawn=spawn), section)


def attachment_of(encoded: str | None) -> bytes:
    """The bytes of a base64 attachment; none for null.

    Raises:
        InvalidRequestError: It is not base64.
    """
    if not encoded:
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii.Error, or a text that is not ASCII
        raise InvalidRequestError("attachment_base64 is not base64") from None


def _schema_of(kind: type[Any]) -> dict[str, Any]:
    """The JSON schema of a request, with its definitions."""
    try:
        (schema,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    except TypeError:  # a field that carries any JSON text has no schema
        return {"type": "object", "additionalProperties": True}
    root = dict(definitions.pop(kind.__name__, schema))
    return {**root, "$defs": definitions} if definitions else root


def text_of(value: object) -> bytes:
    """A request as JSON text."""
    return jsontext.dumps(value)
