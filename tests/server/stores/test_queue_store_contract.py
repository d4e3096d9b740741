"""How every queue store behaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.server.stores.memory_queues import MemoryQueueStore
from meshagent.server.stores.queues import QueueStore, StoredMessage, StoredQueue
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from tests.support.stores import open_commit_log

LIMIT = 1000


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[QueueStore]:
    if request.param == "memory":
        yield MemoryQueueStore()
    else:
        async with open_commit_log(tmp_path) as log:
            yield await SqliteQueueStore.open_store(log)


async def make(store: QueueStore, name: str = "jobs", room: str = "room") -> StoredQueue:
    queue = await store.open(room, name)
    assert queue is not None
    return queue


async def bodies(store: QueueStore, queue_id: int) -> list[bytes]:
    return [message.body for message in await store.load(queue_id)]


async def test_a_missing_queue_is_made_only_if_asked(store: QueueStore) -> None:
    assert await store.open("room", "jobs", create=False) is None
    made = await make(store)
    assert (made.size, made.head) == (0, ())
    assert await store.open("room", "jobs", create=False) == made
    assert await store.sizes("room") == {"jobs": 0}


async def test_messages_come_back_first_in_first_out(store: QueueStore) -> None:
    jobs, other = await make(store), await make(store, "other")
    futures = [
        store.append((jobs if number % 3 else other).queue_id, b"%d" % number, limit=LIMIT) for number in range(200)
    ]
    ids = [await future for future in futures]
    assert ids == sorted(set(ids))
    assert await bodies(store, jobs.queue_id) == [b"%d" % number for number in range(200) if number % 3]
    opened = await store.open("room", "jobs", window=2)
    assert opened is not None
    assert opened.size == 133
    assert opened.head == (StoredMessage(ids[1], b"1"), StoredMessage(ids[2], b"2"))
    assert [m.body for m in await store.load(jobs.queue_id, after=ids[2], count=2)] == [b"4", b"5"]


async def test_a_removed_message_is_gone_and_counted_once(store: QueueStore) -> None:
    jobs = await make(store)
    ids = [await store.append(jobs.queue_id, b"%d" % n, limit=LIMIT) for n in range(100)]
    removals = [store.remove(jobs.queue_id, [message_id]) for message_id in ids[:80]]
    again = store.remove(jobs.queue_id, [ids[0], ids[80], ids[80], 10**9])
    assert [await removal for removal in removals] == [1] * 80
    assert await again == 1
    assert await bodies(store, jobs.queue_id) == [b"%d" % n for n in range(81, 100)]
    assert await store.sizes("room") == {"jobs": 19}


async def test_a_message_is_removed_from_its_own_queue_only(store: QueueStore) -> None:
    jobs, other = await make(store), await make(store, "other")
    message_id = await store.append(jobs.queue_id, b"work", limit=LIMIT)
    assert await store.remove(other.queue_id, [message_id]) == 0
    assert await store.sizes("room") == {"jobs": 1, "other": 0}


async def test_a_restored_message_is_back_at_its_place(store: QueueStore) -> None:
    jobs = await make(store)
    ids = [await store.append(jobs.queue_id, b"%d" % n, limit=LIMIT) for n in range(3)]
    await store.remove(jobs.queue_id, ids[:2])
    await store.restore(jobs.queue_id, StoredMessage(ids[1], b"1"))
    await store.restore(jobs.queue_id, StoredMessage(ids[0], b"0"))
    assert await bodies(store, jobs.queue_id) == [b"0", b"1", b"2"]


async def test_a_message_that_was_never_stored_can_be_put_back(store: QueueStore) -> None:
    jobs = await make(store)
    handed_over = store.next_message_id()
    await store.append(jobs.queue_id, b"second", limit=LIMIT)
    await store.restore(jobs.queue_id, StoredMessage(handed_over, b"first"))
    assert await bodies(store, jobs.queue_id) == [b"first", b"second"]


async def test_a_full_queue_refuses_and_takes_again_after_a_removal(store: QueueStore) -> None:
    jobs = await make(store)
    first = store.append(jobs.queue_id, b"1", limit=2)
    second = store.append(jobs.queue_id, b"2", limit=2)
    with pytest.raises(LimitExceededError) as refused:
        store.append(jobs.queue_id, b"3", limit=2)
    assert refused.value.limit == 2
    await store.remove(jobs.queue_id, [await first])
    await second
    await store.append(jobs.queue_id, b"3", limit=2)
    with pytest.raises(LimitExceededError):
        store.append(jobs.queue_id, b"4", limit=2)
    assert await bodies(store, jobs.queue_id) == [b"2", b"3"]


async def test_a_cancelled_append_still_counts(store: QueueStore) -> None:
    jobs = await make(store)
    store.append(jobs.queue_id, b"1", limit=1).cancel()
    assert await store.sizes("room") == {"jobs": 1}
    with pytest.raises(LimitExceededError):
        store.append(jobs.queue_id, b"2", limit=1)


async def test_draining_empties_and_makes_room(store: QueueStore) -> None:
    jobs, other = await make(store), await make(store, "other")
    store.append(jobs.queue_id, b"1", limit=2)
    store.append(jobs.queue_id, b"2", limit=2)
    store.append(other.queue_id, b"kept", limit=2)
    assert await store.drain(jobs.queue_id) == 2
    assert await store.sizes("room") == {"jobs": 0, "other": 1}
    await store.append(jobs.queue_id, b"3", limit=1)
    assert await bodies(store, jobs.queue_id) == [b"3"]


async def test_a_deleted_queue_is_gone_with_its_messages(store: QueueStore) -> None:
    old = await make(store)
    await store.append(old.queue_id, b"old", limit=LIMIT)
    await store.delete(old.queue_id)
    assert await store.sizes("room") == {}
    with pytest.raises(NotFoundError):
        await store.append(old.queue_id, b"late", limit=LIMIT)
    with pytest.raises(NotFoundError):
        await store.delete(old.queue_id)
    with pytest.raises(NotFoundError):
        await store.drain(old.queue_id)
    new = await make(store)
    assert (new.size, new.queue_id != old.queue_id) == (0, True)
    assert await store.load(new.queue_id) == []


async def test_queues_belong_to_their_room(store: QueueStore) -> None:
    mine, theirs = await make(store), await make(store, room="another room")
    await store.append(theirs.queue_id, b"theirs", limit=LIMIT)
    assert await store.sizes("room") == {"jobs": 0}
    await store.delete_room("room")
    assert await store.sizes("room") == {}
    with pytest.raises(NotFoundError):
        await store.append(mine.queue_id, b"late", limit=LIMIT)
    assert await bodies(store, theirs.queue_id) == [b"theirs"]
