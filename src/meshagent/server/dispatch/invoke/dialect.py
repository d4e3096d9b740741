"""The invoke dialect of one room: tool calls and streams of current clients (protocol 14).

A call goes down once and comes back once:

    connection -> dispatcher -> `InvokeDialect` -> the operation table             -> service      (a tool of the room)
                                                -> `ToolCalls` -> `InvokeHostLink` -> the host     (a hosted tool)
    connection <- `Stream`   <- `ToolCalls`     <- `HostAnswers` <- dispatcher     <- the host
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import agents as agents_api
from meshagent.api.errors import InvalidRequestError, NotFoundError, UnavailableError
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.dispatch.contents import ContentHeader
from meshagent.server.dispatch.host_answers import HostAnswers
from meshagent.server.dispatch.invoke.hosted_call import HostedInput
from meshagent.server.dispatch.invoke.messages import (
    INVOKE_TOOL,
    REQUEST_CHUNK,
    RESPONSE_CHUNK,
    TOOL_CALL_RESPONSE,
    InvokeTool,
    RequestChunk,
)
from meshagent.server.dispatch.invoke.room_tools import RoomTool, RoomToolkit, StreamTool
from meshagent.server.dispatch.invoke.stream import OpenStreams, Stream
from meshagent.server.kernel.dispatcher import Caller, OneWayHandler, OperationTable, RequestHandler
from meshagent.server.kernel.json_cost import check_values
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.hosting import HostedToolkit, ToolCall
from meshagent.server.services.agents.service import AgentsService
from meshagent.server.services.agents.tool_calls import ToolCalls

UNSUPPORTED_TOOLKITS: Final = frozenset({"containers", "memory", "mounts", "secrets", "sqlite"})
"""Parts of the hosted product that this server does not have. A call of one gets an error that says so."""


class _CallerContext(msgspec.Struct, frozen=True):
    context: dict[str, Any] | None = None


class InvokeDialect:
    """Serves tool calls and their streams.

    Args:
        operations: Runs the operations behind the room's own tools.
        toolkits: The room's own toolkits, by name.
        agents: Finds hosted toolkits.
        calls: Runs calls of hosted tools.
        host_answers: Takes what hosts answer.
    """

    def __init__(
        self,
        operations: OperationTable,
        toolkits: Mapping[str, RoomToolkit],
        agents: AgentsService,
        calls: ToolCalls,
        host_answers: HostAnswers,
    ) -> None:
        self._operations = operations
        self._toolkits = toolkits
        self._agents = agents
        self._calls = calls
        self._host_answers = host_answers
        self._streams = OpenStreams()

    def request_handlers(self) -> dict[str, RequestHandler]:
        return {INVOKE_TOOL: self.invoke_tool, REQUEST_CHUNK: self.request_chunk}

    def one_way_handlers(self) -> dict[str, OneWayHandler]:
        return {TOOL_CALL_RESPONSE: self._host_answers.answer, RESPONSE_CHUNK: self._host_answers.item}

    # --- calls ---------------------------------------------------------------------------------------

    def invoke_tool(self, caller: Caller, message: Message) -> None:
        """Start a call. A stream is registered before the next message is read (protocol 14.2)."""
        text, payload = envelope.split(message.data)
        request = jsontext.decode(text, InvokeTool)
        toolkit = self._toolkits.get(request.toolkit) if request.participant_id is None else None
        tool = toolkit.get(request.tool) if toolkit is not None else None
        if tool is not None:
            if b"NaN" in text or b"Infinity" in text:  # the tool's own request says what they mean
                request = jsontext.decode(text, InvokeTool, keeps_numbers=True)
            self._invoke_room_tool(caller, message.id, tool, request, payload)
        elif toolkit is not None and not self._agents.is_hosted(request.toolkit, caller.participant.id):
            raise NotFoundError(f"toolkit {request.toolkit!r} has no tool {request.tool!r}", wire_code=1007)
        else:
            self._invoke_hosted_tool(caller, message.id, request, payload)

    def _invoke_room_tool(
        self, caller: Caller, message_id: int, tool: RoomTool, request: InvokeTool, payload: bytes
    ) -> None:
        content = jsontext.decode(bytes(request.arguments), ContentHeader, keeps_numbers=True)
        if content.type == "control":
            self._open_room_stream(caller, message_id, tool, request)
            return
        if isinstance(tool, StreamTool):
            raise InvalidRequestError("this tool takes a stream: invoke it with control open")
        name = tool.operation.name
        entry = self._operations.find(name)
        if entry is None:
            raise UnavailableError(f"{name} is not part of this server")
        arguments, data = tool.input(content, payload)
        self._operations.run(caller, message_id, entry, arguments, data)

    def _open_room_stream(self, caller: Caller, message_id: int, tool: RoomTool, request: InvokeTool) -> None:
        if not isinstance(tool, StreamTool):
            raise InvalidRequestError(f"{request.toolkit}.{request.tool} takes no stream")
        scope = caller.participant.scope
        if scope is not FULL_ROOM_SCOPE:
            scope.require_section(tool.section)
        self._streams.open(caller, message_id, request.tool_call_id, tool.begin)

    def _invoke_hosted_tool(self, caller: Caller, message_id: int, request: InvokeTool, payload: bytes) -> None:
        participant = caller.participant
        if participant.scope is not FULL_ROOM_SCOPE:
            participant.scope.require_agents("use_tools")
        self._agents.check_on_behalf_of(participant, request.on_behalf_of_id)
        viewer_id = request.participant_id or participant.id
        toolkit = self._agents.find_hosted(request.toolkit, request.tool, viewer_id)
        content = jsontext.decode(bytes(request.arguments), ContentHeader)
        if toolkit is None:
            self._invoke_built_in_tool(caller, message_id, request, content, payload)
        elif content.type == "control":
            self._streams.open(
                caller,
                message_id,
                request.tool_call_id,
                lambda stream: HostedInput(
                    self._calls, self._start_call(stream, toolkit, request, payload, streams_input=True)
                ),
            )
        else:
            stream = Stream(caller, message_id, request.tool_call_id)
            self._start_call(stream, toolkit, request, payload, streams_input=False)

    def _start_call(
        self, stream: Stream, toolkit: HostedToolkit, request: InvokeTool, payload: bytes, *, streams_input: bool
    ) -> ToolCall:
        return self._calls.start(
            stream.participant,
            toolkit,
            request.tool,
            EncodedContent(bytes(request.arguments), payload),
            stream,
            streams_input=streams_input,
            on_behalf_of_id=request.on_behalf_of_id,
            caller_context=_caller_context(bytes(request.caller_context)),
        )

    def _invoke_built_in_tool(
        self, caller: Caller, message_id: int, request: InvokeTool, content: ContentHeader, payload: bytes
    ) -> None:
        if request.toolkit in UNSUPPORTED_TOOLKITS:
            raise UnavailableError(f"this server has no {request.toolkit!r}")
        arguments = content.json if content.type == "json" else msgspec.Raw(b"{}")
        flat = agents_api.InvokeToolRequest(toolkit=request.toolkit, tool=request.tool, arguments=arguments)
        answer = self._agents.invoke_tool(caller.participant, flat, payload)
        caller.answer_when_done(message_id, answer, len(payload) + len(arguments))

    # --- chunks --------------------------------------------------------------------------------------

    def request_chunk(self, caller: Caller, message: Message) -> None:
        """One item of a call's input.

        It is always acknowledged, even for a call that is over: clients up to 0.47.0 wait for it, and take an error
        for a failed stream (protocol 14.2). An item that must reach the disk first is acknowledged
        when it has.
        """
        text, payload = envelope.split(message.data)
        request = jsontext.decode(text, RequestChunk)
        stream = self._streams.find(caller.participant, request.tool_call_id)
        durable = None if stream is None else stream.receive(EncodedContent(bytes(request.chunk), payload))
        if stream is None or durable is None:
            caller.answer(message.id, None)
        else:
            durable.add_done_callback(lambda done: _acknowledge(caller, message.id, stream, done))

    # --- leaving -------------------------------------------------------------------------------------

    def left(self, participant: Participant) -> None:
        """Cancel the streams of a participant that has left; what was half done is not committed."""
        self._streams.left(participant)

    async def close(self) -> None:
        self._streams.cancel_all()


def _caller_context(text: bytes) -> dict[str, Any] | None:
    check_values(text)
    return jsontext.decode(b'{"context":%b}' % text, _CallerContext).context


def _acknowledge(caller: Caller, message_id: int, stream: Stream, done: asyncio.Future[None]) -> None:
    """Acknowledge an item that had to reach the disk; if it did not, its stream fails."""
    stream.item_stored(done)
    caller.answer(message_id, None)
