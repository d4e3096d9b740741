"""Queue store kept in memory: for tests and for rooms without persistence."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.server.stores.queues import (
    DEDUPLICATION_SECONDS,
    DEFAULT_WINDOW,
    MAX_DEDUPLICATION_IDS,
    HeldMessage,
    QueueStore,
    StoredMessage,
    StoredQueue,
)

__all__ = ["MemoryQueueStore"]


@dataclass(slots=True)
class _State:
    """A message that is held until `due`, or with `due` None was held before. Times are seconds of the wall clock."""

    lease: str
    attempts: int
    due: float | None
    duration: float = 0


@dataclass(slots=True)
class _Queue:
    queue_id: int
    room: str
    name: str
    bodies: dict[int, bytes] = field(default_factory=dict)
    """By message id, in ascending order of the ids."""
    states: dict[int, _State] = field(default_factory=dict)
    """By message id; only messages that are or were held have one."""
    sent: dict[str, float] = field(default_factory=dict)
    """When a deduplication id was used."""

    @property
    def held(self) -> int:
        return sum(state.due is not None for state in self.states.values())

    def load(self, after: int, count: int) -> list[StoredMessage]:
        behind = (self._message(message_id) for message_id in self.bodies if message_id > after)
        return list(itertools.islice((message for message in behind if message is not None), count))

    def _message(self, message_id: int) -> StoredMessage | None:
        state = self.states.get(message_id)
        if state is None:
            return StoredMessage(message_id, self.bodies[message_id])
        return StoredMessage(message_id, self.bodies[message_id], state.attempts) if state.due is None else None

    def knows(self, key: str, now: float) -> bool:
        """Whether a deduplication id is known; older ones are forgotten."""
        self.sent = {known: at for known, at in self.sent.items() if abs(now - at) < DEDUPLICATION_SECONDS}
        return key in self.sent

    def remember(self, key: str, now: float) -> bool:
        """Remember a deduplication id; False if it is known."""
        if self.knows(key, now):
            return False
        if len(self.sent) >= MAX_DEDUPLICATION_IDS:
            raise LimitExceededError("too many deduplication ids of this queue", limit=MAX_DEDUPLICATION_IDS)
        self.sent[key] = now
        return True


class MemoryQueueStore(QueueStore):
    """`QueueStore` without a disk; every write is done when the call returns."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._queue_ids = itertools.count(1)
        self._message_ids = itertools.count(1)
        self._by_name: dict[tuple[str, str], _Queue] = {}
        self._by_id: dict[int, _Queue] = {}

    async def open(
        self, room: str, name: str, *, create: bool = True, window: int = DEFAULT_WINDOW
    ) -> StoredQueue | None:
        queue = self._by_name.get((room, name))
        if queue is None:
            if not create:
                return None
            queue = _Queue(next(self._queue_ids), room, name)
            self._by_name[room, name] = self._by_id[queue.queue_id] = queue
        head = tuple(queue.load(0, window))
        now = self._now()
        held = tuple(
            HeldMessage(
                message_id,
                state.lease,
                state.attempts,
                min(max(state.due - now, 0), state.duration),
                len(queue.bodies[message_id]),
            )
            for message_id, state in sorted(queue.states.items())
            if state.due is not None
        )
        size_bytes = sum(map(len, queue.bodies.values())) - sum(message.size for message in held)
        size = len(queue.bodies) - len(held)
        return StoredQueue(queue_id=queue.queue_id, size=size, size_bytes=size_bytes, head=head, held=held)

    async def load(self, queue_id: int, *, after: int = 0, count: int = DEFAULT_WINDOW) -> list[StoredMessage]:
        queue = self._by_id.get(queue_id)
        return [] if queue is None else queue.load(after, count)

    def next_message_id(self) -> int:
        return next(self._message_ids)

    def append(self, queue_id: int, body: bytes, *, limit: int) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        if len(queue.bodies) >= limit:
            raise LimitExceededError(f"the queue {queue.name!r} is full", limit=limit)
        message_id = self.next_message_id()
        queue.bodies[message_id] = bytes(body)
        return _done(message_id)

    def append_once(
        self, queue_id: int, body: bytes, *, limit: int, delay: float = 0, deduplication_id: str | None = None
    ) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        if len(queue.bodies) >= limit:
            raise LimitExceededError(f"the queue {queue.name!r} is full", limit=limit)
        now = self._now()
        if deduplication_id is not None and not queue.remember(deduplication_id, now):
            return _done(0)
        message_id = self.next_message_id()
        queue.bodies[message_id] = bytes(body)
        if delay:
            queue.states[message_id] = _State("", 0, now + delay, delay)
        return _done(message_id)

    async def was_sent(self, queue_id: int, deduplication_id: str) -> bool:
        return self._queue(queue_id).knows(deduplication_id, self._now())

    def hold(self, queue_id: int, message_id: int, *, lease: str, attempts: int, seconds: float) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        if message_id not in queue.bodies:
            return _done(0)
        queue.states[message_id] = _State(lease, attempts, self._now() + seconds, seconds)
        return _done(1)

    def make_ready(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        states, count = self._queue(queue_id).states, 0
        for message_id in message_ids:
            state = states.get(message_id)
            if state is not None and state.due is not None:
                count += 1
                state.due, state.lease = None, ""
                if not state.attempts:
                    del states[message_id]
        return _done(count)

    def finish(self, queue_id: int, message_id: int) -> asyncio.Future[int]:
        self._queue(queue_id).states.pop(message_id, None)
        return self.remove(queue_id, [message_id])

    def move(self, queue_id: int, message_id: int, *, to: int) -> asyncio.Future[int]:
        queue, target = self._queue(queue_id), self._queue(to)
        queue.states.pop(message_id, None)
        body = queue.bodies.pop(message_id, None)
        if body is None:
            return _done(0)
        new_id = self.next_message_id()
        target.bodies[new_id] = body
        return _done(new_id)

    def restore(self, queue_id: int, message: StoredMessage) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        if message.attempts:
            queue.states[message.message_id] = _State("", message.attempts, None)
        items = list(queue.bodies.items())
        bisect.insort(items, (message.message_id, message.body), key=lambda item: item[0])
        queue.bodies = dict(items)
        return _done(message.message_id)

    def remove(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        bodies = self._queue(queue_id).bodies
        return _done(sum(bodies.pop(message_id, None) is not None for message_id in message_ids))

    async def sizes(self, room: str) -> dict[str, int]:
        return {queue.name: len(queue.bodies) - queue.held for queue in self._by_id.values() if queue.room == room}

    async def drain(self, queue_id: int) -> int:
        queue = self._queue(queue_id)
        count = len(queue.bodies)
        queue.bodies.clear()
        queue.states.clear()
        return count

    async def delete(self, queue_id: int) -> None:
        queue = self._queue(queue_id)
        del self._by_id[queue_id], self._by_name[queue.room, queue.name]

    async def delete_room(self, room: str) -> None:
        for queue in [queue for queue in self._by_id.values() if queue.room == room]:
            await self.delete(queue.queue_id)

    def _queue(self, queue_id: int) -> _Queue:
        try:
            return self._by_id[queue_id]
        except KeyError:
            raise NotFoundError("the queue was deleted or never opened") from None


def _done(value: int) -> asyncio.Future[int]:
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    done.set_result(value)
    return done
