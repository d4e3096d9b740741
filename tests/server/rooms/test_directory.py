"""The directory of rooms: when they start, how long they run, how they end. The rooms are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest

from meshagent.api.errors import LimitExceededError, UnavailableError
from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.directory import RoomDirectory

KEY = RoomKey("project", "room")
OTHER = RoomKey("project", "other")


class FakeRun:
    """A run of a room; tests say how many people are in it."""

    def __init__(self, session_id: str, population_changed: Callable[[], None]) -> None:
        self.session_id = session_id
        self.users = 0
        self.closed: tuple[CloseCode, str, bool] | None = None
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.close_error: Exception | None = None
        self.has_ended = asyncio.Event()
        self._population_changed = population_changed

    def populate(self, users: int) -> None:
        self.users = users
        self._population_changed()

    async def close(self, code: CloseCode, reason: str, *, drop: bool = False) -> None:
        self.closed = (code, reason, drop)
        await self.may_close.wait()
        self.has_ended.set()
        if self.close_error is not None:
            raise self.close_error


@dataclass
class Rooms:
    """A directory, and what was made for it."""

    directory: RoomDirectory[FakeRun]
    made: list[FakeRun] = field(default_factory=list)
    may_start: asyncio.Event = field(default_factory=asyncio.Event)
    start_error: Exception | None = None

    async def make(self, key: RoomKey, population_changed: Callable[[], None]) -> FakeRun:
        await self.may_start.wait()
        if self.start_error is not None:
            raise self.start_error
        self.made.append(FakeRun(f"session {len(self.made)}", population_changed))
        return self.made[-1]

    async def lease(self, stack: AsyncExitStack, key: RoomKey = KEY) -> FakeRun:
        return await stack.enter_async_context(self.directory.lease(key, self.make))


def rooms_with(*, idle_grace: float = 0.0, max_rooms: int = 10) -> Rooms:
    rooms = Rooms(RoomDirectory(idle_grace=idle_grace, max_rooms=max_rooms))
    rooms.may_start.set()
    return rooms


async def turns(count: int = 10) -> None:
    """Let whatever is due at once happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def ended(run: FakeRun) -> None:
    async with asyncio.timeout(5):
        await run.has_ended.wait()


async def test_a_room_starts_once_at_its_first_use() -> None:
    rooms = rooms_with()
    rooms.may_start.clear()
    assert rooms.directory.find(KEY) is None
    async with AsyncExitStack() as stack:
        waiting = [asyncio.create_task(rooms.lease(stack)) for _ in range(3)]
        await turns()
        assert rooms.directory.rooms == []
        rooms.may_start.set()
        assert await asyncio.gather(*waiting) == rooms.made * 3
        assert rooms.directory.find(KEY) is rooms.made[0]
        assert rooms.directory.rooms == rooms.made
    assert len(rooms.made) == 1


async def test_whoever_waits_for_a_room_that_cannot_start_is_told_and_the_next_may_try_again() -> None:
    rooms = rooms_with()
    rooms.start_error = UnavailableError("the disk is gone")
    async with AsyncExitStack() as stack:
        results = await asyncio.gather(rooms.lease(stack), rooms.lease(stack), return_exceptions=True)
        assert [str(result) for result in results] == ["the disk is gone"] * 2
        rooms.start_error = None
        await rooms.lease(stack)
    assert len(rooms.made) == 1


async def test_a_lease_that_is_given_up_while_the_room_starts_does_not_keep_it() -> None:
    rooms = rooms_with()
    rooms.may_start.clear()
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(rooms.lease(stack))
        await turns()
        waiting.cancel()
        await asyncio.wait([waiting])
        rooms.may_start.set()
        async with AsyncExitStack() as other:
            await rooms.lease(other)
        await ended(rooms.made[0])
    assert len(rooms.made) == 1


