"""Any order of calls has the same outcome in memory and in SQLite, also when SQLite is opened anew in between."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from meshagent.api.errors import RoomException
from meshagent.server.stores.memory_queues import MemoryQueueStore
from meshagent.server.stores.queues import QueueStore, StoredMessage, StoredQueue
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from tests.support.hypothesis_profiles import examples
from tests.support.stores import open_commit_log

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NAMES = ("jobs", "other")
LIMIT = 6
BODIES = st.binary(min_size=1, max_size=20)
SECONDS = st.integers(1, 100)
SELDOM = st.sampled_from([None, None, None, None, *NAMES])
"""A queue that the message may not be in; mostly none, so that its own is used."""


@dataclass(frozen=True)
class Pair:
    """One message, by its ids in memory and in SQLite: its queue, its body, and its attempts when it was removed."""

    name: str
    ids: tuple[int, int]
    body: bytes
    attempts: int = 0


class QueueStores(RuleBasedStateMachine):
    """The two stores, which get the same calls."""

    messages: Bundle[Pair] = Bundle("messages")
    removed: Bundle[Pair] = Bundle("removed")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._folder = tempfile.TemporaryDirectory()
        self._now = 1_000_000.0
        self._memory = MemoryQueueStore(now=lambda: self._now)
        self._stack = AsyncExitStack()
        self._sqlite = self._runner.run(self._open())
        self._queue_ids: dict[str, tuple[int, int]] = {}
        self._memory_ids: dict[int, int] = {}
        """Ids in memory by those in SQLite; the newest message counts where SQLite used an id again."""

    async def _open(self) -> SqliteQueueStore:
        log = await self._stack.enter_async_context(open_commit_log(Path(self._folder.name)))
        return await SqliteQueueStore.open_store(log, now=lambda: self._now)

    def teardown(self) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.close()
        self._folder.cleanup()

    # -- the same call on both

    def _both(self, name: str, call: Any) -> tuple[Any, Any]:
        """The outcomes of `call(store, index, queue id)`; an error is its class."""
        queue = self._queue(name)
        memory = self._runner.run(_outcome(call, self._memory, 0, queue[0]))
        return memory, self._runner.run(_outcome(call, self._sqlite, 1, queue[1]))

    def _agree(self, name: str, call: Any) -> Any:
        memory, sqlite = self._both(name, call)
        assert memory == sqlite
        return memory

    @property
    def _stores(self) -> tuple[QueueStore, QueueStore]:
        return self._memory, self._sqlite

    def _queue(self, name: str) -> tuple[int, int]:
        if name not in self._queue_ids:
            opened = [self._runner.run(store.open("room", name)) for store in self._stores]
            assert opened[0] is not None
            assert opened[1] is not None
            self._queue_ids[name] = (opened[0].queue_id, opened[1].queue_id)
        return self._queue_ids[name]

    def _added(self, name: str, ids: tuple[Any, Any], body: bytes) -> Any:
        """The message that a call added; nothing if both refused or dropped it."""
        if isinstance(ids[0], type) or not ids[0]:
            assert ids[0] == ids[1]
            return multiple()
        self._memory_ids[ids[1]] = ids[0]
        return Pair(name, ids, body)

    def _is_known(self, message: Pair) -> bool:
        """Whether its id in SQLite is still its own: after a restart those of messages that are gone are used again."""
        return self._memory_ids.get(message.ids[1]) == message.ids[0]

    # -- rules

    @rule(target=messages, name=st.sampled_from(NAMES), body=BODIES)
    def append(self, name: str, body: bytes) -> Any:
        return self._added(name, self._both(name, lambda store, _, queue: store.append(queue, body, limit=LIMIT)), body)

    @rule(
        target=messages,
        name=st.sampled_from(NAMES),
        body=BODIES,
        delay=st.just(0) | SECONDS,
        key=st.none() | st.sampled_from("ab"),
    )
    def append_once(self, name: str, body: bytes, delay: int, key: str | None) -> Any:
        def call(store: QueueStore, _: int, queue: int) -> Any:
            return store.append_once(queue, body, limit=LIMIT, delay=delay, deduplication_id=key)

        return self._added(name, self._both(name, call), body)

    @rule(message=messages, elsewhere=SELDOM, lease=st.sampled_from(["", "l"]), seconds=SECONDS)
    def hold(self, message: Pair, elsewhere: str | None, lease: str, seconds: int) -> None:
        def call(store: QueueStore, index: int, queue: int) -> Any:
            return store.hold(queue, message.ids[index], lease=lease, attempts=len(lease), seconds=seconds)

        if self._is_known(message):
            self._agree(elsewhere or message.name, call)

    @rule(first=messages, some=st.lists(messages, max_size=2), elsewhere=SELDOM)
    def make_ready(self, first: Pair, some: list[Pair], elsewhere: str | None) -> None:
        def call(store: QueueStore, index: int, queue: int) -> Any:
            known = [one for one in (first, *some) if self._is_known(one)]
            return store.make_ready(queue, list({one.ids[index]: None for one in known}))

        self._agree(elsewhere or first.name, call)

    @rule(message=messages, elsewhere=SELDOM)
    def finish(self, message: Pair, elsewhere: str | None) -> None:
        if self._is_known(message):
            self._agree(elsewhere or message.name, lambda store, index, queue: store.finish(queue, message.ids[index]))

    @rule(target=removed, message=messages)
    def remove(self, message: Pair) -> Any:
        """Take out a message that can be received."""
        name = message.name
        there = {found.message_id: found for found in self._runner.run(self._memory.load(self._queue(name)[0]))}
        found = there.get(message.ids[0])
        if found is None or not self._is_known(message):
            return multiple()
        assert self._agree(name, lambda store, index, queue: store.finish(queue, message.ids[index])) == 1
        return Pair(name, message.ids, found.body, found.attempts)

    @rule(target=messages, message=consumes(removed))
    def restore(self, message: Pair) -> Any:
        if not self._is_known(message):
            return multiple()

        def call(store: QueueStore, index: int, queue: int) -> Any:
            return store.restore(queue, StoredMessage(message.ids[index], message.body, message.attempts))

        there = [self._runner.run(self._memory.load(queue[0])) for queue in self._queue_ids.values()]
        if any(found.message_id == message.ids[0] for head in there for found in head):
            return multiple()
        self._both(message.name, call)
        return Pair(message.name, message.ids, message.body)

    @rule(target=messages, to=st.sampled_from(NAMES), message=messages, elsewhere=SELDOM)
    def move(self, to: str, message: Pair, elsewhere: str | None) -> Any:
        if not self._is_known(message):
            return multiple()
        target = self._queue(to)

        def call(store: QueueStore, index: int, queue: int) -> Any:
            return store.move(queue, message.ids[index], to=target[index])

        return self._added(to, self._both(elsewhere or message.name, call), message.body)

    @rule(name=st.sampled_from(NAMES))
    def drain(self, name: str) -> None:
        self._agree(name, lambda store, _, queue: store.drain(queue))

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self._agree(name, lambda store, _, queue: store.delete(queue))
        self._agree(name, lambda store, _, queue: store.append(queue, b"x", limit=LIMIT))
        del self._queue_ids[name]

    @rule(seconds=st.integers(-50, 400))
    def set_the_clock(self, seconds: int) -> None:
        self._now += seconds

    @rule()
    def restart(self) -> None:
        self._runner.run(self._stack.aclose())
        self._sqlite = self._runner.run(self._open())
        self._queue_ids = {
            name: (ids[0], self._runner.run(_queue_id(self._sqlite, name))) for name, ids in self._queue_ids.items()
        }

    # -- what must be equal

    @invariant()
    def both_have_the_same(self) -> None:
        sizes = [self._runner.run(store.sizes("room")) for store in self._stores]
        assert sizes[0] == sizes[1]
        for name in self._queue_ids:
            memory, sqlite = [self._runner.run(store.open("room", name)) for store in self._stores]
            assert memory is not None
            assert sqlite is not None
            assert _content(memory, {}) == _content(sqlite, self._memory_ids)
            assert sizes[0][name] == memory.size


async def _outcome(call: Any, store: QueueStore, index: int, queue: int) -> Any:
    try:
        return await call(store, index, queue)
    except RoomException as error:
        return type(error)


async def _queue_id(store: QueueStore, name: str) -> int:
    opened = await store.open("room", name, create=False)
    assert opened is not None
    return opened.queue_id


def _content(queue: StoredQueue, ids: dict[int, int]) -> Any:
    """All of a queue but its id, with the ids of messages as in memory."""
    head = [(ids.get(one.message_id, one.message_id), one.body, one.attempts) for one in queue.head]
    held = [
        (ids.get(one.message_id, one.message_id), one.lease, one.attempts, one.seconds, one.size) for one in queue.held
    ]
    return queue.size, queue.size_bytes, head, sorted(held)


TestQueueStores = QueueStores.TestCase
TestQueueStores.settings = settings(max_examples=examples(40), stateful_step_count=25, deadline=None)
