"""Keeps the pauses of Python's cyclic garbage collector short, in a process that serves.

A full collection looks at every object of the process and holds everything for so long: 100 ms and more after the
start alone, and longer the more queues and documents are in memory. Here full collections look only at objects that
are new since the last one; what survives is set aside (`gc.freeze`). What was set aside is looked at once in a while,
when nothing else is to be done, or when it has doubled.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["short_collections"]

_INTERVAL: Final = 10.0
_IDLE_SHARE: Final = 0.05
"""Share of a core below which a process is idle."""
_WORTHWHILE_OBJECTS: Final = 20_000
_MIN_OBJECTS: Final = 500_000

_FULL: Final = 2
_THRESHOLDS: Final = (700, 5, 5)
"""Python's are 700, 10, 10. Each object is looked at three times and then set aside, so that more collections cost
no more: they only are shorter, about 4 ms where much is kept."""


@contextmanager
def short_collections(collected: Callable[[float], None]) -> Iterator[None]:
    """Short collections for the length of the block, in which the event loop runs. For a process of one's own.

    Args:
        collected: Told how many seconds each collection took.
    """
    collector = _Collector(asyncio.get_running_loop(), collected)
    collector.start()
    try:
        yield
    finally:
        collector.close()


class _Collector:
    def __init__(self, loop: asyncio.AbstractEventLoop, collected: Callable[[float], None]) -> None:
        self._loop = loop
        self._collected = collected
        self._began_at = 0.0
        self._new = 0
        self._objects = 0
        self._cpu = 0.0
        self._thresholds = gc.get_threshold()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        gc.set_threshold(*_THRESHOLDS)
        gc.callbacks.append(self._observe)
        self._collect_all()
        self._schedule()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        gc.callbacks.remove(self._observe)
        gc.set_threshold(*self._thresholds)
        gc.unfreeze()

    def _observe(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began_at = time.perf_counter()
            return
        if info["generation"] == _FULL:
            self._new += len(gc.get_objects(generation=_FULL))  # counting what is set aside takes much longer
            gc.freeze()
        self._collected(time.perf_counter() - self._began_at)

    def _collect_all(self) -> None:
        gc.unfreeze()
        gc.collect()
        self._objects, self._new = gc.get_freeze_count(), 0

    def _schedule(self) -> None:
        self._cpu = time.process_time()
        self._timer = self._loop.call_later(_INTERVAL, self._check)

    def _check(self) -> None:
        idle = time.process_time() - self._cpu < _IDLE_SHARE * _INTERVAL
        enough = _WORTHWHILE_OBJECTS if idle else max(_MIN_OBJECTS, self._objects)
        if self._new > enough:
            self._new = gc.get_freeze_count() - self._objects  # many of those that were counted are gone by now
            if self._new > enough:
                self._collect_all()
        self._schedule()
