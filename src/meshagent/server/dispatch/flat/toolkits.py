"""Hosts of the flat dialect: how a tool call reaches them (spec room-protocol 5.5.5)."""

from __future__ import annotations

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.operation import Event
from meshagent.api.errors import InvalidRequestError, UnavailableError
from meshagent.api.wire import names
from meshagent.server.kernel.context import RoomContext
from meshagent.server.services.agents.pending_calls import Chunk, ToolCall


class _JsonContent(msgspec.Struct, frozen=True):
    type: str
    json: msgspec.Raw = msgspec.Raw(b"{}")


class FlatHostLink:
    """Forwards calls as `agent.tool_call.TOOLKIT`."""

    def __init__(self, room: RoomContext) -> None:
        self._room = room

    def forward(self, call: ToolCall) -> int:
        if call.streams_input:
            raise UnavailableError(f"the host of {call.what} cannot take a stream")
        forwarded = api.ForwardedToolCall(
            name=call.tool,
            arguments=msgspec.Raw(_arguments_for_flat_host(call)),
            caller_id=call.caller.id,
            on_behalf_of_id=call.on_behalf_of_id,
            caller_context=call.caller_context,
        )
        event = Event(names.TOOL_CALL_PREFIX + call.toolkit.name, api.ForwardedToolCall)
        return self._room.publish(event, forwarded, call.payload, to=(call.toolkit.host,))

    def forward_input(self, call: ToolCall, chunk: Chunk) -> None:
        """Never called: `forward` refuses calls with streams."""


def _arguments_for_flat_host(call: ToolCall) -> bytes:
    """Bare JSON for a tool with a schema, a content's header for a request tool, whichever way the caller spoke."""
    if not call.is_content or call.toolkit.tools[call.tool].input_schema is None:
        return call.arguments
    content = jsontext.decode(call.arguments, _JsonContent)
    if content.type not in ("json", "empty"):
        raise InvalidRequestError(f"{call.what} takes JSON arguments, not a content of type {content.type!r}")
    return bytes(content.json)
