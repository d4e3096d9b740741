"""How every queue store leases, delays, deduplicates and moves messages."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.api.errors import LimitExceededError
from meshagent.server.stores import memory_queues, sqlite_queue_states
from meshagent.server.stores.memory_queues import MemoryQueueStore
from meshagent.server.stores.queues import DEDUPLICATION_SECONDS, HeldMessage, QueueStore, StoredMessage, StoredQueue
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from tests.support.stores import open_commit_log

LIMIT = 1000


class Clock:
    """The wall clock, which somebody may set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[QueueStore]:
    if request.param == "memory":
        yield MemoryQueueStore(now=clock)
    else:
        async with open_commit_log(tmp_path) as log:
            yield await SqliteQueueStore.open_store(log, now=clock)


async def reopen(store: QueueStore, name: str = "jobs") -> StoredQueue:
    queue = await store.open("room", name)
    assert queue is not None
    return queue


async def test_a_held_message_is_left_out_and_comes_back_to_its_place(store: QueueStore) -> None:
    jobs = (await reopen(store)).queue_id
    first, second = [await store.append(jobs, body, limit=LIMIT) for body in (b"1", b"2")]
    assert await store.hold(jobs, first, lease="a", attempts=1, seconds=30) == 1
    opened = await reopen(store)
    assert (opened.size, opened.head) == (1, (StoredMessage(second, b"2"),))
    assert opened.held == (HeldMessage(first, "a", 1, 30, 1),)
    assert await store.sizes("room") == {"jobs": 1}
    assert await store.make_ready(jobs, [first, second, 10**9]) == 1
    opened = await reopen(store)
    assert (opened.size, opened.held) == (2, ())
    assert opened.head == (StoredMessage(first, b"1", 1), StoredMessage(second, b"2"))


async def test_a_finished_message_is_gone_with_its_lease(store: QueueStore) -> None:
    jobs = (await reopen(store)).queue_id
    message = await store.append(jobs, b"1", limit=1)
    await store.hold(jobs, message, lease="a", attempts=1, seconds=30)
    assert [await store.finish(jobs, message) for _ in range(2)] == [1, 0]
    assert await store.hold(jobs, message, lease="b", attempts=2, seconds=30) == 0
    assert (await reopen(store)).held == ()
    await store.append(jobs, b"2", limit=1)


@pytest.mark.parametrize(("jump", "left"), [(10, 20), (30, 0), (10**9, 0), (-(10**9), 30)])
async def test_a_clock_that_jumps_ends_no_hold_later_than_it_was_asked_for(
    store: QueueStore, clock: Clock, jump: float, left: float
) -> None:
    jobs = (await reopen(store)).queue_id
    await store.hold(jobs, await store.append(jobs, b"1", limit=LIMIT), lease="a", attempts=1, seconds=30)
    clock.now += jump
    assert [held.seconds for held in (await reopen(store)).held] == [left]


async def test_a_delayed_message_is_held_without_a_lease(store: QueueStore) -> None:
    jobs = (await reopen(store)).queue_id
    message = await store.append_once(jobs, b"later", limit=LIMIT, delay=5)
    opened = await reopen(store)
    assert (opened.size, opened.held) == (0, (HeldMessage(message, "", 0, 5, 5),))
    await store.make_ready(jobs, [message])
    assert await store.load(jobs) == [StoredMessage(message, b"later")]
    assert await store.remove(jobs, [message]) == 1


async def test_a_deduplication_id_is_remembered_for_its_time(store: QueueStore, clock: Clock) -> None:
    jobs, other = (await reopen(store)).queue_id, (await reopen(store, "other")).queue_id

    async def append(queue: int, key: str) -> bool:
        return bool(await store.append_once(queue, b"x", limit=LIMIT, deduplication_id=key))

    assert [await append(jobs, "a"), await append(jobs, "a"), await append(jobs, "b")] == [True, False, True]
    assert await append(other, "a")
    clock.now += DEDUPLICATION_SECONDS
    assert await append(jobs, "a")
    assert await store.sizes("room") == {"jobs": 3, "other": 1}


