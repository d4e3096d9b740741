"""One run of a room: who is in it, and its services. A single-writer actor on one event loop."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.messaging import MESSAGE, PARTICIPANT_ATTRIBUTES, MessageEvent
from meshagent.api.contracts.operation import Event
from meshagent.api.errors import InvalidRequestError
from meshagent.api.wire import envelope, names
from meshagent.api.wire.close_codes import CloseCode
from meshagent.api.wire.packets import Message
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.context import RoomService
from meshagent.server.kernel.dispatcher import Dispatcher, OneWayHandler, OperationTable, RequestHandler
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.connection import Connection, ConnectionLimits, RoomMembership
from meshagent.server.websocket.encoding import encode_event

log = logging.getLogger(__name__)

DataT = TypeVar("DataT", bound=msgspec.Struct)

_LEAVE_SECONDS = 1.0


@dataclass(slots=True)
class RoomParts:
    """What a room is made of, built by the composition root.

    Attributes:
        operations: The operations of all services.
        one_way_handlers: Handlers of messages that get no answer, by type.
        request_handlers: Handlers of requests that are no operations, by type.
        started: Told when the first participant has come.
        ended: Told when the run ends, if anybody was ever here.
        services: All services, in the order in which a leaving participant is cleaned up (protocol 3.7).
    """

    operations: OperationTable = field(default_factory=lambda: OperationTable(()))
    one_way_handlers: Mapping[str, OneWayHandler] = field(default_factory=dict)
    request_handlers: Mapping[str, RequestHandler] = field(default_factory=dict)
    services: Sequence[RoomService] = ()
    record: Callable[[str, Mapping[str, Any]], None] | None = None
    started: Callable[[], None] = lambda: None
    ended: Callable[[], None] = lambda: None


class Room(RoomMembership):
    """A room that runs: participants, message numbering, clean-up.

    Its state is touched only on its loop. `RoomDirectory` starts and ends it.
    """

    def __init__(self, key: RoomKey, *, url: str, limits: ConnectionLimits, max_connections: int) -> None:
        self.key = key
        self.storage_name = key.room_name
        self.url = url
        self.session_id = str(uuid.uuid4())
        self.limits = limits
        self.max_connections = max_connections
        self.on_population_changed: Callable[[], None] = lambda: None
        self._participants: dict[str, Participant] = {}
        self._users = 0
        self._connections: dict[str, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parts = RoomParts()
        self._next_message_id = 0
        self._has_started = False
        self._reserved = 0

    def furnish(self, parts: RoomParts) -> None:
        """Give the room its services; once, before anybody enters."""
        self._parts = parts
        one_way: dict[str, OneWayHandler] = {names.SET_ATTRIBUTES: self._set_attributes, **parts.one_way_handlers}
        self.dispatcher = Dispatcher(parts.operations, one_way, parts.request_handlers, self._operation_failed)

    # --- what services see (RoomContext) -------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.key.room_name

    @property
    def project_id(self) -> str:
        return self.key.project_id

    @property
    def participants(self) -> Mapping[str, Participant]:
        return self._participants

    def publish(
        self,
        event: Event[DataT],
        data: DataT,
        payload: bytes = b"",
        *,
        to: Iterable[Participant] | None = None,
    ) -> int:
        self._next_message_id += 1
        frames = encode_event(self._next_message_id, event.name, data, payload)
        for participant in list(self._participants.values()) if to is None else to:
            participant.outbox.deliver(frames)
        return self._next_message_id

    def record(self, entry_type: str, data: Mapping[str, Any]) -> None:
        if self._parts.record is not None:
            self._parts.record(entry_type, data)

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=f"room {self.name}: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)

    # --- coming and going ----------------------------------------------------------------------------

    @property
    def users(self) -> int:
        """How many people are here."""
        return self._users

    @property
    def connections(self) -> Mapping[str, Connection]:
        """Connections by participant id."""
        return self._connections

    @property
    def is_full(self) -> bool:
        return len(self._connections) + self._reserved >= self.max_connections

    def connection_for(self, admission: Admission) -> Connection:
        """A connection that will enter when its socket opens."""
        connection = Connection(self, self.limits)
        connection.participant = Participant(
            participant_id=str(uuid.uuid4()),
            name=admission.name,
            role=admission.role,
            scope=admission.scope,
            outbox=connection,
            project_id=admission.project_id,
            key_id=admission.key_id,
        )
        return connection

    def entered(self, connection: Connection) -> None:
        participant = connection.participant
        self._participants[participant.id] = participant
        self._users += participant.is_user
        self._connections[participant.id] = connection
        if not self._has_started:
            self._has_started = True
            self._parts.started()
        self.record("room.participant_joined", _who(participant))
        self.on_population_changed()

    def welcome(self, connection: Connection) -> None:
        participant = connection.participant
        welcome = {"type": "init", "participantId": participant.id, "attributes": participant.attributes}
        ready = {"room_name": self.name, "room_url": self.url, "session_id": self.session_id}
        status = {"status": "ready", "message": "the room is ready"}
        self._next_message_id += 3
        last = self._next_message_id
        connection.deliver(
            encode_event(last - 2, names.CONNECTED, welcome)
            + encode_event(last - 1, names.ROOM_STATUS, status)
            + encode_event(last, names.ROOM_READY, ready)
        )

    def departed(self, connection: Connection, code: int, reason: str) -> None:
        participant = connection.participant
        if self._participants.pop(participant.id, None) is None:
            return
        self._users -= participant.is_user
        del self._connections[participant.id]
        for service in self._parts.services:
            try:
                service.left(participant)
            except Exception:
                log.exception("%s failed to clean up after %r", type(service).__name__, participant)
        self.record("room.participant_left", {**_who(participant), "code": code, "reason": reason})
        self.on_population_changed()

    async def close(self, code: CloseCode, reason: str, *, drop: bool = False) -> None:
        """End the run: disconnect everybody, stop all tasks, close the services.

        Args:
            code: Close code that participants get.
            reason: The same in words.
            drop: Cut the sockets without a close frame, so that current clients come back to the server that
                takes over.
        """
        if drop:
            await self._let_answers_leave()
        for connection in list(self._connections.values()):
            if drop:
                connection.drop()
            else:
                connection.disconnect(code, reason)
            if connection.participant.id in self._connections:
                self.departed(connection, code, reason)
        if self._has_started:
            self._parts.ended()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for service in self._parts.services:
            try:
                await service.close()
            except Exception:
                log.exception("%s of room %s failed to close", type(service).__name__, self.name)

    async def _let_answers_leave(self) -> None:
        """Give what is written already a moment to leave: cutting a socket discards what still waits in it."""
        leaving = [asyncio.ensure_future(connection.sent()) for connection in self._connections.values()]
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=_LEAVE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # --- attributes ----------------------------------------------------------------------------------

    def _set_attributes(self, participant: Participant, message: Message) -> None:
        """Merge a participant's own attributes; its `name` stays the token's (protocol 5.6)."""
        changed, _ = envelope.unpack(message.data)
        changed.pop("name", None)
        if not changed:
            return
        merged = {**participant.attributes, **changed}
        if len(merged) > 1000:
            raise InvalidRequestError("a participant can have 1,000 attributes at most")
        participant.attributes = merged
        if not participant.messaging_enabled:
            return
        others = [p for p in self._participants.values() if p.messaging_enabled and p is not participant]
        event = MessageEvent(
            from_participant_id=participant.id,
            type=PARTICIPANT_ATTRIBUTES,
            message=jsontext.raw({"attributes": changed}),
        )
        self.publish(MESSAGE, event, to=others)

    def _operation_failed(self, participant: Participant, message_type: str, error: BaseException) -> None:
        data = {"request": message_type, "error": type(error).__name__, **_who(participant)}
        self.record("room.error", data)


def _who(participant: Participant) -> dict[str, Any]:
    return {"participant_id": participant.id, "name": participant.name, "role": participant.role}
