"""Queue store kept in memory: for tests and for rooms without persistence."""

from __future__ import annotations

import asyncio
import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.server.stores.queues import DEFAULT_WINDOW, QueueStore, StoredMessage, StoredQueue

__all__ = ["MemoryQueueStore"]


@dataclass(slots=True)
class _Queue:
    queue_id: int
    room: str
    name: str
    bodies: dict[int, bytes] = field(default_factory=dict)
    """By message id, in ascending order of the ids."""

    def load(self, after: int, count: int) -> list[StoredMessage]:
        behind = (StoredMessage(*item) for item in self.bodies.items() if item[0] > after)
        return list(itertools.islice(behind, count))


class MemoryQueueStore(QueueStore):
    """`QueueStore` without a disk; every write is done when the call returns."""

    def __init__(self) -> None:
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
        return StoredQueue(queue_id=queue.queue_id, size=len(queue.bodies), head=head)

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

    def restore(self, queue_id: int, message: StoredMessage) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        items = list(queue.bodies.items())
        bisect.insort(items, (message.message_id, message.body), key=lambda item: item[0])
        queue.bodies = dict(items)
        return _done(message.message_id)

    def remove(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        bodies = self._queue(queue_id).bodies
        return _done(sum(bodies.pop(message_id, None) is not None for message_id in message_ids))

    async def sizes(self, room: str) -> dict[str, int]:
        return {queue.name: len(queue.bodies) for queue in self._by_id.values() if queue.room == room}

    async def drain(self, queue_id: int) -> int:
        bodies = self._queue(queue_id).bodies
        count = len(bodies)
        bodies.clear()
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
