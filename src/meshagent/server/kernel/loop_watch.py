"""The loop watch: how long single turns of the event loop take, and which operation caused the long ones.

While one callback runs, everybody else waits. A timer on the loop notes how late it is called: that is how long the
turn before it took. A thread looks at the loop while the timer is overdue, so that it sees the operation at work and
the line of code. Neither costs anything per message.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import sys
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, chain, islice, repeat
from operator import attrgetter, itemgetter
from types import CodeType
from typing import Any, Final

from meshagent.server.kernel.running_operation import RUNNING, RunningOperation

log = logging.getLogger(__name__)

TURN_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram of turns, in seconds."""

WINDOW: Final = 60.0
"""Seconds that the longest turn is remembered for."""

_TICK: Final = 0.01
_SAMPLE_INTERVAL: Final = 0.02
_NOTABLE: Final = 0.02
"""Shorter turns count in the histogram only: their operation was not seen."""

_MAX_OPERATIONS: Final = 300
_OTHER: Final = "other"
GARBAGE_COLLECTION: Final = "garbage collection"
_IDLE: Final = "none"
_DEFAULT_TASK_NAME: Final = re.compile(r"Task-\d+")


@dataclass(frozen=True, slots=True)
class Turn:
    """One long turn of the loop.

    Attributes:
        seconds: How long everybody else waited.
        cpu_seconds: CPU time of the loop's thread within it. Much less than `seconds` where the turn waited for a
            disk or a lock, or where the machine was busy with other programs.
        operation: What the loop was doing: an operation of rooms, an HTTP route, or the name of a task.
        place: Where in the product's code it was seen last, as `module.function:line`; empty if it was not seen.
    """

    seconds: float
    cpu_seconds: float
    operation: str
    place: str = ""


NO_TURN: Final = Turn(0.0, 0.0, _IDLE)


