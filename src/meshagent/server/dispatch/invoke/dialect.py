"""The invoke dialect of one room: nine messages, onto the operation table, streams and hosted toolkits."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import agents as agents_api
from meshagent.api.errors import InvalidRequestError, LimitExceededError, NotFoundError, RoomException, UnavailableError
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.dispatch.invoke.listing import describe_area, describe_hosted, registration
from meshagent.server.dispatch.invoke.messages import (
    CALL,
    INVOKE_TOOL,
    LIST_TOOLKITS,
    REGISTER_TOOLKIT,
    REQUEST_CHUNK,
    RESPONSE_CHUNK,
    TOOL_CALL_RESPONSE,
    UNREGISTER_TOOLKIT,
    CallService,
    Content,
    InvokeTool,
    ListToolkits,
    RegisterToolkit,
    RequestChunk,
    Unregister,
)
from meshagent.server.dispatch.invoke.output import CallerOutput
from meshagent.server.dispatch.invoke.streams import OpenCall
from meshagent.server.dispatch.invoke.tools import AreaTool, StreamTool
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.dispatcher import Caller, OneWay, OperationTable, Raw
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.pending_calls import Chunk, HostLink, ToolCall
from meshagent.server.services.agents.service import AgentsService

MAX_OPEN_CALLS = 1000
"""Streaming calls of one connection at a time."""

NOT_BUILT = frozenset({"containers", "memory", "mounts", "secrets", "sqlite"})
"""Parts of the hosted product that this server does not have; calling one is answered in words, never left open."""

Area = Mapping[str, AreaTool]
"""The tools of one part of the room, by name."""


class _HostedInput:
    """The input of a call that streams to a host."""

    __slots__ = ("_agents", "_call", "output")

    def __init__(self, agents: AgentsService, call: ToolCall, output: CallerOutput) -> None:
        self._agents = agents
        self._call = call
        self.output = output

    def chunk(self, chunk: Chunk) -> None:
        self._agents.calls.input(self._call, chunk)

    def abandon(self) -> None:
        """The agents service tells the host when its caller leaves."""


class InvokeDialect:
    """Serves `room.*` messages of today's clients in one room.

    Args:
        room: Which.
        agents: Hosted toolkits.
        areas: The room's own parts, by toolkit name.
        host: How calls reach hosts that register by `room.register_toolkit`.
        operations: Runs the operations behind the areas' tools.
    """

    def __init__(
        self,
        room: RoomContext,
        agents: AgentsService,
        areas: Mapping[str, Area],
        host: HostLink,
        operations: OperationTable,
    ) -> None:
        self._room = room
        self._agents = agents
        self._areas = areas
        self._host = host
        self._operations = operations
        self._calls: dict[tuple[str, str], OpenCall] = {}

    def raw(self) -> dict[str, Raw]:
        return {
            INVOKE_TOOL: self.invoke_tool,
            REQUEST_CHUNK: self.request_chunk,
            LIST_TOOLKITS: self.list_toolkits,
            REGISTER_TOOLKIT: self.register_toolkit,
            UNREGISTER_TOOLKIT: self.unregister_toolkit,
            CALL: self.call,
        }

    def one_way(self) -> dict[str, OneWay]:
        return {TOOL_CALL_RESPONSE: self.tool_call_response, RESPONSE_CHUNK: self.response_chunk}

    # --- calls ---------------------------------------------------------------------------------------

    def invoke_tool(self, caller: Caller, message: Message) -> None:
        """Start a call; what streams is registered before anything else is read (spec 2.5, rule 1)."""
        text, payload = envelope.split(message.data)
        request = jsontext.decode(text, InvokeTool)
        area = self._areas.get(request.toolkit) if request.participant_id is None else None
        tool = area.get(request.tool) if area is not None else None
        if tool is not None:
            self._invoke_area(caller, message.id, tool, request, payload)
        elif area is not None and not self._hosts(request, caller.participant):
            raise NotFoundError(f"the toolkit {request.toolkit!r} has no tool {request.tool!r}", wire_code=1007)
        else:
            self._invoke_hosted(caller, message.id, request, payload)

    def _invoke_area(
        self, caller: Caller, message_id: int, tool: AreaTool, request: InvokeTool, payload: bytes
    ) -> None:
        content = jsontext.decode(bytes(request.arguments), Content)
        if content.type == "control":
            stream = tool.stream(content, request)
            self._check_grant(caller, stream)
            output = self._output(caller, message_id, request)
            self._register(caller.participant, request, output, lambda: stream.open(caller, output, self._room.spawn))
            return
        operation, arguments, data = tool.unary(content, payload)
        entry = self._operations.find(operation)
        if entry is None:
            raise UnavailableError(f"{operation} is not part of this server")
        self._operations.run(caller, message_id, entry, arguments, data)

    def _check_grant(self, caller: Caller, stream: StreamTool) -> None:
        scope = caller.participant.scope
        if scope is not FULL_ROOM_SCOPE and stream.section is not None:
            scope.require_section(stream.section)

    def _invoke_hosted(self, caller: Caller, message_id: int, request: InvokeTool, payload: bytes) -> None:
        participant = caller.participant
        if participant.scope is not FULL_ROOM_SCOPE:
            participant.scope.require_agents("use_tools")
        self._agents.check_on_behalf_of(participant, request.on_behalf_of_id)
        viewer = request.participant_id or participant.id
        toolkit = self._agents.find_hosted(request.toolkit, request.tool, viewer)
        content = jsontext.decode(bytes(request.arguments), Content)
        if toolkit is None and request.toolkit in NOT_BUILT:
            raise UnavailableError(f"this server has no {request.toolkit!r}")
        if toolkit is None:
            arguments = content.json if content.type == "json" else msgspec.Raw(b"{}")
            flat = agents_api.InvokeToolRequest(toolkit=request.toolkit, tool=request.tool, arguments=arguments)
            caller.answer_when_done(
                message_id, self._agents.invoke_tool(participant, flat, payload), len(payload) + len(arguments)
            )
            return
        output = self._output(caller, message_id, request)

        def begin() -> OpenCall:
            call = self._agents.calls.begin(
                participant,
                toolkit,
                request.tool,
                arguments=bytes(request.arguments),
                is_content=True,
                payload=payload,
                link=output,
                on_behalf_of_id=request.on_behalf_of_id,
                caller_context=request.caller_context,
                streams_input=content.type == "control",
            )
            return _HostedInput(self._agents, call, output)

        if content.type == "control":
            self._register(participant, request, output, begin)
        else:
            begin()

    def _hosts(self, request: InvokeTool, participant: Participant) -> bool:
        return self._agents.registry.find_toolkit(request.toolkit, participant.id) is not None

    def _output(self, caller: Caller, message_id: int, request: InvokeTool) -> CallerOutput:
        return CallerOutput(caller, message_id, request.tool_call_id or uuid.uuid4().hex)

    def _register(
        self, participant: Participant, request: InvokeTool, output: CallerOutput, start: Callable[[], OpenCall]
    ) -> None:
        if request.tool_call_id is None:
            raise InvalidRequestError("a streaming call needs a tool_call_id")
        key = (participant.id, request.tool_call_id)
        if key in self._calls:
            raise InvalidRequestError(f"there is a call {request.tool_call_id!r} already")
        if sum(owner == participant.id for owner, _ in self._calls) >= MAX_OPEN_CALLS:
            raise LimitExceededError(f"over {MAX_OPEN_CALLS} streaming calls are open", limit=MAX_OPEN_CALLS)
        self._calls[key] = start()
        output.on_end = lambda: self._calls.pop(key, None)

    def request_chunk(self, caller: Caller, message: Message) -> None:
        """One item of a call's input. Always acknowledged, even for a call that is over: older clients wait for it,
        and take an error for a failed stream (spec 2.5, rule 5)."""
        text, payload = envelope.split(message.data)
        request = jsontext.decode(text, RequestChunk)
        call = self._calls.get((caller.participant.id, request.tool_call_id))
        durable = None
        if call is not None:
            try:
                durable = call.chunk(Chunk(bytes(request.chunk), payload))
            except RoomException as error:
                call.output.failed(error)
        if durable is None:
            caller.answer(message.id, None)
        else:
            durable.add_done_callback(lambda done: self._acknowledge(caller, message.id, call, done))

    def _acknowledge(self, caller: Caller, message_id: int, call: OpenCall | None, done: asyncio.Future[None]) -> None:
        """Answer a chunk that had to reach the disk first; if it did not, its stream fails, loudly."""
        error = None if done.cancelled() else done.exception()
        if call is not None and isinstance(error, RoomException):
            call.output.failed(error)
        caller.answer(message_id, None)

    # --- toolkits ------------------------------------------------------------------------------------

    def list_toolkits(self, caller: Caller, message: Message) -> None:
        request, _ = envelope.unpack_as(message.data, ListToolkits)
        participant = caller.participant
        if participant.scope is not FULL_ROOM_SCOPE:
            participant.scope.require_agents("use_tools")
        viewer = request.participant_id or self._named(request.participant_name) or participant.id
        listed: dict[str, Any] = {name: describe_area(name, area) for name, area in self._areas.items()}
        hosted = self._agents.registry.visible_toolkits(viewer)
        listed |= {name: describe_hosted(toolkit) for name, toolkit in hosted.items() if name not in listed}
        caller.answer(message.id, agents_api.ListToolkitsResult(tools=listed))

    def _named(self, name: str | None) -> str | None:
        if name is None:
            return None
        return next((p.id for p in self._room.participants.values() if p.name == name), None)

    def register_toolkit(self, caller: Caller, message: Message) -> None:
        request, _ = envelope.unpack_as(message.data, RegisterToolkit)
        participant = caller.participant
        if participant.scope is not FULL_ROOM_SCOPE:
            participant.scope.require_agents(
                "register_public_toolkit" if request.public else "register_private_toolkit"
            )
        toolkit = self._agents.registry.add_toolkit(participant, registration(request), self._host, request.annotations)
        caller.answer(message.id, agents_api.RegistrationResult(id=toolkit.id))

    def unregister_toolkit(self, caller: Caller, message: Message) -> None:
        request, _ = envelope.unpack_as(message.data, Unregister)
        self._agents.registry.remove(request.id, caller.participant)
        caller.answer(message.id, None)

    def call(self, caller: Caller, message: Message) -> None:
        request, _ = envelope.unpack_as(message.data, CallService)
        if caller.participant.scope is not FULL_ROOM_SCOPE:
            caller.participant.scope.require_agents("call")
        flat = agents_api.CallRequest(name=request.name, url=request.url, arguments=request.arguments)
        caller.answer_when_done(message.id, self._agents.call(caller.participant, flat), len(message.data))

    def tool_call_response(self, host: Participant, message: Message) -> None:
        """A host's answer."""
        self._agents.calls.answer(host, message.id, message.data)

    def response_chunk(self, host: Participant, message: Message) -> None:
        """One item of a host's stream."""
        text, payload = envelope.split(message.data)
        request = jsontext.decode(text, RequestChunk)
        self._agents.calls.answer_chunk(host, message.id, Chunk(bytes(request.chunk), payload))

    # --- leaving -------------------------------------------------------------------------------------

    def left(self, participant: Participant) -> None:
        """End the streams of a participant that is gone; what was half done is not committed."""
        for key in [key for key in self._calls if key[0] == participant.id]:
            self._calls.pop(key).abandon()

    async def close(self) -> None:
        for call in self._calls.values():
            call.abandon()
        self._calls.clear()
