"""Fair reading: one connection is served for a few milliseconds at a time, then the others have their turn.

Without it, a client that floods the server is read for as long as its socket has data, and everybody else waits. A
slice ends between two messages; what was read behind them waits here, and nothing more is read meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Final

SLICE_SECONDS: Final = 0.004
"""Longest that one connection is served before others are, but for a single message."""

MIN_SLICE_SECONDS: Final = 0.001
"""Length of a slice where many connections are busy at the same time."""

_FIRST_BYTES: Final = 64 * 1024
_MIN_BYTES: Final = 4 * 1024
_COPIED_READ_BYTES: Final = 64 * 1024

Feed = Callable[[bytes | memoryview, float], int]
"""Serves messages until the given time of `perf_counter`, at least one; returns how many bytes it took."""


class ReadTurns:
    """What the connections of one loop share: how many of them have more to be served when it is their turn again.

    Slices become shorter the more there are, so that a turn of the loop does not become longer with each busy client.
    """

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy = 0

    @property
    def slice_seconds(self) -> float:
        """How long a connection is served now."""
        return max(MIN_SLICE_SECONDS, SLICE_SECONDS / (self.busy + 1))


class ReadSlices:
    """How much of a connection is read at a time: less where its messages take long, more where they are large.

    Args:
        loop: The loop of the transport.
        transport: What is read.
        buffer: What it is read into, shared by all connections.
        feed: Takes what was read.
        turns: Shared by all connections of the loop.
    """

    __slots__ = (
        "_buffer",
        "_feed",
        "_loop",
        "_paused",
        "_rest",
        "_spent",
        "_stopped",
        "_transport",
        "_turns",
        "_yielding",
        "view",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        buffer: memoryview,
        feed: Feed,
        turns: ReadTurns,
    ) -> None:
        self._turns = turns
        self._loop = loop
        self._transport = transport
        self._buffer = buffer
        self._feed = feed
        self.view = buffer[:_FIRST_BYTES]
        """Where the next read goes."""
        self._rest = b""
        self._spent = 0.0
        self._paused = False
        self._yielding = False
        self._stopped = False

    def read(self, nbytes: int) -> None:
        """Serve the `nbytes` that were read into `view`."""
        data = self._buffer[:nbytes]
        # Many small frames parse faster from `bytes` than from a view, large ones without the copy.
        self.serve(bytes(data) if nbytes <= _COPIED_READ_BYTES else data)

    def serve(self, data: bytes | memoryview) -> None:
        """Serve bytes of the peer for a slice of time, and keep those that are left."""
        started_at = perf_counter()
        longest = self._turns.slice_seconds
        used = self._feed(data, started_at + longest)
        seconds = perf_counter() - started_at
        if used < len(data):
            self._rest = bytes(data[used:])
            self._resize(used)
            self._give_way()
            return
        size = len(self.view)
        if used < size:  # the socket is empty: the loop goes on to others by itself
            self._spent = 0.0
            if seconds > longest and used > _MIN_BYTES:
                self._resize(used // 2)
            return
        self._spent += seconds
        if seconds > longest:
            self._resize(size // 2)
        elif 4 * seconds < longest:
            self._resize(size * 2)
        if self._spent > longest / 2:
            self._give_way()

    def pause(self) -> None:
        """Read and serve nothing until `resume`."""
        self._paused = True
        self._apply()

    def resume(self) -> None:
        """Undo `pause`."""
        self._paused = False
        if self._rest:
            self._give_way()
        self._apply()

    def stop(self) -> None:
        """The connection is over: forget what is left."""
        self._rest = b""

    def _give_way(self) -> None:
        if not self._yielding:
            self._spent = 0.0
            self._yielding = True
            self._turns.busy += 1
            self._apply()
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._yielding = False
        self._turns.busy -= 1
        if self._rest and not self._paused:
            rest, self._rest = self._rest, b""
            self.serve(rest)
        self._apply()

    def _resize(self, size: int) -> None:
        self.view = self._buffer[: max(_MIN_BYTES, min(size, len(self._buffer)))]

    def _apply(self) -> None:
        stop = self._paused or self._yielding or bool(self._rest)
        if stop == self._stopped or self._transport.is_closing():
            return
        self._stopped = stop
        if stop:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
