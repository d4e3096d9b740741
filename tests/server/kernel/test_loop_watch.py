"""The loop watch finds long turns, and says what caused them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from meshagent.server.kernel.loop_watch import NO_TURN, LoopWatch, _stack

HELD = 0.15


@pytest.fixture
async def watch() -> AsyncIterator[LoopWatch]:
    watch = LoopWatch(log_above=0.1)
    watch.start()
    try:
        yield watch
    finally:
        watch.close()


async def hold(watch: LoopWatch) -> None:
    """Hold the loop until the watching thread has seen it, which takes longer on a busy machine."""
    await asyncio.sleep(0)
    end = time.monotonic() + 20
    time.sleep(HELD)  # noqa: ASYNC251 - what the watch is to find
    while (watch._seen is None or watch._seen[0] == NO_TURN.operation) and time.monotonic() < end:
        time.sleep(0.01)  # noqa: ASYNC251 - as above


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_long_turn_is_measured_and_named_after_its_task(
    watch: LoopWatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "meshagent.server.kernel.loop_watch"):
        await asyncio.create_task(hold(watch), name="room a name: searching")
        await watch.settle()
    assert watch.longest.seconds >= HELD - 0.02
    assert watch.longest.operation == "searching"
    assert watch.recent_longest == watch.longest
    assert watch.lost_seconds["searching"] >= HELD - 0.02
    assert watch.histogram[-1][1] > watch.histogram[4][1], "a turn of over 100 ms is in none of the buckets below"
    assert "searching" in caplog.text


async def test_time_that_is_waited_is_no_cpu_time(watch: LoopWatch) -> None:
    await asyncio.create_task(hold(watch), name="waiting")
    await watch.settle()
    waited = watch.longest
    assert waited.cpu_seconds < waited.seconds
    watch.reset()
    assert watch.longest == watch.longest_by_cpu == NO_TURN
    burn(HELD)
    await watch.settle()
    assert watch.longest_by_cpu.cpu_seconds >= HELD - 0.02


async def test_names_do_not_grow_without_bound(watch: LoopWatch) -> None:
    for number in range(400):
        watch._note(0.03, 0.0, (f"operation {number}", ""))
    assert len(watch.lost_seconds) <= 301
    assert watch.lost_seconds["other"] > 0


async def test_the_longest_turn_of_a_minute_is_forgotten_after_it() -> None:
    now = 0.0
    watch = LoopWatch(clock=lambda: now)
    watch._note(0.5, 0.0, ("old", ""))
    now = 30.0
    watch._note(0.1, 0.0, ("new", ""))
    assert watch.recent_longest.operation == "old"
    now = 61.0
    assert watch.recent_longest.operation == "new"
    now = 91.0
    assert watch.recent_longest == NO_TURN
    assert watch.longest.operation == "old"


@contextmanager
def waiting_thread() -> Iterator[int]:
    """A thread that waits in `inner`, which `outer` has called."""
    entered, leave = threading.Event(), threading.Event()

    def outer() -> None:
        inner()

    def inner() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=outer)
    thread.start()
    try:
        entered.wait()
        yield thread.ident or 0
    finally:
        leave.set()
        thread.join()


def test_a_stack_is_read_from_the_inside() -> None:
    with waiting_thread() as thread:
        seen = _stack(thread)
    names = [code.co_name for code, _, _ in seen]
    assert names.index("inner") < names.index("outer") < names.index("run")
    [(code, line, scope)] = [one for one in seen if one[0].co_name == "outer"]
    assert (line - code.co_firstlineno, scope["__name__"]) == (1, __name__)
    assert _stack(thread) == [], "it has ended"


def test_no_garbage_is_collected_while_a_stack_is_read() -> None:
    source, first = inspect.getsourcelines(_stack)
    [reading] = [first + number for number, line in enumerate(source) if "seen.extend" in line]
    collected_at: set[int] = set()

    def collecting(phase: str, info: dict[str, int]) -> None:
        caller = sys._getframe(1)
        if caller.f_code is _stack.__code__:
            collected_at.add(caller.f_lineno)

    before = gc.get_threshold()
    gc.callbacks.append(collecting)
    with waiting_thread() as thread:
        gc.set_threshold(1)
        try:
            seen = [_stack(thread) for _ in range(10)]
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(collecting)
    assert all(seen)
    assert gc.isenabled()
    assert reading not in collected_at
