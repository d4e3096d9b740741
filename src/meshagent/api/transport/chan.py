"""Channels: asyncio queues that can be closed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, Protocol, TypeVar

from meshagent.api.errors import ConnectionLostError

__all__ = ["Chan", "ChanClosed", "ChanEmpty", "ChanFull", "ChanReceiver", "ChanSender"]

T = TypeVar("T")
T_in = TypeVar("T_in", contravariant=True)
T_out = TypeVar("T_out", covariant=True)


class ChanClosed(ConnectionLostError):
    """The channel, or the connection that it stands for, is closed."""

    def __init__(self, message: str = "the channel is closed") -> None:
        super().__init__(message)


class ChanFull(Exception):
    """The channel is full."""


class ChanEmpty(Exception):
    """The channel is empty."""


class ChanSender(Protocol[T_in]):
    """The sending end of a channel."""

    async def send(self, value: T_in) -> None:
        """Queue a value, waiting while the channel is full."""
        ...

    def send_nowait(self, value: T_in) -> None:
        """Queue a value; `ChanFull` if the channel is full."""
        ...

    def close(self) -> None:
        """Refuse values from now on."""
        ...


class ChanReceiver(Protocol[T_out]):
    """The receiving end of a channel."""

    async def recv(self) -> T_out:
        """The oldest value, waiting for one."""
        ...

    def recv_nowait(self) -> T_out:
        """The oldest value; `ChanEmpty` if there is none."""
        ...

    def close(self) -> None:
        """Refuse values from now on."""
        ...

    def __aiter__(self) -> AsyncIterator[T_out]:
        """The values until the channel is closed and empty."""
        ...


class Chan(Generic[T]):
    """A first-in first-out channel within one event loop.

    After `close`, sends raise `ChanClosed`; receivers still get what is queued, then `ChanClosed`, which ends
    an iteration.

    Args:
        maxsize: How many values may wait; 0 for any number. `send` waits while the channel is full.
        loop: Accepted for programs that pass one; the running loop is always used.
    """

    def __init__(self, maxsize: int = 0, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._maxsize = maxsize
        self._values: deque[T] = deque()
        self._senders: deque[asyncio.Future[None]] = deque()
        self._receivers: deque[asyncio.Future[None]] = deque()
        self._closed = False

    @property
    def closed(self) -> bool:
        return self._closed

    def qsize(self) -> int:
        return len(self._values)

    def empty(self) -> bool:
        return not self._values

    def full(self) -> bool:
        return 0 < self._maxsize <= len(self._values)

    async def send(self, value: T) -> None:
        """Queue `value`, waiting while the channel is full.

        Raises:
            ChanClosed: The channel is closed, or was closed while this waited; the value is not queued.
        """
        while not self._closed and self.full():
            await self._wait(self._senders)
        self.send_nowait(value)

    def send_nowait(self, value: T) -> None:
        """Queue `value`.

        Raises:
            ChanClosed: The channel is closed.
            ChanFull: The channel is full.
        """
        if self._closed:
            raise ChanClosed
        if self.full():
            raise ChanFull
        self._values.append(value)
        _wake_one(self._receivers)

    async def recv(self) -> T:
        """The oldest value, waiting for one.

        Raises:
            ChanClosed: The channel is closed and empty.
        """
        while not self._closed and not self._values:
            await self._wait(self._receivers)
        return self.recv_nowait()

    def recv_nowait(self) -> T:
        """The oldest value.

        Raises:
            ChanClosed: The channel is closed and empty.
            ChanEmpty: The channel is empty, but not closed.
        """
        if not self._values:
            raise ChanClosed if self._closed else ChanEmpty
        value = self._values.popleft()
        _wake_one(self._senders)
        return value

    def close(self) -> None:
        """Refuse values from now on. Closing again does nothing."""
        self._closed = True
        for waiters in (self._senders, self._receivers):
            while waiters:
                _wake_one(waiters)

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            try:
                value = await self.recv()
            except ChanClosed:
                return
            yield value

    async def _wait(self, waiters: deque[asyncio.Future[None]]) -> None:
        waiter = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                _wake_one(waiters)  # it was woken and cannot go on, so another may
            elif waiter in waiters:
                waiters.remove(waiter)
            raise


def _wake_one(waiters: deque[asyncio.Future[None]]) -> None:
    while waiters:
        waiter = waiters.popleft()
        if not waiter.done():
            waiter.set_result(None)
            return
