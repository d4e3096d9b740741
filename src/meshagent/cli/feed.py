"""Waiting for what happens in a room, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from meshagent.cli.output import CommandError, ExitCode, note

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

Item = TypeVar("Item")
Given = TypeVar("Given", covariant=True)


class Source(Protocol[Given]):
    """Something whose next entry can be waited for."""

    async def get(self) -> Given: ...


class Feed(Generic[Item]):
    """Entries that come by events, in order. Beyond 10,000 that wait, new ones are dropped with a note."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Item] = asyncio.Queue(maxsize=10_000)

    def put(self, item: Item) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            note("output is too slow: an entry was dropped")

    async def get(self) -> Item:
        return await self._queue.get()


async def follow(room: RoomClient, source: Source[Item], count: int | None = None) -> AsyncIterator[Item]:
    """The entries of `source` as they come: `count` of them, or for ever.

    Raises:
        CommandError: The connection to the room is over for good.
    """
    closed = asyncio.ensure_future(room.wait_for_close())
    try:
        while count is None or count > 0:
            yield await _next(source, closed)
            count = None if count is None else count - 1
    finally:
        closed.cancel()


async def _next(source: Source[Item], closed: asyncio.Future[None]) -> Item:
    waiting = asyncio.ensure_future(source.get())
    either: list[asyncio.Future[Any]] = [waiting, closed]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
    finally:
        waiting.cancel()
    raise CommandError("the connection to the room is closed", code=ExitCode.NO_CONNECTION)


@asynccontextmanager
async def at_most(seconds: float | None, otherwise: str) -> AsyncIterator[None]:
    """Bounds the block in time; CommandError with the text `otherwise` when the time is over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise CommandError(otherwise, code=ExitCode.TIMEOUT) from None
