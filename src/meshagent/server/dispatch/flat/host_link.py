"""Hosts of the flat dialect: how tool calls reach them, and what they answer (protocol 9.6)."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.operation import Event
from meshagent.api.errors import InvalidRequestError, UnavailableError
from meshagent.api.wire import envelope, names
from meshagent.api.wire.packets import Message
from meshagent.server.dispatch.contents import ContentHeader
from meshagent.server.dispatch.host_answers import HostAnswers
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.dispatcher import OneWayHandler
from meshagent.server.kernel.json_cost import check_values
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.hosting import JsonArguments, ToolCall
from meshagent.server.services.agents.service import AgentsService


class FlatHostLink:
    """Forwards tool calls as `agent.tool_call.TOOLKIT` (a `HostLink`)."""

    def __init__(self, room: RoomContext) -> None:
        self._room = room

    def forward(self, call: ToolCall) -> int:
        if call.streams_input:
            raise UnavailableError(f"the host of {call.full_name} cannot take a stream")
        forwarded = api.ForwardedToolCall(
            name=call.tool,
            arguments=msgspec.Raw(_flat_arguments(call)),
            caller_id=call.caller.id,
            on_behalf_of_id=call.on_behalf_of_id,
            caller_context=call.caller_context,
        )
        return self._room.publish(_call_event(call.toolkit.name), forwarded, call.input.payload, to=(call.host,))

    def forward_item(self, call: ToolCall, item: EncodedContent) -> None:
        """Never called: `forward` refuses calls that stream."""

    def close_input(self, call: ToolCall, content: EncodedContent | None = None) -> None:
        """Never called, as `forward_item`."""


class FlatHostAnswers:
    """Takes what hosts of the flat dialect answer.

    Args:
        tools: Takes the answers to tool calls.
        agents: Takes the answers to asks.
    """

    def __init__(self, tools: HostAnswers, agents: AgentsService) -> None:
        self._tools = tools
        self._agents = agents

    def one_way_handlers(self) -> dict[str, OneWayHandler]:
        return {names.TOOL_CALL_RESPONSE: self._tools.answer, names.AGENT_ASK_RESPONSE: self.ask_response}

    def ask_response(self, host: Participant, message: Message) -> None:
        """An agent's answer to an ask; errors as in `AgentsService.ask_answered`."""
        check_values(envelope.split(message.data)[0])
        answer, _ = envelope.unpack_as(message.data, api.AskAnswer)
        self._agents.ask_answered(host, answer)


@lru_cache(maxsize=1024)
def _call_event(toolkit: str) -> Event[api.ForwardedToolCall]:
    return Event(names.TOOL_CALL_PREFIX + toolkit, api.ForwardedToolCall)


def _flat_arguments(call: ToolCall) -> bytes:
    """Bare JSON for a tool with a schema, a content's header for a request tool, whichever way the caller spoke."""
    if isinstance(call.input, JsonArguments):
        return call.input.json
    header = call.input.header
    if call.toolkit.tools[call.tool].input_schema is None:
        return header
    content = jsontext.decode(header, ContentHeader)
    if content.type not in ("json", "empty"):
        raise InvalidRequestError(f"{call.full_name} takes JSON arguments, not a content of type {content.type!r}")
    return bytes(content.json)
