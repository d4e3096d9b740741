"""One timer that keeps watch over all connections of a server.

A timing wheel: each connection stands in one slot and is looked at when the hand comes by, so an idle
connection costs a dictionary entry, and pings are spread over the interval instead of sent in a burst.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple, Protocol

_TICKS_PER_TIMEOUT: Final = 10
_MAX_TICK: Final = 1.0  # seconds


class Watched(Protocol):
    """A connection under watch.

    Attributes:
        heard_at: The loop's time when something came last.
    """

    heard_at: float

    @property
    def taken(self) -> int:
        """Bytes that the system has taken so far."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes waiting to be sent; more than 0 only while the system takes no more."""
        ...

    def probe(self) -> None:
        """Send a ping."""
        ...

    def silent(self) -> None:
        """Nothing came within the time: cut the connection."""
        ...

    @property
    def reading_paused(self) -> bool:
        """Whether silence means nothing, because we are the ones not reading."""
        ...


class _Ping(NamedTuple):
    sent_at: float
    buffered: int
    taken: int


class Heartbeat:
    """Pings connections that are silent for `interval` seconds; reports those silent `timeout` longer.

    A connection that sends by itself is never pinged, and one that reads a long backlog is not given up. Times are
    exact to a tenth of `timeout`, at most a second. The timer runs only while something is watched.
    """

    __slots__ = (
        "_hand",
        "_handle",
        "_interval",
        "_interval_ticks",
        "_loop",
        "_slots",
        "_tick",
        "_timeout_ticks",
        "_where",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, interval: float, timeout: float) -> None:
        self._loop = loop
        self._interval = interval
        self._tick = min(_MAX_TICK, timeout / _TICKS_PER_TIMEOUT, interval)
        self._interval_ticks = max(1, round(interval / self._tick))
        self._timeout_ticks = max(1, round(timeout / self._tick))
        size = max(self._interval_ticks, self._timeout_ticks) + 1
        # A slot maps a connection to what was true when it was pinged; None if it was not.
        self._slots: list[dict[Watched, _Ping | None]] = [{} for _ in range(size)]
        self._where: dict[Watched, int] = {}
        self._hand = 0
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many connections are watched."""
        return len(self._where)

    def add(self, connection: Watched) -> None:
        """Watch `connection`; it is first looked at after one interval."""
        self._place(connection, None, self._interval_ticks)
        if self._handle is None:
            self._handle = self._loop.call_later(self._tick, self._advance)

    def discard(self, connection: Watched) -> None:
        """Stop watching `connection`, if it is watched."""
        slot = self._where.pop(connection, None)
        if slot is not None:
            self._slots[slot].pop(connection, None)  # absent while its own slot is being looked at
        if not self._where:
            self.close()

    def close(self) -> None:
        """Stop the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _place(self, connection: Watched, ping: _Ping | None, ticks: int) -> None:
        slot = (self._hand + ticks) % len(self._slots)
        self._slots[slot][connection] = ping
        self._where[connection] = slot

    def _advance(self) -> None:
        self._handle = self._loop.call_later(self._tick, self._advance)
        self._hand = (self._hand + 1) % len(self._slots)
        due, self._slots[self._hand] = self._slots[self._hand], {}
        for connection, ping in due.items():
            if self._where.get(connection) == self._hand:
                self._look(connection, ping)

    def _look(self, connection: Watched, ping: _Ping | None) -> None:
        now = self._loop.time()
        if connection.reading_paused:
            self._place(connection, None, self._interval_ticks)
        elif ping is None or connection.heard_at >= ping.sent_at:
            ticks = round((connection.heard_at + self._interval - now) / self._tick)
            if ticks > 0:
                self._place(connection, None, min(ticks, self._interval_ticks))
                return
            self._place(connection, _Ping(now, connection.buffered, connection.taken), self._timeout_ticks)
            connection.probe()
        elif ping.buffered and connection.taken > ping.taken:  # it reads, and the ping waits behind other bytes
            self._place(connection, _Ping(ping.sent_at, connection.buffered, connection.taken), self._timeout_ticks)
        else:
            del self._where[connection]
            connection.silent()
