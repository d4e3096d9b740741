"""The core messages of the invoke dialect (spec room-protocol-current 2.3, 2.4)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from meshagent.api import jsontext
from meshagent.server.services.agents.pending_calls import Chunk

INVOKE_TOOL: Final = "room.invoke_tool"
REQUEST_CHUNK: Final = "room.tool_call_request_chunk"
LIST_TOOLKITS: Final = "room.list_toolkits"
REGISTER_TOOLKIT: Final = "room.register_toolkit"
UNREGISTER_TOOLKIT: Final = "room.unregister_toolkit"
CALL: Final = "room.call"
TOOL_CALL_RESPONSE: Final = "room.tool_call_response"
RESPONSE_CHUNK: Final = "room.tool_call_response_chunk"
TOOL_CALL_PREFIX: Final = "room.tool_call."
INPUT_CHUNK_PREFIX: Final = "room.tool_call_request_chunk."


class InvokeTool(msgspec.Struct, frozen=True, kw_only=True):
    """A call: of an area of the room, or of a participant's toolkit. `arguments` is a content's header."""

    toolkit: str
    tool: str
    arguments: msgspec.Raw = msgspec.Raw(b'{"type":"empty"}')
    tool_call_id: str | None = None
    participant_id: str | None = None
    on_behalf_of_id: str | None = None
    caller_context: dict[str, Any] | None = None


class RequestChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a call's input, or of a host's output; `chunk` is a content's header."""

    tool_call_id: str
    chunk: msgspec.Raw


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """A content's header as far as the server itself reads contents."""

    type: str = ""
    json: msgspec.Raw = msgspec.Raw(b"{}")
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    method: str | None = None
    status_code: int | None = None
    message: str | None = None


class ToolDescription(msgspec.Struct, frozen=True, kw_only=True):
    """A tool as its host registers it; older hosts send `input_schema`."""

    title: str | None = None
    description: str | None = None
    input_spec: dict[str, Any] | None = None
    output_spec: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None
    defs: dict[str, Any] | None = None
    strict: bool | None = None
    thumbnail_url: str | None = None
    pricing: str | None = None


class RegisterToolkit(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str | None = None
    description: str | None = None
    public: bool = False
    thumbnail_url: str | None = None
    annotations: dict[str, Any] = msgspec.field(default_factory=dict)
    tools: dict[str, ToolDescription] = msgspec.field(default_factory=dict)


class Unregister(msgspec.Struct, frozen=True, kw_only=True):
    id: str


class ListToolkits(msgspec.Struct, frozen=True, kw_only=True):
    participant_id: str | None = None
    participant_name: str | None = None
    timeout: float | None = None


class CallService(msgspec.Struct, frozen=True, kw_only=True):
    """Invite a service; `api` limits what it may do in the room."""

    name: str
    url: str
    arguments: Any = msgspec.field(default_factory=dict)
    api: dict[str, Any] | None = None


class ForwardedCall(msgspec.Struct, frozen=True, kw_only=True):
    """`room.tool_call.TOOLKIT` as a host receives it."""

    name: str
    arguments: msgspec.Raw
    caller_id: str
    tool_call_id: str
    on_behalf_of_id: str | None = None


def json_chunk(value: object) -> Chunk:
    """A stream's item that is a JSON content."""
    return Chunk(jsontext.dumps({"type": "json", "json": value}))


def binary_chunk(headers: dict[str, Any], data: bytes = b"") -> Chunk:
    """A stream's item that is a binary content."""
    return Chunk(jsontext.dumps({"type": "binary", "headers": headers}), data)


def error_chunk(text: str, code: int) -> Chunk:
    return Chunk(jsontext.dumps({"type": "error", "text": text, "code": code}))


def close_chunk(status_code: int = 1000, message: str | None = None) -> Chunk:
    header: dict[str, Any] = {"type": "control", "method": "close", "status_code": status_code}
    if message is not None:
        header["message"] = message
    return Chunk(jsontext.dumps(header))
