"""The rooms that run, for those who administer them."""

from __future__ import annotations

from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.handle import RoomFinder


class FoundRooms:
    """Implements `RunningRooms` over the handles of rooms."""

    def __init__(self, rooms: RoomFinder) -> None:
        self._rooms = rooms

    async def participants(self, project_id: str, room_name: str) -> list[dict[str, object]]:
        room = await self._rooms.find(RoomKey(project_id, room_name))
        people = () if room is None else (await room.status()).participants
        return [{"id": one.id, "name": one.name, "role": one.role} for one in people]

    async def session_id(self, project_id: str, room_name: str) -> str | None:
        room = await self._rooms.find(RoomKey(project_id, room_name))
        return None if room is None else (await room.status()).session_id

    async def end(self, project_id: str, room_name: str, reason: str) -> bool:
        return await self._rooms.end(RoomKey(project_id, room_name), reason)

    async def kick(self, project_id: str, room_name: str, participant_id: str) -> bool:
        room = await self._rooms.find(RoomKey(project_id, room_name))
        if room is None:
            return False
        return await room.disconnect(participant_id, "a developer of the project ended this connection")

    async def disconnect_key(self, project_id: str, key_id: str) -> None:
        for room in await self._rooms.of_project(project_id):
            await room.disconnect_key(key_id, "the key of this connection's token was revoked")
