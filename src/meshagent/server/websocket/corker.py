"""Corking: what one turn of the loop writes to a connection leaves in one `write`.

A write to a transport is a system call; many small ones per turn are what saturates a server first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter
from typing import Final, Protocol

logger = logging.getLogger(__name__)

_MAX_WINDOW: Final = 0.005  # seconds; the most that batching may add to a delivery
_WINDOW_PER_FLUSH: Final = 2.0  # a window of twice the flush's own time keeps flushing to a third of a core
_MIN_DELAY: Final = 0.001  # seconds; timers are coarser than this


class Flushable(Protocol):
    """A connection with bytes to send."""

    def flush(self) -> None:
        """Hand everything waiting to the transport."""
        ...


class Corker:
    """Flushes dirty connections once per turn of the loop; under heavy load once per window of up to 5 ms.

    The window follows the work: after a flush that took `t` the next one waits until `2 t` have
    passed. A light load never waits; a room that fans out to hundreds of members gets larger,
    cheaper writes. One per loop; not thread-safe.

    Args:
        loop: Where it flushes.
        clock: Seconds, in microseconds or finer. Not the loop's own time, which moves in whole milliseconds on uvloop:
            a flush of 50 µs would look like none, and one time in twenty like a long one.
    """

    __slots__ = ("_clock", "_dirty", "_handle", "_loop", "_next_flush_at")

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = perf_counter) -> None:
        self._loop = loop
        self._clock = clock
        self._dirty: list[Flushable] = []
        self._handle: asyncio.Handle | None = None
        self._next_flush_at = 0.0

    def add(self, connection: Flushable) -> None:
        """Flush `connection` with the others. Call it once per batch: when its first bytes come."""
        self._dirty.append(connection)
        if self._handle is None:
            delay = self._next_flush_at - self._clock()
            if delay > _MIN_DELAY:
                self._handle = self._loop.call_later(delay, self._flush)
            else:
                self._handle = self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Flush what waits and cancel the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._flush()

    def _flush(self) -> None:
        self._handle = None
        dirty, self._dirty = self._dirty, []
        started_at = self._clock()
        for connection in dirty:
            try:
                connection.flush()
            except Exception:  # one connection's failure must not keep the bytes of the others back
                logger.exception("flushing a connection failed")
        ended_at = self._clock()
        self._next_flush_at = ended_at + min(_WINDOW_PER_FLUSH * (ended_at - started_at), _MAX_WINDOW)
