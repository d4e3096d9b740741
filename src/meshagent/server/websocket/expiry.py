"""Ends connections whose token has expired: one queue and one timer for all of a server's connections."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from meshagent.api.wire.close_codes import CloseCode

__all__ = ["ExpiryQueue"]

_LONGEST_SLEEP: Final = 30.0
"""Seconds after which the clock is looked at again, since it may be set while the timer waits."""

_SPARE_ENTRIES: Final = 64


class Closable(Protocol):
    """A connection."""

    def close(self, code: int = ..., reason: str = ...) -> None: ...


class ExpiryQueue:
    """Closes connections at their time.

    Args:
        open_connections: The connections that are open; others are forgotten.
        now: Seconds since 1970.
    """

    def __init__(self, open_connections: Collection[Closable], *, now: Callable[[], float] = time.time) -> None:
        self._open = open_connections
        self._now = now
        self._heap: list[tuple[float, int, Closable]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, connection: Closable, expires_at: float) -> None:
        """Close an open connection at a time, in seconds since 1970."""
        if len(self._heap) > 2 * len(self._open) + _SPARE_ENTRIES:  # most entries are of connections that are gone
            self._heap = [entry for entry in self._heap if entry[2] in self._open]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (expires_at, next(self._numbers), connection))
        if self._heap[0][2] is connection:
            self._schedule()

    def close(self) -> None:
        """Stop the timer and forget all connections."""
        self._heap.clear()
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            delay = min(max(0.0, self._heap[0][0] - self._now()), _LONGEST_SLEEP)
            self._timer = asyncio.get_running_loop().call_later(delay, self._end_expired)

    def _end_expired(self) -> None:
        while self._heap and self._heap[0][0] <= self._now():
            connection = heapq.heappop(self._heap)[2]
            if connection in self._open:
                connection.close(CloseCode.POLICY, "the token has expired")
        self._schedule()
