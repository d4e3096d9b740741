"""The bounded queue of messages that a connection has still to send."""

from __future__ import annotations

import asyncio
from collections import deque

from meshagent.api.transport.chan import ChanClosed, ChanFull
from meshagent.api.wire.packets import Message


class OutgoingQueue:
    """Messages that wait for the writer of one connection.

    When the limit is reached, `put` waits and `put_nowait` raises `ChanFull`. A message that is larger than the limit
    is accepted when the queue is empty.

    Args:
        limit: Bytes of message data that may wait.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[Message] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._changed = asyncio.Event()
        self._size = 0
        self._unsent = 0
        self._closed = False

    async def put(self, message: Message) -> None:
        """Queue a message, waiting while the queue is full, in the order of the calls; `ChanClosed` if it is closed."""
        if self._blocked(message):
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
                while self._full(message):
                    place = self._waiting[0] = asyncio.get_running_loop().create_future()
                    await place
            finally:
                self._waiting.remove(place)
                self._admit()
        self._add(message)

    def put_nowait(self, message: Message) -> None:
        """Queue a message; `ChanFull` where `put` would wait."""
        if self._blocked(message):
            raise ChanFull
        self._add(message)

    async def next(self) -> Message | None:
        """The next message to write; None when the queue is closed and empty."""
        while not self._messages:
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()

    def written(self, message: Message) -> None:
        """Note that a message was passed to the transport, which makes room for others."""
        self._unsent -= 1
        self._size -= len(message.data)
        self._admit()

    def close(self, *, discard: bool = False) -> None:
        """Refuse messages from now on; with `discard` also drop those that are queued."""
        self._closed = True
        if discard:
            self._messages.clear()
        self._changed.set()
        for place in self._waiting:
            if not place.done():
                place.set_result(None)

    def _add(self, message: Message) -> None:
        if self._closed:
            raise ChanClosed("the connection is closed")
        self._messages.append(message)
        self._unsent += 1
        self._size += len(message.data)
        self._changed.set()

    def _blocked(self, message: Message) -> bool:
        return not self._closed and bool(self._waiting or self._full(message))

    def _full(self, message: Message) -> bool:
        return not self._closed and self._unsent > 0 and self._size + len(message.data) > self._limit

    def _admit(self) -> None:
        if self._waiting and self._size < self._limit and not self._waiting[0].done():
            self._waiting[0].set_result(None)