async def test_what_was_sent_is_known_in_its_queue_for_its_time(store: QueueStore, clock: Clock) -> None:
    jobs, other = (await reopen(store)).queue_id, (await reopen(store, "other")).queue_id
    assert not await store.was_sent(jobs, "a")
    assert await store.append_once(jobs, b"x", limit=1, deduplication_id="a")
    with pytest.raises(LimitExceededError):
        await store.append_once(jobs, b"x", limit=1, deduplication_id="b")
    assert [await store.was_sent(jobs, key) for key in ("a", "b", "a")] == [True, False, True]
    assert not await store.was_sent(other, "a")
    clock.now += DEDUPLICATION_SECONDS
    assert not await store.was_sent(jobs, "a")


async def test_deduplication_ids_are_bounded(store: QueueStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (memory_queues, sqlite_queue_states):
        monkeypatch.setattr(module, "MAX_DEDUPLICATION_IDS", 1)
    jobs = (await reopen(store)).queue_id
    await store.append_once(jobs, b"1", limit=2, deduplication_id="a")
    with pytest.raises(LimitExceededError):
        await store.append_once(jobs, b"2", limit=2, deduplication_id="b")
    await store.append(jobs, b"2", limit=2)
    assert await store.sizes("room") == {"jobs": 2}


async def test_a_moved_message_is_last_in_its_new_queue(store: QueueStore) -> None:
    jobs, dead = (await reopen(store)).queue_id, (await reopen(store, "dead")).queue_id
    message = await store.append(jobs, b"poison", limit=LIMIT)
    other = await store.append(dead, b"before", limit=LIMIT)
    await store.hold(jobs, message, lease="a", attempts=3, seconds=30)
    new_id = await store.move(jobs, message, to=dead)
    assert await store.load(dead) == [StoredMessage(other, b"before"), StoredMessage(new_id, b"poison")]
    assert await store.move(jobs, message, to=dead) == 0
    assert await store.sizes("room") == {"jobs": 0, "dead": 2}


async def test_a_restored_message_keeps_its_attempts(store: QueueStore) -> None:
    jobs = (await reopen(store)).queue_id
    message = await store.append(jobs, b"1", limit=LIMIT)
    await store.hold(jobs, message, lease="a", attempts=2, seconds=30)
    await store.make_ready(jobs, [message])
    await store.finish(jobs, message)
    await store.restore(jobs, StoredMessage(message, b"1", 2))
    assert await store.load(jobs) == [StoredMessage(message, b"1", 2)]


async def test_draining_and_deleting_take_held_messages_too(store: QueueStore) -> None:
    jobs = (await reopen(store)).queue_id
    await store.append_once(jobs, b"1", limit=1, delay=5)
    assert await store.drain(jobs) == 1
    assert (await reopen(store)).held == ()
    await store.append_once(jobs, b"2", limit=1, delay=5, deduplication_id="a")
    await store.delete(jobs)
    jobs = (await reopen(store)).queue_id
    assert (await reopen(store)).held == ()
    assert await store.append_once(jobs, b"2", limit=1, deduplication_id="a")


async def test_leases_outlive_the_process(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        store = await SqliteQueueStore.open_store(log)
        jobs = (await reopen(store)).queue_id
        message = await store.append(jobs, b"1", limit=LIMIT)
        await store.hold(jobs, message, lease="a", attempts=1, seconds=3600)
    async with open_commit_log(tmp_path) as log:
        opened = await reopen(await SqliteQueueStore.open_store(log))
        [held] = opened.held
        assert (held.message_id, held.lease, held.attempts, opened.size) == (message, "a", 1, 0)


async def test_a_damaged_message_is_set_aside_and_the_next_one_comes(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        store = await SqliteQueueStore.open_store(log)
        jobs = (await reopen(store)).queue_id
        first, second = [await store.append(jobs, body, limit=2) for body in (b"damaged", b"whole")]

        def damage(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE queue_messages SET body = x'00' WHERE id = ?", (first,))

        await log.submit(damage)
        assert await store.load(jobs) == [StoredMessage(second, b"whole")]
        assert await store.sizes("room") == {"jobs": 1}
        assert not log.health.healthy
        await store.append(jobs, b"new", limit=2)

        def kept(connection: sqlite3.Connection) -> list[tuple[int, bytes]]:
            return connection.execute("SELECT id, body FROM queue_damaged").fetchall()

        assert await log.read(kept) == [(first, b"\x00")]
