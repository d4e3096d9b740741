"""Toolkits as today's clients register and list them, and hosts that speak their dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from meshagent.api.contracts.agents import RegisteredTool, RegisterToolkitRequest
from meshagent.api.contracts.operation import Event
from meshagent.server.dispatch.invoke.messages import (
    INPUT_CHUNK_PREFIX,
    TOOL_CALL_PREFIX,
    ForwardedCall,
    RegisterToolkit,
    RequestChunk,
    ToolDescription,
)
from meshagent.server.dispatch.invoke.tools import AreaTool
from meshagent.server.kernel.context import RoomContext
from meshagent.server.services.agents.pending_calls import Chunk, ToolCall
from meshagent.server.services.agents.registry import HostedToolkit, describe_toolkit


class InvokeHostLink:
    """Forwards calls as `room.tool_call.TOOLKIT`, and their input as chunks."""

    def __init__(self, room: RoomContext) -> None:
        self._room = room

    def forward(self, call: ToolCall) -> int:
        arguments = call.arguments if call.is_content else b'{"type":"json","json":' + call.arguments + b"}"
        forwarded = ForwardedCall(
            name=call.tool,
            arguments=msgspec.Raw(arguments),
            caller_id=call.caller.id,
            tool_call_id=call.call_id,
            on_behalf_of_id=call.on_behalf_of_id,
        )
        event = Event(TOOL_CALL_PREFIX + call.toolkit.name, ForwardedCall)
        return self._room.publish(event, forwarded, call.payload, to=(call.toolkit.host,))

    def forward_input(self, call: ToolCall, chunk: Chunk) -> None:
        forwarded = RequestChunk(tool_call_id=call.call_id, chunk=msgspec.Raw(chunk.header))
        event = Event(INPUT_CHUNK_PREFIX + call.toolkit.name, RequestChunk)
        self._room.publish(event, forwarded, chunk.payload, to=(call.toolkit.host,))


def registration(request: RegisterToolkit) -> RegisterToolkitRequest:
    """What was registered, in the form that the registry keeps."""
    tools = {name: _registered(tool) for name, tool in request.tools.items()}
    return RegisterToolkitRequest(
        name=request.name,
        title=request.title,
        description=request.description,
        thumbnail_url=request.thumbnail_url,
        public=request.public,
        tools=tools,
    )


def _registered(tool: ToolDescription) -> RegisteredTool:
    schema = tool.input_schema
    spec = tool.input_spec
    if schema is None and spec is not None and "json" in (spec.get("types") or ()) and not spec.get("stream"):
        schema = spec.get("schema")
    return RegisteredTool(
        title=tool.title,
        description=tool.description,
        input_schema=schema,
        defs=tool.defs,
        thumbnail_url=tool.thumbnail_url,
        pricing=tool.pricing,
        input_spec=spec,
        output_spec=tool.output_spec,
        strict=tool.strict,
    )


def describe_hosted(toolkit: HostedToolkit) -> dict[str, Any]:
    """A hosted toolkit as a listing shows it."""
    described = describe_toolkit(toolkit)
    return {
        "title": described["title"],
        "description": described["description"],
        "annotations": dict(toolkit.annotations),
        "participant_id": described["participant_id"],
        "tools": {name: _describe_tool(name, tool) for name, tool in toolkit.tools.items()},
    }


def _describe_tool(name: str, tool: RegisteredTool) -> dict[str, Any]:
    spec = tool.input_spec
    if spec is None and tool.input_schema is not None:
        spec = {"types": ["json"], "stream": False, "schema": tool.input_schema}
    return {
        "title": tool.title or name,
        "description": tool.description or "",
        "input_spec": spec,
        "output_spec": tool.output_spec,
        "defs": tool.defs,
        "strict": bool(tool.strict),
    }


def describe_area(name: str, area: Mapping[str, AreaTool]) -> dict[str, Any]:
    """A part of the room as a listing shows it."""
    return {
        "title": name,
        "description": f"the room's {name}",
        "annotations": {},
        "participant_id": None,
        "tools": {tool_name: _describe_area_tool(tool_name, tool) for tool_name, tool in area.items()},
    }


def _describe_area_tool(name: str, tool: AreaTool) -> dict[str, Any]:
    # Only `json` is named even for streams: clients of 0.39 refuse a listing with types that they do not know.
    spec: dict[str, Any] = {"types": ["json"], "stream": tool.takes_stream}
    schema = tool.schema()
    if schema is not None:
        spec["schema"] = schema
    return {"title": name, "description": "", "input_spec": spec, "output_spec": None, "defs": None, "strict": False}
