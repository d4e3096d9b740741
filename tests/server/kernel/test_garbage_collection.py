"""Short pauses of the garbage collector in a process that serves."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from meshagent.server.kernel import garbage_collection
from meshagent.server.kernel.garbage_collection import short_collections
from meshagent.server.kernel.loop_watch import GARBAGE_COLLECTION, LoopWatch
from meshagent.server.kernel.running_operation import RunningOperation

pytestmark = pytest.mark.slow  # each looks at all objects of the tests


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.freeze()  # as tests/conftest.py has it


class Node:
    """An object of a cycle."""

    def __init__(self) -> None:
        self.itself = self


async def test_a_full_collection_looks_only_at_what_is_new() -> None:
    with short_collections(lambda _: None):
        old = [Node() for _ in range(1000)]
        gc.collect()
        assert not any(isinstance(one, list) and one is old for one in gc.get_objects())
        new = [Node() for _ in range(10)]
        assert any(one is new for one in gc.get_objects())


async def test_cycles_among_old_objects_are_collected_when_nothing_is_to_be_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage_collection, "_INTERVAL", 0.01)
    monkeypatch.setattr(garbage_collection, "_IDLE_SHARE", 1000.0)
    monkeypatch.setattr(garbage_collection, "_WORTHWHILE_OBJECTS", 100)
    all_freed = asyncio.Event()
    with short_collections(lambda _: None):
        old = [Node() for _ in range(1000)]
        weakref.finalize(old[0], all_freed.set)
        gc.collect()
        old.clear()
        gc.collect()
        assert not all_freed.is_set()
        async with asyncio.timeout(10):
            await all_freed.wait()


async def test_a_process_is_as_before_when_the_block_is_left() -> None:
    before, thresholds = len(gc.callbacks), gc.get_threshold()
    with short_collections(lambda _: None):
        assert len(gc.callbacks) == before + 1
    assert len(gc.callbacks) == before
    assert gc.get_threshold() == thresholds
    assert gc.get_freeze_count() == 0


async def test_turns_that_the_collector_makes_long_are_its_own() -> None:
    running = RunningOperation()
    running.name = "storage.list"
    now = 0.0
    watch = LoopWatch(running=running, clock=lambda: now)
    watch.start()
    try:
        now += 0.5
        watch.collected(0.4)
        await watch.settle()
        assert watch.longest.operation == GARBAGE_COLLECTION
    finally:
        watch.close()