class LoopWatch:
    """Measures the turns of the running loop, from `start` to `close`.

    Args:
        log_above: Turns that take longer are logged, in seconds; 0 logs none. At most one entry a second.
        running: Where operations say their names.
        clock: Seconds.
    """

    def __init__(
        self,
        *,
        log_above: float = 0.25,
        running: RunningOperation = RUNNING,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.log_above = log_above
        self._running = running
        self._clock = clock
        self._buckets = [0] * (len(TURN_BUCKETS) + 1)
        self._total_seconds = 0.0
        self._lost: dict[str, float] = {}
        self._recent: deque[tuple[float, Turn]] = deque()
        self._longest = NO_TURN
        self._longest_cpu = NO_TURN
        self._next_log_at = 0.0
        self._due = 0.0
        self._collecting = 0.0
        self._cpu = 0.0
        self._seen: tuple[str, str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ticks: list[asyncio.Future[None]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop_thread = 0

    # ---- life

    def start(self) -> None:
        """Watch the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._cpu = time.thread_time()
        self._schedule()
        self._thread = threading.Thread(target=self._observe, name="loop watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching; the figures stay."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for waiter in self._ticks:
            waiter.cancel()

    # ---- figures

    @property
    def longest(self) -> Turn:
        """The longest turn since the start or the last `reset`; `settle` first, or the last turns are missing."""
        return self._longest

    @property
    def longest_by_cpu(self) -> Turn:
        """The turn with the most CPU time of the loop's thread; for tests, which run on busy machines."""
        return self._longest_cpu

    @property
    def recent_longest(self) -> Turn:
        """The longest turn of the last minute."""
        self._forget_old()
        return max((turn for _, turn in self._recent), key=lambda turn: turn.seconds, default=NO_TURN)

    @property
    def histogram(self) -> Sequence[tuple[float, int]]:
        """Turns by length: upper bound in seconds and how many were at most that long, as Prometheus counts."""
        counted, below = [], 0
        for bound, count in zip((*TURN_BUCKETS, float("inf")), self._buckets, strict=True):
            below += count
            counted.append((bound, below))
        return counted

    @property
    def total_seconds(self) -> float:
        """All turns together, in seconds beyond what was due."""
        return self._total_seconds

    @property
    def lost_seconds(self) -> Mapping[str, float]:
        """Seconds in turns of 20 ms and more, by operation."""
        return self._lost

    def collected(self, seconds: float) -> None:
        """Note that the garbage collector took so long; turns that it makes long are its own and no operation's."""
        self._collecting += seconds

    def reset(self) -> None:
        """Forget `longest` and `longest_by_cpu`; for tests."""
        self._longest = self._longest_cpu = NO_TURN

    async def settle(self) -> None:
        """Wait until everything that the loop did before this call is measured."""
        assert self._loop is not None
        for _ in range(2):
            waiter = self._loop.create_future()
            self._ticks.append(waiter)
            await waiter

    # ---- on the loop

    def _schedule(self) -> None:
        assert self._loop is not None
        self._seen = None
        self._due = self._clock() + _TICK
        self._timer = self._loop.call_later(_TICK, self._tick)

    def _tick(self) -> None:
        cpu = time.thread_time()
        self._note(max(0.0, self._clock() - self._due), cpu - self._cpu, self._seen)
        self._cpu = cpu
        self._schedule()
        ticks, self._ticks = self._ticks, []
        for waiter in ticks:
            if not waiter.done():
                waiter.set_result(None)

    def _note(self, seconds: float, cpu_seconds: float, seen: tuple[str, str] | None) -> None:
        collecting, self._collecting = self._collecting, 0.0
        self._buckets[bisect_left(TURN_BUCKETS, seconds)] += 1
        self._total_seconds += seconds
        if seconds < _NOTABLE:
            return
        operation, place = seen if seen is not None else (self._running.name, "")
        if 2 * collecting > seconds:
            operation, place = GARBAGE_COLLECTION, ""
        if operation not in self._lost and len(self._lost) >= _MAX_OPERATIONS:
            operation = _OTHER
        turn = Turn(seconds, min(cpu_seconds, seconds), operation, place)
        self._lost[operation] = self._lost.get(operation, 0.0) + seconds
        self._remember(turn)
        if 0 < self.log_above <= seconds:
            self._report(turn)

    def _remember(self, turn: Turn) -> None:
        self._forget_old()
        while self._recent and self._recent[-1][1].seconds <= turn.seconds:  # it can never be the longest again
            self._recent.pop()
        self._recent.append((self._clock(), turn))
        self._longest = max(self._longest, turn, key=lambda one: one.seconds)
        self._longest_cpu = max(self._longest_cpu, turn, key=lambda one: one.cpu_seconds)

    def _forget_old(self) -> None:
        now = self._clock()
        while self._recent and now - self._recent[0][0] > WINDOW:
            self._recent.popleft()

    def _report(self, turn: Turn) -> None:
        now = self._clock()
        if now < self._next_log_at:
            return
        self._next_log_at = now + 1.0
        # A turn with little CPU time waited for a disk, or for a machine that is busy with other programs.
        level = logging.WARNING if 2 * turn.cpu_seconds >= turn.seconds else logging.INFO
        log.log(
            level,
            "the event loop was held for %.0f ms (%.0f ms of CPU time) by %s%s",
            turn.seconds * 1000,
            turn.cpu_seconds * 1000,
            turn.operation,
            f" at {turn.place}" if turn.place else "",
        )

    # ---- on the watching thread

    def _observe(self) -> None:
        while not self._stop.wait(_SAMPLE_INTERVAL):
            due = self._due
            if self._clock() < due + _NOTABLE / 2:
                continue
            seen = self._look()
            # Keep the first look of a turn at an operation: a long callback is still at work then.
            if due == self._due and (self._seen is None or self._seen[0] == _IDLE):
                self._seen = seen

    def _look(self) -> tuple[str, str]:
        """The operation that is at work on the loop now, and where it is."""
        place, dispatched, outermost = "", False, ""
        for code, line, names in _stack(self._loop_thread):
            module = names.get("__name__", "")
            if module.startswith("meshagent."):
                place = place or f"{module}.{code.co_name}:{line}"
                dispatched = dispatched or module.endswith(".kernel.dispatcher")
                outermost = code.co_qualname
        if dispatched:
            return self._running.name, place
        return self._task_name() or outermost or _IDLE, place

    def _task_name(self) -> str:
        task = asyncio.current_task(self._loop)
        name = "" if task is None else task.get_name()
        # Tasks of rooms are named after them; how many there are must not follow what clients choose.
        return "" if _DEFAULT_TASK_NAME.fullmatch(name) else name.rpartition(": ")[2]


_SEEN_OF_A_FRAME = attrgetter("f_code", "f_lineno", "f_globals")


def _stack(thread: int) -> list[tuple[CodeType, int, dict[str, Any]]]:
    """What a thread is doing: code, line and global names of its frames, the innermost first.

    The thread must not go on meanwhile: Python 3.11 makes an object for each frame that is looked at, and crashes when
    the frame ends while it does. So all of it is one call of C code, and no garbage is collected, which could start
    from there and run Python.
    """
    at_once = map(itemgetter(thread), iter(sys._current_frames, None))
    frames = accumulate(chain(islice(at_once, 1), repeat("f_back")), getattr)
    seen: list[tuple[CodeType, int, dict[str, Any]]] = []
    collects = gc.isenabled()
    gc.disable()
    try:
        with suppress(AttributeError, KeyError):  # the outermost frame has no caller; the thread may have ended
            seen.extend(map(_SEEN_OF_A_FRAME, frames))
    finally:
        if collects:
            gc.enable()
    return seen
