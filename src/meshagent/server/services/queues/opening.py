"""The queues of a room that are open, and calls that wait for one to open."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from meshagent.api.errors import InvalidRequestError, InvalidStateError, NotFoundError, RoomException
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.futures import pass_on
from meshagent.server.services.queues.open_queue import MAX_NAME_LENGTH, OpenQueue
from meshagent.server.stores.queues import QueueStore, StoredQueue

_Action = Callable[[OpenQueue], Awaitable[Any]]
_DeferredCall = tuple[bool, _Action, "asyncio.Future[Any]"]
"""A call that waits for its queue to open: whether it may create the queue, the action, and the result."""


class OpenQueues:
    """The open queues of one room.

    Args:
        room: The room.
        store: Has the queues.
        make: Makes an open queue of a name and what is stored.

    Attributes:
        room_key: Names the room in the store.
    """

    def __init__(self, room: RoomContext, store: QueueStore, make: Callable[[str, StoredQueue], OpenQueue]) -> None:
        self.room_key = f"{room.project_id}/{room.storage_name}"
        self._room = room
        self._store = store
        self._make = make
        self._queues: dict[str, OpenQueue] = {}
        self._opening: dict[str, asyncio.Task[OpenQueue | None]] = {}
        self._deferred: dict[str, deque[_DeferredCall]] = {}
        self._closed = False

    def __iter__(self) -> Iterator[OpenQueue]:
        return iter(self._queues.values())

    def forget(self, queue: OpenQueue) -> None:
        """The queue is deleted; those who wait for its messages get an empty answer."""
        if self._queues.get(queue.name) is queue:
            del self._queues[queue.name]
        queue.withdraw_waiters()
        queue.held.clear()

    def close(self) -> None:
        """The room has ended."""
        self._closed = True
        for queue in list(self._queues.values()):
            self.forget(queue)

    def in_order(self, name: str, create: bool, action: _Action) -> Awaitable[Any]:
        """Run `action` on the queue, in the order of the calls: now if it is open, otherwise when it has opened."""
        queue = self._queues.get(name)
        deferred = self._deferred.get(name)
        if queue is not None and deferred is None:
            return action(queue)
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if deferred is None:
            deferred = self._deferred[name] = deque()
            self._room.spawn(self._open_for(name, deferred), name=f"open the queue {name}")
        deferred.append((create, action, result))
        return result

    async def _open_for(self, name: str, deferred: deque[_DeferredCall]) -> None:
        """Open a queue, and run the deferred calls in their order, before any later call."""
        try:
            while deferred:
                try:
                    queue = await self.opened(name, create=deferred[0][0])
                except RoomException as error:
                    _fail(deferred.popleft()[2], error)
                    continue
                while deferred:
                    _, action, result = deferred.popleft()
                    if not result.done():
                        _run_deferred(result, action, queue)
        finally:
            del self._deferred[name]
            for _, _, result in deferred:
                _fail(result, InvalidStateError("the room has ended"))

    async def opened(self, name: str, *, create: bool) -> OpenQueue:
        """The queue.

        Raises:
            NotFoundError: There is no such queue, and `create` is false.
            InvalidRequestError: The name is empty or too long.
            InvalidStateError: The room has ended.
        """
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            raise InvalidRequestError(f"a queue name must have 1 to {MAX_NAME_LENGTH} characters")
        while True:
            queue = self._queues.get(name)
            if queue is not None:
                return queue
            if self._closed:
                raise InvalidStateError("the room has ended")
            opening = self._opening.get(name)
            if opening is None or opening.done():  # awaiting one that is done would not let the loop go on
                opening = self._opening[name] = asyncio.get_running_loop().create_task(self._load(name, create))
                opening.add_done_callback(partial(self._opened, name))
            queue = await asyncio.shield(opening)
            if queue is not None:
                return queue
            if not create:
                raise NotFoundError(f"queue {name!r} not found")

    def _opened(self, name: str, opening: asyncio.Task[OpenQueue | None]) -> None:
        if self._opening.get(name) is opening:
            del self._opening[name]

    async def _load(self, name: str, create: bool) -> OpenQueue | None:
        stored = await self._store.open(self.room_key, name, create=create)
        if stored is None:
            return None
        queue = self._queues[name] = self._make(name, stored)
        return queue


def _run_deferred(result: asyncio.Future[Any], action: _Action, queue: OpenQueue) -> None:
    """Run a deferred call and pass its outcome to `result`; cancelling `result` cancels the call."""
    try:
        acting = asyncio.ensure_future(action(queue))
    except RoomException as error:
        _fail(result, error)
        return

    pass_on(acting, result)
    result.add_done_callback(lambda done: acting.cancel() if done.cancelled() else None)


def _fail(result: asyncio.Future[Any], error: RoomException) -> None:
    if not result.done():
        result.set_exception(error)
