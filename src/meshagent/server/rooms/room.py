"""One run of a room: participants join and leave, and the run ends. A single-writer actor on one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from meshagent.api.wire import names
from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.context import RoomService
from meshagent.server.kernel.dispatcher import Dispatcher
from meshagent.server.rooms.connection import Connection, ConnectionLimits
from meshagent.server.rooms.state import RoomState, who
from meshagent.server.websocket.encoding import encode_event

log = logging.getLogger(__name__)

_LEAVE_SECONDS = 1.0


class RoomLifecycle(Protocol):
    """Told when a room's run begins and ends; must neither wait nor raise."""

    def started(self) -> None:
        """The first participant has come."""
        ...

    def ended(self) -> None:
        """The run is over."""
        ...

    def came_to_nothing(self) -> None:
        """The run is over, and nobody ever came; told in place of `ended`."""
        ...


class Room:
    """A room that runs. Its state is touched only on its loop; `RoomDirectory` starts and ends it.

    Args:
        state: What it shares with its services.
        dispatcher: Takes the messages of its participants.
        services: All services, in the order in which a leaving participant is cleaned up (protocol 3.7).
        lifecycle: Told of the run's beginning and end.
        population_changed: Called after each coming and going.
        limits: Bounds of each connection.
        max_connections: Connections at one time.
    """

    def __init__(
        self,
        state: RoomState,
        dispatcher: Dispatcher,
        services: Sequence[RoomService],
        *,
        lifecycle: RoomLifecycle,
        population_changed: Callable[[], None],
        limits: ConnectionLimits,
        max_connections: int,
    ) -> None:
        self.state = state
        self.dispatcher = dispatcher
        self.max_connections = max_connections
        self._services = services
        self._lifecycle = lifecycle
        self._population_changed = population_changed
        self._limits = limits
        self._connections: dict[str, Connection] = {}
        self._has_started = False

    @property
    def connections(self) -> Mapping[str, Connection]:
        """Connections by participant id."""
        return self._connections

    @property
    def is_full(self) -> bool:
        return len(self._connections) >= self.max_connections

    def connection_for(self, admission: Admission) -> Connection:
        """A connection that will enter when its socket opens."""
        return Connection(self, admission, self._limits)

    # --- what connections tell (RoomMembership) ------------------------------------------------------

    def entered(self, connection: Connection) -> None:
        participant = connection.participant
        self.state.add(participant)
        self._connections[participant.id] = connection
        if not self._has_started:
            self._has_started = True
            self._lifecycle.started()
        self.state.record("room.participant_joined", who(participant))
        self._population_changed()

    def welcome(self, connection: Connection) -> None:
        participant = connection.participant
        state = self.state
        welcome = {"type": "init", "participantId": participant.id, "attributes": participant.attributes}
        ready = {"room_name": state.name, "room_url": state.url, "session_id": state.session_id}
        status = {"status": "ready", "message": "the room is ready"}
        last = state.take_message_ids(3)
        connection.deliver(
            encode_event(last - 2, names.CONNECTED, welcome)
            + encode_event(last - 1, names.ROOM_STATUS, status)
            + encode_event(last, names.ROOM_READY, ready)
        )

    def departed(self, connection: Connection, code: int, reason: str) -> None:
        participant = connection.participant
        if not self.state.remove(participant):
            return
        del self._connections[participant.id]
        for service in self._services:
            try:
                service.left(participant)
            except Exception:
                log.exception("%s failed to clean up after %r", type(service).__name__, participant)
        self.state.record("room.participant_left", {**who(participant), "code": code, "reason": reason})
        self._population_changed()

    # --- the end -------------------------------------------------------------------------------------

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
            self._lifecycle.ended()
        else:
            self._lifecycle.came_to_nothing()
        await self.state.stop_tasks()
        for service in self._services:
            try:
                await service.close()
            except Exception:
                log.exception("%s of room %s failed to close", type(service).__name__, self.state.name)

    async def _let_answers_leave(self) -> None:
        """Give what is written already a moment to leave: cutting a socket discards what still waits in it."""
        leaving = [asyncio.ensure_future(connection.sent()) for connection in self._connections.values()]
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=_LEAVE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
