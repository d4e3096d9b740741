"""Names of rooms and the places of their data, when things happen at once or stop half-way."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.errors import AlreadyExistsError, UnavailableError
from meshagent.server.accounts.records import Project
from meshagent.server.accounts.room_registry import RoomRegistry
from meshagent.server.accounts.store import AccountsStore
from tests.support.accounts_server import FakeRoomData, FakeRunningRooms


class RoomsThatTakeTime(FakeRunningRooms):
    """Ends a room when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.may_end = asyncio.Event()

    async def end(self, project_id: str, room_name: str, reason: str) -> bool:
        self.asked.set()
        await self.may_end.wait()
        return await super().end(project_id, room_name, reason)


class BrokenData(FakeRoomData):
    async def delete(self, project_id: str, storage_name: str) -> None:
        raise UnavailableError("the disk is away")


@pytest.fixture
async def project(store: AccountsStore) -> str:
    await store.projects.add(Project(id="p", name="p"))
    return "p"


async def test_many_who_join_at_once_share_one_room(store: AccountsStore, project: str) -> None:
    registry = RoomRegistry(store, FakeRunningRooms(), FakeRoomData())
    names = await asyncio.gather(*(registry.storage_name(project, "lobby") for _ in range(10)))
    assert set(names) == {"lobby"}
    assert len(await store.rooms.all()) == 1


async def test_nobody_enters_while_a_room_gets_another_name(store: AccountsStore, project: str) -> None:
    running = RoomsThatTakeTime()
    registry = RoomRegistry(store, running, FakeRoomData())
    room = await registry.create(project, "old")
    renaming = asyncio.create_task(registry.rename(room, "new"))
    await running.asked.wait()
    for name in ("old", "new"):
        with pytest.raises(UnavailableError):
            await registry.storage_name(project, name)
    running.may_end.set()
    await renaming
    assert await registry.storage_name(project, "new") == "old"
    assert await registry.storage_name(project, "old") != "old"


async def test_a_name_that_is_taken_is_refused_before_anybody_is_sent_away(store: AccountsStore, project: str) -> None:
    running = FakeRunningRooms()
    registry = RoomRegistry(store, running, FakeRoomData())
    room = await registry.create(project, "one")
    await registry.create(project, "two")
    with pytest.raises(AlreadyExistsError):
        await registry.rename(room, "two")
    assert running.ended == []


async def test_a_deletion_cut_short_is_finished_later_and_its_data_never_comes_back(
    store: AccountsStore, project: str
) -> None:
    registry = RoomRegistry(store, FakeRunningRooms(), BrokenData())
    with pytest.raises(UnavailableError):
        await registry.delete(await registry.create(project, "lobby"))
    assert await registry.storage_name(project, "lobby") != "lobby"

    data = FakeRoomData()
    await RoomRegistry(store, FakeRunningRooms(), data).finish_deletions()
    assert data.deleted == ["lobby"]
    [left] = await store.rooms.all()
    assert left.name == "lobby"
