"""The records of rooms: their names, and where their data is stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from meshagent.api.errors import AlreadyExistsError, NotFoundError, UnavailableError
from meshagent.server.accounts.record_table import Page, RecordTable
from meshagent.server.accounts.records import RoomRecord, new_id
from meshagent.server.accounts.store import AccountsStore


class RunningRooms(Protocol):
    """Port: the rooms that run, seen by those who administer them."""

    async def participants(self, project_id: str, room_name: str) -> list[dict[str, object]]:
        """Who is in a room now: `id`, `name`, `role` of each; empty when it does not run."""
        ...

    async def session_id(self, project_id: str, room_name: str) -> str | None:
        """The run of a room, if it runs."""
        ...

    async def end(self, project_id: str, room_name: str, reason: str) -> bool:
        """End a room's run, whoever is in it; returns whether it ran."""
        ...

    async def kick(self, project_id: str, room_name: str, participant_id: str) -> bool:
        """Disconnect a participant; returns whether there was one."""
        ...

    async def disconnect_key(self, project_id: str, key_id: str) -> None:
        """Disconnect everybody who came with a token of this key."""
        ...


class RoomData(Protocol):
    """Port: what rooms keep outside the accounts database."""

    async def delete(self, project_id: str, storage_name: str) -> None:
        """Remove documents, files, queues and everything else of a room that does not run."""
        ...


class RoomRegistry:
    """Creates, renames and deletes rooms.

    A room's data stays where it was put when the room gets another name, and a new room never finds the data of an
    old one of that name: the place (`storage_name`) is the room's first name if that is free, else an id.
    """

    def __init__(self, store: AccountsStore, running: RunningRooms, data: RoomData) -> None:
        self._store = store
        self._running = running
        self._data = data
        self._unavailable_names: set[tuple[str, str]] = set()
        self._creation_lock = asyncio.Lock()

    async def storage_name(self, project_id: str, name: str) -> str:
        """What the data of a room that starts is kept under; as `starting`."""
        return (await self.starting(project_id, name)).storage_name

    async def starting(self, project_id: str, name: str) -> RoomRecord:
        """A room that starts; it becomes known if it was not.

        Raises:
            UnavailableError: It is being renamed or deleted just now.
        """
        if (project_id, name) in self._unavailable_names:
            raise UnavailableError(f"the room {name} is being renamed or deleted")
        return await self.ensure(project_id, name)

    async def name_of(self, project_id: str, room_id: str) -> str | None:
        """What the room of an id is called now; None if there is none, or not any more."""
        room = await self._store.rooms.find(project_id=project_id, id=room_id)
        return None if room is None else room.name

    async def ensure(self, project_id: str, name: str) -> RoomRecord:
        """The room, made if it does not exist.

        Raises:
            NotFoundError: There is no such project.
        """
        existing = await self._store.rooms.find(project_id=project_id, name=name)
        if existing is not None:
            return existing
        try:
            return await self.create(project_id, name)
        except AlreadyExistsError:  # another server was first
            return await self._store.rooms.get(project_id=project_id, name=name)

    async def create(self, project_id: str, name: str) -> RoomRecord:
        """A new room.

        Raises:
            AlreadyExistsError: There is one of that name.
            NotFoundError: There is no such project.
        """
        async with self._creation_lock, self._store.database.transaction() as connection:
            place_taken = await self._store.rooms.find(project_id=project_id, storage_name=name, within=connection)
            room_id = new_id()
            room = RoomRecord(
                id=room_id, project_id=project_id, name=name, storage_name=room_id if place_taken else name
            )
            await self._store.rooms.add(room, within=connection)
        return room

    async def page(self, project_id: str, *, limit: int, offset: int) -> Page[RoomRecord]:
        """The rooms of a project, oldest first."""
        return await self._store.rooms.page(
            limit=limit, offset=offset, project_id=project_id, name=RecordTable.NOT_NULL
        )

    async def by_name_or_id(self, project_id: str, name_or_id: str) -> RoomRecord:
        """A room by its name, else by its id.

        Raises:
            NotFoundError: There is none.
        """
        room = await self._store.rooms.find(project_id=project_id, name=name_or_id)
        room = room or await self._store.rooms.find(project_id=project_id, id=name_or_id)
        if room is None or room.name is None:
            raise NotFoundError("there is no such room")
        return room

    async def rename(self, room: RoomRecord, name: str) -> None:
        """Give a room another name; its run ends, its data comes along.

        Raises:
            AlreadyExistsError: There is a room of that name.
        """
        async with self._unavailable(room, name):
            if await self._store.rooms.find(project_id=room.project_id, name=name) is not None:
                raise AlreadyExistsError(f"room {name!r} already exists")
            await self._running.end(room.project_id, room.name or "", "the room is being renamed")
            await self._store.rooms.update({"name": name}, project_id=room.project_id, id=room.id)

    async def delete(self, room: RoomRecord) -> None:
        """End a room's run and remove it with its data."""
        async with self._unavailable(room):
            await self._running.end(room.project_id, room.name or "", "the room was deleted")
            await self._store.rooms.update({"name": None}, project_id=room.project_id, id=room.id)
        await self._remove_data(room)

    async def finish_deletions(self) -> None:
        """Remove the data of rooms whose deletion was cut short."""
        for room in await self._store.rooms.all(name=None):
            await self._remove_data(room)

    async def _remove_data(self, room: RoomRecord) -> None:
        await self._data.delete(room.project_id, room.storage_name)
        await self._store.rooms.delete(project_id=room.project_id, id=room.id)

    @asynccontextmanager
    async def _unavailable(self, room: RoomRecord, *names: str) -> AsyncIterator[None]:
        """Refuse joins under these names for the length of the block."""
        closed = {(room.project_id, name) for name in (room.name or "", *names)} - self._unavailable_names
        self._unavailable_names |= closed
        try:
            yield
        finally:
            self._unavailable_names -= closed
