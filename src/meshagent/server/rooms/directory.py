"""The rooms that run on this server: started at first use, ended when the people have left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar

from meshagent.api.errors import LimitExceededError, UnavailableError
from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.kernel.room_key import RoomKey

log = logging.getLogger(__name__)


class Runnable(Protocol):
    """A room as its directory sees it."""

    @property
    def session_id(self) -> str:
        """Names the run."""
        ...

    @property
    def users(self) -> int:
        """How many people are in it."""
        ...

    async def close(self, code: CloseCode, reason: str, *, drop: bool = False) -> None:
        """End the run; see `Room.close`."""
        ...


RoomT = TypeVar("RoomT", bound=Runnable)

MakeRoom = Callable[[RoomKey, Callable[[], None]], Awaitable[RoomT]]
"""Makes a room that calls its second argument whenever somebody has come or gone."""


@dataclass(slots=True)
class _Run(Generic[RoomT]):
    """One room while it starts, runs, and ends."""

    starting: asyncio.Task[RoomT]
    room: RoomT | None = None
    leases: int = 0
    idle_timer: asyncio.TimerHandle | None = None
    ending: asyncio.Task[None] | None = None


class RoomDirectory(Generic[RoomT]):
    """Starts each room once, holds it while it is used, and ends it when it is idle.

    A room is idle when nobody holds a lease on it and no person is in it: agents alone do not keep it open
    (protocol 3.5). It ends after `idle_grace` seconds of that, so that a set-up of agents only, or a page that
    reloads, is not torn down at once.

    The directory gets the factory of rooms as an argument, because what rooms are built from depends on the directory.

    Args:
        idle_grace: Seconds that an idle room goes on.
        max_rooms: Rooms that run at one time; one more is refused.
    """

    def __init__(self, *, idle_grace: float, max_rooms: int = 10_000) -> None:
        self._idle_grace = idle_grace
        self._max_rooms = max_rooms
        self._runs: dict[RoomKey, _Run[RoomT]] = {}
        self._closing = False

    @property
    def rooms(self) -> list[RoomT]:
        """All rooms that run now."""
        return [run.room for run in self._runs.values() if run.room is not None]

    def find(self, key: RoomKey) -> RoomT | None:
        """The room, if it runs now."""
        run = self._runs.get(key)
        return run.room if run is not None and run.ending is None else None

    @asynccontextmanager
    async def lease(self, key: RoomKey, make: MakeRoom[RoomT]) -> AsyncIterator[RoomT]:
        """The room, made if it does not run; it will not end for idleness within the block.

        Raises:
            UnavailableError: The server is shutting down, or the room's stores cannot be opened.
            LimitExceededError: Too many rooms run.
        """
        run = await self._held(key, make)
        try:
            assert run.room is not None
            yield run.room
        finally:
            self._let_go(key, run)

    async def end(self, key: RoomKey, code: CloseCode, reason: str) -> bool:
        """End a room now, whoever is in it. Returns whether it ran."""
        run = self._runs.get(key)
        if run is None:
            return False
        await self._end(key, run, code, reason)
        return True

    async def close(self, *, drop: bool) -> None:
        """End all rooms and start no more; see `Room.close` for `drop`."""
        self._closing = True
        runs = list(self._runs.items())
        await asyncio.gather(
            *(self._end(key, run, CloseCode.GOING_AWAY, "the server is shutting down", drop=drop) for key, run in runs),
            return_exceptions=True,
        )

    async def _held(self, key: RoomKey, make: MakeRoom[RoomT]) -> _Run[RoomT]:
        """The run of a room, with a lease taken before anything is awaited: it cannot end under the caller."""
        while True:
            if self._closing:
                raise UnavailableError("the server is shutting down")
            run = self._runs.get(key)
            if run is not None and run.ending is not None:
                await asyncio.shield(run.ending)
                continue
            if run is None:
                run = self._start(key, make)
            run.leases += 1
            try:
                await asyncio.shield(run.starting)
            except BaseException:
                self._let_go(key, run)
                raise
            if run.ending is None:
                self._watch_idleness(key, run)
                return run
            self._let_go(key, run)

    def _let_go(self, key: RoomKey, run: _Run[RoomT]) -> None:
        run.leases -= 1
        self._watch_idleness(key, run)

    def _start(self, key: RoomKey, make: MakeRoom[RoomT]) -> _Run[RoomT]:
        if len(self._runs) >= self._max_rooms:
            raise LimitExceededError(f"this server runs {self._max_rooms} rooms at most", limit=self._max_rooms)
        run: _Run[RoomT] = _Run(
            starting=asyncio.get_running_loop().create_task(self._make(key, make), name=f"start {key.room_name}")
        )
        self._runs[key] = run
        return run

    async def _make(self, key: RoomKey, make: MakeRoom[RoomT]) -> RoomT:
        run = self._runs[key]
        try:
            room = await make(key, partial(self._watch_idleness, key, run))
        except BaseException:
            del self._runs[key]
            raise
        run.room = room
        log.info("room %s started, session %s", key.room_name, room.session_id)
        return room

    def _watch_idleness(self, key: RoomKey, run: _Run[RoomT]) -> None:
        idle = run.room is not None and run.ending is None and run.leases == 0 and run.room.users == 0
        if not idle:
            if run.idle_timer is not None:
                run.idle_timer.cancel()
                run.idle_timer = None
        elif run.idle_timer is None:
            loop = asyncio.get_running_loop()
            run.idle_timer = loop.call_later(self._idle_grace, self._end_idle, key, run)

    def _end_idle(self, key: RoomKey, run: _Run[RoomT]) -> None:
        run.idle_timer = None
        if run.ending is None:
            run.ending = asyncio.get_running_loop().create_task(
                self._finish(key, run, CloseCode.NORMAL, "nobody is in the room any more", drop=False)
            )

    async def _end(self, key: RoomKey, run: _Run[RoomT], code: CloseCode, reason: str, *, drop: bool = False) -> None:
        if run.ending is None:
            run.ending = asyncio.get_running_loop().create_task(self._finish(key, run, code, reason, drop=drop))
        await asyncio.shield(run.ending)

    async def _finish(self, key: RoomKey, run: _Run[RoomT], code: CloseCode, reason: str, *, drop: bool) -> None:
        if run.idle_timer is not None:
            run.idle_timer.cancel()
        try:
            room = await run.starting
            await room.close(code, reason, drop=drop)
            log.info("room %s ended: %s", key.room_name, reason)
        except Exception:
            log.exception("room %s did not end cleanly", key.room_name)
        finally:
            if self._runs.get(key) is run:  # a failed start has left already
                del self._runs[key]
