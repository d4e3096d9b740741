"""Queues: named, durable, first in first out; each message goes to one receiver (protocol 10)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from meshagent.api.contracts import queues as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import (
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
    RoomException,
)
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import EncodedContent, ServedOperation, serve
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.queues.deliveries import Delivery, RecentDeliveries, find_waiter
from meshagent.server.services.queues.open_queue import MAX_NAME_LENGTH, OpenQueue, Waiter
from meshagent.server.stores.queues import QueueStore, StoredMessage

log = logging.getLogger(__name__)

_Action = Callable[[OpenQueue], Awaitable[Any]]
_DeferredCall = tuple[bool, _Action, "asyncio.Future[Any]"]
"""A call that waits for its queue to open: whether it may create the queue, the action, and the result."""

_BUSY_DISK_DELAY = 0.02
"""Seconds before another try to put a message back while too many writes wait for the disk."""


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
        self._queues: dict[str, OpenQueue] = {}
        self._opening: dict[str, asyncio.Task[OpenQueue | None]] = {}
        self._deferred: dict[str, deque[_DeferredCall]] = {}
        self._recent = RecentDeliveries()
        self._closed = False

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.LIST, self.list, grant=lambda scope, _: scope.require_queue_list()),
            serve(api.OPEN, self.open, grant=lambda scope, request: scope.require_queue_send(request.name)),
            serve(api.SEND, self.send, grant=lambda scope, request: scope.require_queue_send(request.name)),
            serve(api.RECEIVE, self.receive, grant=lambda scope, request: scope.require_queue_receive(request.name)),
            serve(
                api.CANCEL_RECEIVE,
                self.cancel_receive,
                grant=lambda scope, request: scope.require_queue_receive(request.name),
            ),
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
        return self._in_order(request.name, request.create, lambda queue: self._receive(queue, caller, request))

    def cancel_receive(self, caller: Participant, request: api.CancelReceiveRequest) -> Awaitable[api.CancelledReceive]:
        """Withdraw a receive of the same connection. A message that was handed over returns to its place.

        Raises:
            NotFoundError: There is no such queue.
        """
        return self._in_order(request.name, False, lambda queue: self._cancel(queue, caller, request.receive_id))

    async def drain(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Remove all messages; receivers keep waiting."""
        queue = await self._opened(request.name, create=False)
        queue.forget_messages()
        await self._store.drain(queue.queue_id)
        return EMPTY

    async def close_queue(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Delete a queue with its messages; waiting receivers get an empty answer."""
        queue = await self._opened(request.name, create=False)
        if self._queues.get(request.name) is queue:
            del self._queues[request.name]
        queue.withdraw_waiters()
        await self._store.delete(queue.queue_id)
        return EMPTY

    def left(self, participant: Participant) -> None:
        """Remove the participant's waiting receives, which were cancelled with its connection."""
        self._recent.forget(participant)
        for queue in self._queues.values():
            if any(waiter.participant is participant for waiter in queue.waiters):
                queue.waiters = deque(waiter for waiter in queue.waiters if waiter.participant is not participant)

    async def close(self) -> None:
        self._closed = True
        for queue in self._queues.values():
            queue.withdraw_waiters()
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

    async def _opened(self, name: str, *, create: bool) -> OpenQueue:
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

    async def _load(self, name: str, create: bool) -> OpenQueue | None:
        stored = await self._store.open(self._room_key, name, create=create)
        if stored is None:
            return None
        queue = self._queues[name] = OpenQueue(name, stored)
        return queue

    # --- sending -------------------------------------------------------------------------------------

    def _send(self, queue: OpenQueue, message: bytes) -> Awaitable[Empty]:
        if not queue.stored and not queue.appending:
            waiter = queue.next_waiter()
            if waiter is not None:
                return self._hand_over(queue, waiter, message)
        return self._append(queue, message)

    def _append(self, queue: OpenQueue, message: bytes) -> Awaitable[Empty]:
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
            queue.appended(StoredMessage(done.result(), message))
            if not answer.done():
                answer.set_result(EMPTY)
            self._serve_waiters(queue)

        stored.add_done_callback(settle)
        return answer

    def _hand_over(self, queue: OpenQueue, waiter: Waiter, message: bytes) -> Awaitable[Empty]:
        """Deliver a message to a waiting receiver without storing it.

        The receiver gets it before this returns: in a later turn of the loop it might have left. The sender is answered
        when the bytes have been sent; if the receiver has left by then, the message is stored with the id that it would
        have had.
        """
        delivery = Delivery(queue, waiter, StoredMessage(self._store.next_message_id(), message))
        self._recent.remember(delivery)
        waiter.answer.set_result(_content(message))
        return self._handed_over(delivery)

    async def _handed_over(self, delivery: Delivery) -> Empty:
        await self._see_off(delivery)
        return EMPTY

    async def _see_off(self, delivery: Delivery) -> None:
        """Wait until a delivery has been sent; if its receiver has left or cancelled by then, until it is put back."""
        if not await delivery.waiter.participant.outbox.sent() and delivery.returning is None:
            log.info(
                "%r left before it got its message; returning it to queue %s",
                delivery.waiter.participant,
                delivery.queue.name,
            )
            self._give_back(delivery)
        if delivery.returning is not None:
            await asyncio.shield(delivery.returning)

    # --- receiving -----------------------------------------------------------------------------------

    def _receive(
        self, queue: OpenQueue, caller: Participant, request: api.ReceiveRequest
    ) -> Awaitable[EncodedContent | Empty]:
        waiter = Waiter(caller, request)
        if not request.wait and not queue.stored:
            waiter.withdraw()
        else:
            queue.waiters.append(waiter)
            self._serve_waiters(queue)
        return waiter.answer

    def _cancel(self, queue: OpenQueue, caller: Participant, receive_id: int) -> Awaitable[api.CancelledReceive]:
        delivery = self._recent.pop(caller, receive_id)
        if delivery is None:
            waiter = find_waiter(queue.waiters, caller, receive_id)
            if waiter is not None:
                queue.waiters.remove(waiter)
                waiter.withdraw()
            return _cancelled("unknown" if waiter is None else "cancelled")
        delivery.waiter.withdraw()  # its removal from the store may be under way
        return _cancelled("returned", self._give_back(delivery))

    def _serve_waiters(self, queue: OpenQueue) -> None:
        while queue.stored and queue.waiters:
            if not queue.head:
                self._refill(queue)
                return
            waiter = queue.next_waiter()
            if waiter is None:
                return
            delivery = Delivery(queue, waiter, queue.take())
            message = delivery.message
            try:
                removed = self._store.remove(queue.queue_id, [message.message_id])
            except RoomException as error:
                queue.put_back(message)
                waiter.answer.set_exception(error)
                continue
            self._recent.remember(delivery)
            self._room.spawn(self._take(delivery, removed), name=f"receive from {queue.name}")

    async def _take(self, delivery: Delivery, removing: asyncio.Future[int]) -> None:
        queue, waiter, message = delivery.queue, delivery.waiter, delivery.message
        try:
            removed = await removing
        except RoomException as error:
            if delivery.returning is None:
                queue.put_back(message)
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
            return
        if delivery.returning is not None:
            return
        if not removed:  # drained or closed in the meantime
            if not waiter.answer.done():
                queue.waiters.appendleft(waiter)
                self._serve_waiters(queue)
        elif waiter.answer.done():
            self._give_back(delivery)
        else:
            waiter.answer.set_result(_content(message.body))
            await self._see_off(delivery)

    def _give_back(self, delivery: Delivery) -> asyncio.Task[None]:
        """Return a message that was not delivered to its place; a second call returns the same task."""
        if delivery.returning is None:
            queue, message = delivery.queue, delivery.message
            try:
                restored: asyncio.Future[int] | None = self._store.restore(queue.queue_id, message)
                queue.put_back(message)
            except (LimitExceededError, NotFoundError):
                restored = None
            work = self._put_back(queue, message, restored)
            delivery.returning = self._room.spawn(work, name=f"put back into {queue.name}")
            self._serve_waiters(queue)
        return delivery.returning

    async def _put_back(self, queue: OpenQueue, message: StoredMessage, restored: asyncio.Future[int] | None) -> None:
        try:
            while restored is None:
                try:
                    restored = self._store.restore(queue.queue_id, message)
                    queue.put_back(message)
                    self._serve_waiters(queue)
                except LimitExceededError:
                    await asyncio.sleep(_BUSY_DISK_DELAY)
            await restored
        except NotFoundError:
            return  # the queue was closed in the meantime
        except RoomException:
            if message in queue.head:
                queue.head.remove(message)
                queue.stored -= 1
            log.error("message %d of queue %s could not be put back", message.message_id, queue.name)
            raise

    def _refill(self, queue: OpenQueue) -> None:
        if not queue.refilling:
            queue.refilling = True
            self._room.spawn(self._load_more(queue), name=f"read on in {queue.name}")

    async def _load_more(self, queue: OpenQueue) -> None:
        try:
            while True:
                reads = queue.reads
                arrived = queue.arrived
                loaded = await self._store.load(queue.queue_id)
                if reads == queue.reads:
                    break
            queue.head = deque(loaded)
            if not loaded:
                queue.stored = queue.arrived - arrived
        finally:
            queue.refilling = False
        self._serve_waiters(queue)


def _content(message: bytes) -> EncodedContent:
    """The message itself as a content: text for a string, json for everything else."""
    if message.lstrip()[:1] == b'"':
        header = b'{"type":"text","text":' + message + b"}"
    else:
        header = b'{"type":"json","json":' + message + b"}"
    return EncodedContent(header)


async def _cancelled(
    outcome: Literal["cancelled", "returned", "unknown"], returning: asyncio.Task[None] | None = None
) -> api.CancelledReceive:
    if returning is not None:
        await asyncio.shield(returning)
    return api.CancelledReceive(outcome=outcome)


def _run_deferred(result: asyncio.Future[Any], action: _Action, queue: OpenQueue) -> None:
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
