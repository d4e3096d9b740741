"""Fair reading: one connection is read for a few milliseconds at a time, then the others have their turn.

Without it, a client that floods the server is read for as long as its socket has data, and everybody else waits.
"""

from __future__ import annotations

import asyncio
from typing import Final

SLICE_SECONDS: Final = 0.004
"""Longest that one connection is served before others are, but for a single message."""

_FIRST_BYTES: Final = 64 * 1024
_MIN_BYTES: Final = 4 * 1024


class ReadSlices:
    """How much of a connection is read at a time: less where its messages take long, more where they are large.

    Args:
        loop: The loop of the transport.
        transport: What is read.
        buffer: What it is read into, shared by all connections.
    """

    __slots__ = ("_buffer", "_loop", "_paused", "_spent", "_stopped", "_transport", "_yielding", "view")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport, buffer: memoryview) -> None:
        self._loop = loop
        self._transport = transport
        self._buffer = buffer
        self.view = buffer[:_FIRST_BYTES]
        """Where the next read goes."""
        self._spent = 0.0
        self._paused = False
        self._yielding = False
        self._stopped = False

    def took(self, nbytes: int, seconds: float) -> None:
        """Note that a read of `nbytes` was handled in `seconds`."""
        size = len(self.view)
        if nbytes < size:  # the socket is empty: the loop goes on to others by itself
            self._spent = 0.0
            if seconds > SLICE_SECONDS and nbytes > _MIN_BYTES:
                self._resize(nbytes // 2)
            return
        self._spent += seconds
        if seconds > SLICE_SECONDS:
            self._resize(size // 2)
        elif 4 * seconds < SLICE_SECONDS:
            self._resize(size * 2)
        if self._spent > SLICE_SECONDS / 2 and not self._yielding:
            self._spent = 0.0
            self._yielding = True
            self._apply()
            self._loop.call_soon(self._go_on)

    def pause(self) -> None:
        """Read nothing until `resume`."""
        self._paused = True
        self._apply()

    def resume(self) -> None:
        """Undo `pause`."""
        self._paused = False
        self._apply()

    def _go_on(self) -> None:
        self._yielding = False
        self._apply()

    def _resize(self, size: int) -> None:
        self.view = self._buffer[: max(_MIN_BYTES, min(size, len(self._buffer)))]

    def _apply(self) -> None:
        stop = self._paused or self._yielding
        if stop == self._stopped or self._transport.is_closing():
            return
        self._stopped = stop
        if stop:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
