"""The running rooms of this server, for those who administer them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.accounts.room_registry import RunningRooms
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.directory import RoomDirectory


class DirectoryRooms(RunningRooms):
    """The rooms of a directory, which may be given later: accounts and rooms need each other."""

    def __init__(self) -> None:
        self.directory: RoomDirectory[Any] | None = None

    def participants(self, project_id: str, room_name: str) -> list[dict[str, object]]:
        room = self._find(project_id, room_name)
        people = () if room is None else room.participants.values()
        return [{"id": one.id, "name": one.name, "role": one.role} for one in people]

    def session_id(self, project_id: str, room_name: str) -> str | None:
        room = self._find(project_id, room_name)
        return None if room is None else room.session_id

    async def end(self, project_id: str, room_name: str, reason: str) -> bool:
        if self.directory is None:
            return False
        return await self.directory.end(RoomKey(project_id, room_name), CloseCode.POLICY, reason)

    def kick(self, project_id: str, room_name: str, participant_id: str) -> bool:
        room = self._find(project_id, room_name)
        connection = None if room is None else room.connections.get(participant_id)
        if connection is None:
            return False
        connection.disconnect(CloseCode.POLICY, "a developer of the project ended this connection")
        return True

    def record(self, project_id: str, room_name: str, entry_type: str, data: Mapping[str, Any]) -> None:
        """Write into the log of a room, if it runs."""
        room = self._find(project_id, room_name)
        if room is not None:
            room.record(entry_type, data)

    def disconnect_key(self, project_id: str, key_id: str) -> None:
        for room in self.directory.rooms if self.directory is not None else ():
            if room.project_id != project_id:
                continue
            for connection in list(room.connections.values()):
                if connection.participant.key_id == key_id:
                    connection.disconnect(CloseCode.POLICY, "the key of this connection's token was revoked")

    def _find(self, project_id: str, room_name: str) -> Any:
        return None if self.directory is None else self.directory.find(RoomKey(project_id, room_name))
