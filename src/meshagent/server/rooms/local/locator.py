"""Finds and opens rooms of this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.directory import MakeRoom, RoomDirectory
from meshagent.server.rooms.handle import RoomCounts, RoomHandle
from meshagent.server.rooms.local.room import LocalRoom


class LocalRoomFinder:
    """Implements `RoomFinder`."""

    def __init__(self, directory: RoomDirectory[LocalRoom]) -> None:
        self._directory = directory

    async def find(self, key: RoomKey) -> RoomHandle | None:
        return self._directory.find(key)

    async def of_project(self, project_id: str) -> Sequence[RoomHandle]:
        return [room for room in self._directory.rooms if room.project_id == project_id]

    async def end(self, key: RoomKey, reason: str) -> bool:
        return await self._directory.end(key, CloseCode.POLICY, reason)

    def note(self, key: RoomKey, entry_type: str, data: Mapping[str, Any]) -> None:
        room = self._directory.find(key)
        if room is not None:
            room.room.state.record(entry_type, data)

    async def counts(self) -> RoomCounts:
        rooms = self._directory.rooms
        roles = Counter(one.role for room in rooms for one in room.room.state.participants.values())
        return RoomCounts(len(rooms), roles)


class LocalRoomLocator:
    """Implements `RoomLocator`.

    Args:
        directory: The rooms that run.
        make: Makes those that do not.
    """

    def __init__(self, directory: RoomDirectory[LocalRoom], make: MakeRoom[LocalRoom]) -> None:
        self._directory = directory
        self._make = make

    async def find(self, key: RoomKey) -> RoomHandle | None:
        return self._directory.find(key)

    @asynccontextmanager
    async def open(self, key: RoomKey) -> AsyncIterator[RoomHandle]:
        async with self._directory.lease(key, self._make) as room:
            yield room
