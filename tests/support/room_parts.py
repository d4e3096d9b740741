"""A room over services that only note what they are told; its connections have fake sockets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from meshagent.server.kernel.dispatcher import Dispatcher, OperationTable
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.kernel.room_log import RoomLog
from meshagent.server.rooms.connection import Connection, ConnectionLimits
from meshagent.server.rooms.local.room import LocalRoom
from meshagent.server.rooms.room import Room
from meshagent.server.rooms.state import RoomState
from tests.support.fake_room import fake_admission
from tests.support.fake_socket import FakeSocket

_KEY = RoomKey("project", "room")


@dataclass
class NotingService:
    """A service that writes into the test's journal."""

    name: str
    journal: list[str]
    error: Exception | None = None

    def left(self, participant: Participant) -> None:
        self.journal.append(f"{self.name} left {participant.name}")
        if self.error is not None:
            raise self.error

    async def close(self) -> None:
        self.journal.append(f"{self.name} closed")
        if self.error is not None:
            raise self.error


@dataclass
class RoomParts:
    """A room, and what it told its surroundings.

    Attributes:
        journal: In order: starts and ends of the run, what the services were told, changes of the population.
        recorded: Entries of the room's log.
    """

    max_connections: int = 10
    key: RoomKey = _KEY
    journal: list[str] = field(default_factory=list)
    recorded: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.services = [NotingService("first", self.journal), NotingService("second", self.journal)]
        self.state = RoomState(
            self.key,
            storage_name="storage",
            url="ws://host/rooms/room",
            session_id="session",
            room_log=RoomLog(lambda entry_type, data: self.recorded.append((entry_type, data))),
        )
        self.room = Room(
            self.state,
            Dispatcher(OperationTable(()), {}, failed=self.state.record_failure),
            self.services,
            lifecycle=self,
            population_changed=lambda: self.journal.append(f"{self.state.users} users"),
            limits=ConnectionLimits(),
            max_connections=self.max_connections,
        )

    def started(self) -> None:
        self.journal.append("started")

    def ended(self) -> None:
        self.journal.append("ended")

    def came_to_nothing(self) -> None:
        self.journal.append("came to nothing")

    def join(self, name: str = "alice", *, role: str = "user", key_id: str | None = None) -> FakeSocket:
        """Let somebody in; the socket's end of the connection."""
        return FakeSocket.joined(self.room.connection_for(fake_admission(name, role=role, key_id=key_id)))

    def connection(self, name: str) -> Connection:
        """The connection of a participant who is in the room."""
        return next(one for one in self.room.connections.values() if one.participant.name == name)

    def local(self) -> LocalRoom:
        """The room behind its handle, without services."""
        nothing = cast(Any, SimpleNamespace(storage=None, documents=None, agents=None))
        return LocalRoom(self.room, nothing, cast(Any, None))
