"""Names and headers of the messages of the invoke dialect (protocol 14.1)."""

from __future__ import annotations

from typing import Any, Final

import msgspec

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
    """A call of one of the room's own tools, or of a hosted one. `arguments` is a content's header."""

    toolkit: str
    tool: str
    arguments: msgspec.Raw = msgspec.Raw(b'{"type":"empty"}')
    tool_call_id: str | None = None
    participant_id: str | None = None
    on_behalf_of_id: str | None = None
    caller_context: msgspec.Raw = msgspec.Raw(b"null")


class RequestChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a call's input, from a caller and on to a host; `chunk` is a content's header."""

    tool_call_id: str
    chunk: msgspec.Raw


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


class ListToolkits(msgspec.Struct, frozen=True, kw_only=True):
    participant_id: str | None = None
    participant_name: str | None = None
    timeout: float | None = None


class CallService(msgspec.Struct, frozen=True, kw_only=True):
    """Invite an external service; `api` limits what it may do in the room."""

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
