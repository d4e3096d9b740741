"""Rooms of this process, found and opened by their names."""

from __future__ import annotations

from collections.abc import Callable

from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.directory import RoomDirectory
from meshagent.server.rooms.handle import RoomCounts
from meshagent.server.rooms.local.locator import LocalRoomFinder, LocalRoomLocator
from meshagent.server.rooms.local.room import LocalRoom
from tests.support.room_parts import RoomParts

KEY = RoomKey("project", "room")


class Rooms:
    """A directory of rooms over fake parts, with both ways to reach them."""

    def __init__(self) -> None:
        self.parts: dict[RoomKey, RoomParts] = {}
        self.directory: RoomDirectory[LocalRoom] = RoomDirectory(idle_grace=60.0)
        self.finder = LocalRoomFinder(self.directory)
        self.locator = LocalRoomLocator(self.directory, self.make)

    async def make(self, key: RoomKey, population_changed: Callable[[], None]) -> LocalRoom:
        self.parts[key] = RoomParts(key=key)
        return self.parts[key].local()


async def test_a_room_is_found_only_while_it_runs() -> None:
    rooms = Rooms()
    assert await rooms.finder.find(KEY) is None
    assert await rooms.locator.find(KEY) is None
    async with rooms.locator.open(KEY) as room:
        assert await rooms.finder.find(KEY) is room
        assert await rooms.locator.find(KEY) is room
        assert await rooms.finder.end(KEY, "deleted")
        assert await rooms.finder.find(KEY) is None
        assert not await rooms.finder.end(KEY, "deleted")


async def test_whoever_is_in_a_room_that_is_ended_learns_why() -> None:
    rooms = Rooms()
    async with rooms.locator.open(KEY):
        socket = rooms.parts[KEY].join()
        await rooms.finder.end(KEY, "the room was deleted")
        assert socket.closed == (CloseCode.POLICY, "the room was deleted")


async def test_rooms_of_a_project_and_their_figures() -> None:
    rooms = Rooms()
    elsewhere = RoomKey("elsewhere", "room")
    async with rooms.locator.open(KEY) as room, rooms.locator.open(elsewhere):
        rooms.parts[KEY].join("alice")
        rooms.parts[elsewhere].join("bob")
        rooms.parts[elsewhere].join("helper", role="agent")
        assert list(await rooms.finder.of_project("project")) == [room]
        assert await rooms.finder.counts() == RoomCounts(2, {"user": 2, "agent": 1})
    await rooms.directory.close(drop=False)


async def test_notes_reach_the_log_of_a_room_that_runs_and_no_other() -> None:
    rooms = Rooms()
    rooms.finder.note(KEY, "llm.usage", {})
    async with rooms.locator.open(KEY):
        rooms.finder.note(KEY, "llm.usage", {"tokens": 1})
        assert rooms.parts[KEY].recorded == [("llm.usage", {"tokens": 1})]
    await rooms.directory.close(drop=False)