async def test_a_room_ends_when_the_last_lease_goes_and_nobody_is_in_it() -> None:
    rooms = rooms_with()
    async with AsyncExitStack() as first:
        async with AsyncExitStack() as second:
            run = await rooms.lease(first)
            await rooms.lease(second)
        await turns()
        assert run.closed is None
    await ended(run)
    assert run.closed == (CloseCode.NORMAL, "nobody is in the room any more", False)
    await turns()
    assert rooms.directory.rooms == []


async def test_people_keep_a_room_open() -> None:
    rooms = rooms_with()
    async with AsyncExitStack() as stack:
        run = await rooms.lease(stack)
        run.populate(1)
    await turns()
    assert run.closed is None
    run.populate(0)
    await ended(run)


async def test_an_idle_room_goes_on_for_a_while_for_those_who_come_back() -> None:
    rooms = rooms_with(idle_grace=60.0)
    async with AsyncExitStack() as stack:
        run = await rooms.lease(stack)
    await turns()
    async with AsyncExitStack() as stack:
        assert await rooms.lease(stack) is run
    assert run.closed is None
    await rooms.directory.close(drop=False)


async def test_who_comes_while_a_room_ends_gets_the_next_run() -> None:
    rooms = rooms_with()
    async with AsyncExitStack() as stack:
        first = await rooms.lease(stack)
        first.may_close.clear()
    await turns()
    assert first.closed is not None
    assert rooms.directory.find(KEY) is None
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(rooms.lease(stack))
        await turns()
        assert not waiting.done()
        first.may_close.set()
        assert await waiting is rooms.made[1]


async def test_a_room_can_be_ended_whoever_is_in_it() -> None:
    rooms = rooms_with()
    assert not await rooms.directory.end(KEY, CloseCode.POLICY, "deleted")
    async with AsyncExitStack() as stack:
        run = await rooms.lease(stack)
        run.populate(3)
        assert await rooms.directory.end(KEY, CloseCode.POLICY, "deleted")
        assert run.closed == (CloseCode.POLICY, "deleted", False)
        assert rooms.directory.rooms == []


async def test_a_room_can_be_ended_while_it_starts() -> None:
    rooms = rooms_with()
    rooms.may_start.clear()
    async with AsyncExitStack() as stack:
        waiting = asyncio.create_task(rooms.lease(stack))
        await turns()
        ending = asyncio.create_task(rooms.directory.end(KEY, CloseCode.POLICY, "renamed"))
        await turns()
        rooms.may_start.set()
        assert await ending
        assert rooms.made[0].closed == (CloseCode.POLICY, "renamed", False)
        assert await waiting is rooms.made[1]


async def test_a_server_that_stops_ends_all_rooms_and_starts_no_more() -> None:
    rooms = rooms_with()
    async with AsyncExitStack() as stack:
        await rooms.lease(stack)
        await rooms.lease(stack, OTHER)
        await rooms.directory.close(drop=True)
        expected = (CloseCode.GOING_AWAY, "the server is shutting down", True)
        assert [run.closed for run in rooms.made] == [expected, expected]
        assert rooms.directory.rooms == []
        with pytest.raises(UnavailableError, match="shutting down"):
            await rooms.lease(stack)


async def test_a_room_that_does_not_close_cleanly_is_gone_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    rooms = rooms_with()
    async with AsyncExitStack() as stack:
        first = await rooms.lease(stack)
        first.close_error = ValueError("not foreseen")
        assert await rooms.directory.end(KEY, CloseCode.POLICY, "deleted")
        assert "not foreseen" in caplog.text
        assert await rooms.lease(stack) is rooms.made[1]


async def test_rooms_are_bounded() -> None:
    rooms = rooms_with(max_rooms=1)
    async with AsyncExitStack() as stack:
        await rooms.lease(stack)
        await rooms.lease(stack)
        with pytest.raises(LimitExceededError):
            await rooms.lease(stack, OTHER)
