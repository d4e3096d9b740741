"""`TaskRunner`: an agent that answers JSON requests (protocol 9.2, 9.8)."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.context import AgentCallContext
from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.documents.jsonschemas import no_arguments_schema
from meshagent.api.errors import ConnectionLostError, RoomException
from meshagent.api.room.descriptions import Requirement, ToolDescription, ToolkitDescription
from meshagent.api.room.tasks import OwnedTasks
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import Protocol
from meshagent.api.wire import envelope, names
from meshagent.tools.participants import find_participant
from meshagent.tools.room_toolkit import RoomToolkit
from meshagent.tools.toolkit import Toolkit
from meshagent.tools.validation import SchemaChecker

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["TaskRunner"]

log = logging.getLogger(__name__)

MAX_ASKS = 1000
UNREGISTER_TIMEOUT = 5.0


class _AskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an `agent.ask` message, limited to the fields that every server sends."""

    task_id: str
    arguments: msgspec.Raw
    caller_id: str
    on_behalf_of_id: str | None = None
    toolkits: list[dict[str, Any]] = msgspec.field(default_factory=list)


class TaskRunner(SingleRoomAgent, ABC):
    """An agent that others call with `room.agents.ask(agent=name, arguments=…)`. Override `ask`.

    Requests run concurrently, each in its own task; more than `max_asks` at a time are rejected. If `ask` raises, the
    caller receives the exception's text. The agent registers again after a reconnect. A connection can host only one
    task runner, because not every server says which agent a request is for.

    Args:
        input_schema: JSON Schema of the arguments, an object. Default: no arguments.
        output_schema: JSON Schema of the answer. Default: any JSON. An answer that does not fit is an error.
        supports_tools: Whether callers may pass toolkits with a request.
        toolkits: The agent's own toolkits, part of every `AgentCallContext`.
        max_asks: Maximum number of concurrent requests.

    Other arguments: as `SingleRoomAgent`.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | None = None,
        requires: Sequence[Requirement] = (),
        supports_tools: bool = False,
        labels: Sequence[str] = (),
        toolkits: Sequence[Toolkit] = (),
        max_asks: int = MAX_ASKS,
    ) -> None:
        super().__init__(name=name, title=title, description=description, requires=requires, labels=labels)
        self.input_schema = dict(input_schema) if input_schema is not None else no_arguments_schema()
        self.output_schema = None if output_schema is None else dict(output_schema)
        self.supports_tools = supports_tools
        self.toolkits = list(toolkits)
        self._input_checker = SchemaChecker(self.input_schema, subject=f"arguments of {self.name}")
        self._output_checker = (
            None if self.output_schema is None else SchemaChecker(self.output_schema, subject=f"answer of {self.name}")
        )
        self._max_asks = max_asks
        self._registration_id: str | None = None
        self._asks = OwnedTasks()
        self._running = 0

    @abstractmethod
    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        """Return the answer. `arguments` fit the input schema; the answer must fit the output schema.

        Raises:
            Exception: Any failure; the caller receives its text.
        """

    async def start(self, *, room: RoomClient) -> None:
        """Register in `room` and answer requests; errors as `SingleRoomAgent.start` and `RemoteToolkit.start`."""
        await super().start(room=room)
        try:
            room.protocol.register_handler(api.ASKED.name, self._on_ask)
        except BaseException:
            await super().stop()
            raise
        room.on("reconnected", self._register_again)
        try:
            await self._register(room)
        except BaseException:
            self._detach(room)
            await super().stop()
            raise

    async def stop(self) -> None:
        """Cancel running requests and unregister. Does nothing if the agent is not started."""
        room = self._room
        if room is None:
            return
        self._detach(room)
        await self._asks.close()
        registration_id, self._registration_id = self._registration_id, None
        if registration_id is not None and room.protocol.is_open:
            try:
                async with asyncio.timeout(UNREGISTER_TIMEOUT):
                    await room.call(api.UNREGISTER_AGENT, api.UnregisterRequest(id=registration_id))
            except (RoomException, ChanClosed, TimeoutError) as error:
                log.info("agent %s was not unregistered: %s", self.name, error)
        await super().stop()

    # -- registration

    def _detach(self, room: RoomClient) -> None:
        room.off("reconnected", self._register_again)
        room.protocol.unregister_handler(api.ASKED.name, self._on_ask)

    async def _register(self, room: RoomClient) -> None:
        request = api.RegisterAgentRequest(
            name=self.name,
            title=self.title,
            description=self.description,
            input_schema=self.input_schema,
            output_schema=self.output_schema,
            requires=[requirement.to_json() for requirement in self.requires],
            supports_tools=self.supports_tools,
            labels=self.labels,
        )
        self._registration_id = (await room.call(api.REGISTER_AGENT, request)).id

    async def _register_again(self) -> None:
        if self._room is None:
            return
        try:
            await self._register(self._room)
        except ConnectionLostError:
            log.info("connection lost again before agent %s was registered", self.name)

    # -- requests

    def _on_ask(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        ask, _ = envelope.unpack_as(data, _AskRequest)
        room = self.room
        if self._running >= self._max_asks:
            _send_answer_nowait(protocol, {"task_id": ask.task_id, "error": f"agent {self.name!r} is busy"})
            return
        self._running += 1
        task = self._asks.start(self._serve(room, room.connection_number, ask), f"request to {self.name}")
        task.add_done_callback(self._ask_ended)

    def _ask_ended(self, task: asyncio.Task[None]) -> None:
        self._running -= 1

    async def _serve(self, room: RoomClient, connection: int, ask: _AskRequest) -> None:
        """Answer one request on the connection it arrived on: after a reconnect no caller is waiting for it."""
        try:
            answer = {"task_id": ask.task_id, **await self._answer(room, ask)}
        except asyncio.CancelledError:
            if room.connection_number == connection:
                stopped = {"task_id": ask.task_id, "error": f"agent {self.name!r} was stopped"}
                _send_answer_nowait(room.protocol, stopped)
            raise
        if room.connection_number != connection:
            log.info("connection lost before %s answered", self.name)
            return
        try:
            await room.protocol.send(names.AGENT_ASK_RESPONSE, envelope.pack(answer))
        except ChanClosed:
            log.info("connection lost before %s answered", self.name)

    async def _answer(self, room: RoomClient, ask: _AskRequest) -> dict[str, Any]:
        try:
            arguments: Any = jsontext.loads(bytes(ask.arguments))
            self._input_checker.check(arguments)
            answer = await self.ask(context=await self._context(room, ask), arguments=arguments)
            if self._output_checker is not None:
                self._output_checker.check(answer)
            jsontext.dumps(answer)  # fail here if it is not JSON, so that the caller receives the error
        except RoomException as error:
            return {"error": str(error)}
        except Exception as error:
            log.exception("agent %s failed", self.name)
            return {"error": str(error) or type(error).__name__}
        return {"answer": answer}

    async def _context(self, room: RoomClient, ask: _AskRequest) -> AgentCallContext:
        target_id = ask.on_behalf_of_id or ask.caller_id
        passed = [RoomToolkit(_description(entry), participant_id=target_id) for entry in ask.toolkits]
        return AgentCallContext(
            room=room,
            caller=find_participant(room, ask.caller_id),
            on_behalf_of=None if ask.on_behalf_of_id is None else find_participant(room, ask.on_behalf_of_id),
            toolkits=[*self.toolkits, *await self.required_toolkits(target_id), *passed],
            task_id=ask.task_id,
        )


def _description(entry: Mapping[str, Any]) -> ToolkitDescription:
    """Read a toolkit passed with a request, where tools are a list (protocol 9.8)."""
    return ToolkitDescription(
        name=entry["name"],
        title=entry.get("title"),
        description=entry.get("description"),
        thumbnail_url=entry.get("thumbnail_url"),
        tools=[ToolDescription.from_json(tool["name"], tool) for tool in entry.get("tools") or ()],
    )


def _send_answer_nowait(protocol: Protocol, answer: dict[str, Any]) -> None:
    try:
        protocol.send_nowait(names.AGENT_ASK_RESPONSE, envelope.pack(answer))
    except Exception as error:  # noqa: BLE001 - closed or full: the caller sees the connection end
        log.info("could not answer a request: %s", error)
