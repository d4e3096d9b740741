"""Queues: named, durable, first in first out; each message goes to one receiver (protocol 10)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from meshagent.api.contracts import queues as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError, InvalidStateError, NotFoundError, RoomException
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import EncodedContent, ServedOperation, serve
from meshagent.server.kernel.participant import Participant
from meshagent.server.stores.queues import DEFAULT_WINDOW, QueueStore, StoredMessage, StoredQueue

log = logging.getLogger(__name__)

MAX_NAME_LENGTH = 255

_Waiter = tuple[Participant, "asyncio.Future[EncodedContent | Empty]"]


_Action = Callable[["_OpenQueue"], Awaitable[Any]]
_DeferredCall = tuple[bool, _Action, "asyncio.Future[Any]"]
"""A call that waits for its queue to open: whether it may create the queue, the action, and the result."""


class _OpenQueue:
    """An open queue, with its head in memory."""

    __slots__ = ("appending", "head", "name", "queue_id", "refilling", "stored", "waiters")

    def __init__(self, name: str, stored: StoredQueue) -> None:
        self.name = name
        self.queue_id = stored.queue_id
        self.head: deque[StoredMessage] = deque(stored.head)
        self.stored = stored.size
        """Stored messages that are not being delivered, including those in `head`."""
        self.appending = 0
        """Messages that are being stored."""
        self.refilling = False
        self.waiters: deque[_Waiter] = deque()

    def next_waiter(self) -> _Waiter | None:
        """The receiver that has waited longest."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter[1].done():
                return waiter
        return None

    @property
    def head_is_complete(self) -> bool:
        """Whether `head` contains all stored messages."""
        return len(self.head) == self.stored


