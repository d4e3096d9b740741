"""Iterate over events of a room, and limit the time to wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from meshagent.cli.output import CommandError, ExitCode, note

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

Item = TypeVar("Item")
ItemOut = TypeVar("ItemOut", covariant=True)


class Source(Protocol[ItemOut]):
    """Something with a `get` that waits for the next item."""

    async def get(self) -> ItemOut: ...


class EventQueue(Generic[Item]):
    """Queues items from event handlers, in order. At 10,000 queued items, new ones are dropped with a note."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Item] = asyncio.Queue(maxsize=10_000)

    def put(self, item: Item) -> None:
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            note("output is too slow: dropped an entry")

    async def get(self) -> Item:
        return await self._queue.get()


async def follow(room: RoomClient, source: Source[Item], count: int | None = None) -> AsyncIterator[Item]:
    """Yield the items of `source` as they arrive: `count` of them, or without end.

    Raises:
        CommandError: The connection to the room was closed for good.
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
    raise CommandError("connection to the room closed", code=ExitCode.NO_CONNECTION)


@asynccontextmanager
async def at_most(seconds: float | None, message: str) -> AsyncIterator[None]:
    """Limit the duration of the block; CommandError with `message` if it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise CommandError(message, code=ExitCode.TIMEOUT) from None
