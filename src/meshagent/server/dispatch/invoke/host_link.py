"""Hosts of the invoke dialect: how tool calls reach them (protocol 14.4)."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from meshagent.api.contracts.operation import Event
from meshagent.server.dispatch.contents import CONTROL_CLOSE
from meshagent.server.dispatch.invoke.messages import INPUT_CHUNK_PREFIX, TOOL_CALL_PREFIX, ForwardedCall, RequestChunk
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.services.agents.hosting import JsonArguments, ToolCall, ToolInput


class InvokeHostLink:
    """Forwards calls as `room.tool_call.TOOLKIT`, and their input as chunks (a `HostLink`)."""

    def __init__(self, room: RoomContext) -> None:
        self._room = room

    def forward(self, call: ToolCall) -> int:
        forwarded = ForwardedCall(
            name=call.tool,
            arguments=msgspec.Raw(_content_header(call.input)),
            caller_id=call.caller.id,
            tool_call_id=call.call_id,
            on_behalf_of_id=call.on_behalf_of_id,
        )
        return self._room.publish(_call_event(call.toolkit.name), forwarded, call.input.payload, to=(call.host,))

    def forward_item(self, call: ToolCall, item: EncodedContent) -> None:
        forwarded = RequestChunk(tool_call_id=call.call_id, chunk=msgspec.Raw(item.header))
        self._room.publish(_item_event(call.toolkit.name), forwarded, item.payload, to=(call.host,))

    def close_input(self, call: ToolCall, content: EncodedContent | None = None) -> None:
        self.forward_item(call, CONTROL_CLOSE if content is None else content)


@lru_cache(maxsize=1024)
def _call_event(toolkit: str) -> Event[ForwardedCall]:
    return Event(TOOL_CALL_PREFIX + toolkit, ForwardedCall)


@lru_cache(maxsize=1024)
def _item_event(toolkit: str) -> Event[RequestChunk]:
    return Event(INPUT_CHUNK_PREFIX + toolkit, RequestChunk)


def _content_header(tool_input: ToolInput) -> bytes:
    if isinstance(tool_input, JsonArguments):
        return b'{"type":"json","json":' + tool_input.json + b"}"
    return tool_input.header