class QueuesService:
    """Serves the `queues.*` operations of one room.

    `send` is answered when the message is on disk or was sent to a waiting receiver. A receiver gets a message when its
    removal is on disk: no message is delivered twice, and one that could not be delivered returns to its place. `size`
    does not count messages that are being delivered.

    Args:
        room: The room.
        store: Stores the messages.
        max_messages: Maximum number of messages in a queue.
    """

    def __init__(self, room: RoomContext, store: QueueStore, *, max_messages: int = 1_000_000) -> None:
        self._room_key = f"{room.project_id}/{room.storage_name}"
        self._room = room
        self._store = store
        self._max_messages = max_messages
        self._queues: dict[str, _OpenQueue] = {}
        self._opening: dict[str, asyncio.Task[_OpenQueue | None]] = {}
        self._deferred: dict[str, deque[_DeferredCall]] = {}
        self._closed = False

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.LIST, self.list, grant=lambda scope, _: scope.require_queue_list()),
            serve(api.OPEN, self.open, grant=lambda scope, request: scope.require_queue_send(request.name)),
            serve(api.SEND, self.send, grant=lambda scope, request: scope.require_queue_send(request.name)),
            serve(api.RECEIVE, self.receive, grant=lambda scope, request: scope.require_queue_receive(request.name)),
            serve(api.DRAIN, self.drain, grant=lambda scope, request: scope.require_queue_receive(request.name)),
            serve(api.CLOSE, self.close_queue, grant=lambda scope, request: scope.require_queue_receive(request.name)),
        ]

    # --- operations ----------------------------------------------------------------------------------

    async def list(self, caller: Participant, request: Empty) -> api.ListResult:
        """All queues of the room with their sizes, by name."""
        sizes = await self._store.sizes(self._room_key)
        return api.ListResult(queues=[api.QueueSize(name=name, size=size) for name, size in sorted(sizes.items())])

    async def open(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Create a queue, unless it exists."""
        await self._opened(request.name, create=True)
        return EMPTY

    def send(self, caller: Participant, request: api.SendRequest) -> Awaitable[Empty]:
        """Append a message.

        Raises:
            NotFoundError: There is no such queue, and `create` is false.
            LimitExceededError: The queue is full.
            StoreFailedError: The message may not be stored.
        """
        message = bytes(request.message)
        return self._in_order(request.name, request.create, lambda queue: self._send(queue, message))

    def receive(self, caller: Participant, request: api.ReceiveRequest) -> Awaitable[EncodedContent | Empty]:
        """Take the oldest message: the message itself, text for a string, empty for none.

        With `wait` it waits for a message without a time limit; a receiver that leaves while waiting takes none.

        Raises:
            NotFoundError: There is no such queue, and `create` is false.
        """
        return self._in_order(
            request.name, request.create, lambda queue: self._receive(queue, caller, wait=request.wait)
        )

    async def drain(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Remove all messages; receivers keep waiting."""
        queue = await self._opened(request.name, create=False)
        queue.head.clear()
        queue.stored = 0
        await self._store.drain(queue.queue_id)
        return EMPTY

    async def close_queue(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Delete a queue with its messages; waiting receivers get an empty answer."""
        queue = await self._opened(request.name, create=False)
        if self._queues.get(request.name) is queue:
            del self._queues[request.name]
        self._release_waiters(queue)
        await self._store.delete(queue.queue_id)
        return EMPTY

    def left(self, participant: Participant) -> None:
        """Remove the participant's waiting receives, which were cancelled with its connection."""
        for queue in self._queues.values():
            if any(waiter[0] is participant for waiter in queue.waiters):
                queue.waiters = deque(waiter for waiter in queue.waiters if waiter[0] is not participant)

    async def close(self) -> None:
        self._closed = True
        for queue in self._queues.values():
            self._release_waiters(queue)
        self._queues.clear()

    # --- opening -------------------------------------------------------------------------------------

    def _in_order(self, name: str, create: bool, action: _Action) -> Awaitable[Any]:
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
                    queue = await self._opened(name, create=deferred[0][0])
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

    async def _opened(self, name: str, *, create: bool) -> _OpenQueue:
        if not 0 < len(name) <= MAX_NAME_LENGTH:
            raise InvalidRequestError(f"a queue name must have 1 to {MAX_NAME_LENGTH} characters")
        while True:
            queue = self._queues.get(name)
            if queue is not None:
                return queue
            if self._closed:
                raise InvalidStateError("the room has ended")
            opening = self._opening.get(name)
            if opening is None:
                opening = self._opening[name] = asyncio.get_running_loop().create_task(self._load(name, create))
                opening.add_done_callback(lambda _: self._opening.pop(name, None))
            queue = await asyncio.shield(opening)
            if queue is not None:
                return queue
            if not create:
                raise NotFoundError(f"queue {name!r} not found")

    async def _load(self, name: str, create: bool) -> _OpenQueue | None:
        stored = await self._store.open(self._room_key, name, create=create)
        if stored is None:
            return None
        queue = self._queues[name] = _OpenQueue(name, stored)
        return queue

    # --- sending -------------------------------------------------------------------------------------

    def _send(self, queue: _OpenQueue, message: bytes) -> Awaitable[Empty]:
        if not queue.stored and not queue.appending:
            waiter = queue.next_waiter()
            if waiter is not None:
                return self._hand_over(queue, waiter, message)
        return self._append(queue, message)

    def _append(self, queue: _OpenQueue, message: bytes) -> Awaitable[Empty]:
        stored = self._store.append(queue.queue_id, message, limit=self._max_messages)
        queue.appending += 1
        answer: asyncio.Future[Empty] = asyncio.get_running_loop().create_future()

        def settle(done: asyncio.Future[int]) -> None:
            queue.appending -= 1
            error = InvalidStateError("the server is stopping") if done.cancelled() else done.exception()
            if error is not None:
                if not answer.done():
                    answer.set_exception(error)
                return
            if queue.head_is_complete and len(queue.head) < DEFAULT_WINDOW:
                queue.head.append(StoredMessage(done.result(), message))
            queue.stored += 1
            if not answer.done():
                answer.set_result(EMPTY)
            self._serve_waiters(queue)

        stored.add_done_callback(settle)
        return answer

    async def _hand_over(self, queue: _OpenQueue, waiter: _Waiter, message: bytes) -> Empty:
        """Deliver a message to a waiting receiver without storing it.

        The sender is answered when the bytes have been sent; if the receiver has left by then, the message is stored
        with the id that it would have had.
        """
        participant, future = waiter
        place = self._store.next_message_id()
        future.set_result(_content(message))
        if await participant.outbox.sent():
            return EMPTY
        log.info("%r left before it got its message; returning it to queue %s", participant, queue.name)
        await self._put_back(queue, StoredMessage(place, message))
        return EMPTY

    # --- receiving -----------------------------------------------------------------------------------

    def _receive(self, queue: _OpenQueue, caller: Participant, *, wait: bool) -> Awaitable[EncodedContent | Empty]:
        answer: asyncio.Future[EncodedContent | Empty] = asyncio.get_running_loop().create_future()
        if not wait and not queue.stored:
            answer.set_result(EMPTY)
            return answer
        queue.waiters.append((caller, answer))
        self._serve_waiters(queue)
        return answer

    def _serve_waiters(self, queue: _OpenQueue) -> None:
        while queue.stored and queue.waiters:
            if not queue.head:
                self._refill(queue)
                return
            waiter = queue.next_waiter()
            if waiter is None:
                return
            message = queue.head.popleft()
            queue.stored -= 1
            self._room.spawn(self._take(queue, waiter, message), name=f"receive from {queue.name}")

    async def _take(self, queue: _OpenQueue, waiter: _Waiter, message: StoredMessage) -> None:
        participant, future = waiter
        try:
            removed = await self._store.remove(queue.queue_id, [message.message_id])
        except RoomException as error:
            queue.head.appendleft(message)
            queue.stored += 1
            if not future.done():
                future.set_exception(error)
            return
        if not removed:  # drained or closed in the meantime
            if not future.done():
                queue.waiters.appendleft(waiter)
            return
        if not future.done():
            future.set_result(_content(message.body))
            if await participant.outbox.sent():
                return
        await self._put_back(queue, message)

    async def _put_back(self, queue: _OpenQueue, message: StoredMessage) -> None:
        """Store a message that could not be delivered, in its old place."""
        try:
            await self._store.restore(queue.queue_id, message)
        except NotFoundError:
            return  # the queue was closed in the meantime
        if not queue.head or message.message_id < queue.head[0].message_id:
            queue.head.appendleft(message)
        else:
            position = next(
                (index for index, held in enumerate(queue.head) if held.message_id > message.message_id),
                len(queue.head),
            )
            queue.head.insert(position, message)
        queue.stored += 1
        self._serve_waiters(queue)

    def _refill(self, queue: _OpenQueue) -> None:
        if not queue.refilling:
            queue.refilling = True
            self._room.spawn(self._load_more(queue), name=f"read on in {queue.name}")

    async def _load_more(self, queue: _OpenQueue) -> None:
        try:
            loaded = await self._store.load(queue.queue_id)
            queue.head.extend(loaded)
            if not loaded:
                queue.stored = 0
        finally:
            queue.refilling = False
        self._serve_waiters(queue)

    def _release_waiters(self, queue: _OpenQueue) -> None:
        while (waiter := queue.next_waiter()) is not None:
            waiter[1].set_result(EMPTY)


def _content(message: bytes) -> EncodedContent:
    """The message itself as a content: text for a string, json for everything else."""
    if message.lstrip()[:1] == b'"':
        header = b'{"type":"text","text":' + message + b"}"
    else:
        header = b'{"type":"json","json":' + message + b"}"
    return EncodedContent(header)


def _run_deferred(result: asyncio.Future[Any], action: _Action, queue: _OpenQueue) -> None:
    """Run a deferred call and pass its outcome to `result`; cancelling `result` cancels the call."""
    try:
        acting = asyncio.ensure_future(action(queue))
    except RoomException as error:
        _fail(result, error)
        return

    def copy(done: asyncio.Future[Any]) -> None:
        if result.done():
            return
        if done.cancelled():
            result.cancel()
        elif (error := done.exception()) is not None:
            result.set_exception(error)
        else:
            result.set_result(done.result())

    acting.add_done_callback(copy)
    result.add_done_callback(lambda done: acting.cancel() if done.cancelled() else None)


def _fail(result: asyncio.Future[Any], error: RoomException) -> None:
    if not result.done():
        result.set_exception(error)
