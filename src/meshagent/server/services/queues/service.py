"""Queues: named, durable, first in first out; each message goes to one receiver (protocol 10)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from typing import Literal

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
from meshagent.server.services.queues.held import Held
from meshagent.server.services.queues.leasing import (
    DEAD_LETTER_SUFFIX,
    MAX_DEDUPLICATION_ID_LENGTH,
    Leasing,
    check_delay,
)
from meshagent.server.services.queues.open_queue import OpenQueue, Waiter
from meshagent.server.services.queues.opening import OpenQueues
from meshagent.server.stores.queues import QueueStore, StoredMessage

log = logging.getLogger(__name__)

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
        max_bytes: Maximum bytes of them as JSON; what is leased or delayed counts.
    """

    def __init__(
        self, room: RoomContext, store: QueueStore, *, max_messages: int = 1_000_000, max_bytes: int = 1 << 30
    ) -> None:
        self._room = room
        self._store = store
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._recent = RecentDeliveries()
        self._leasing = Leasing(room, store, self._serve_waiters)
        self._queues = OpenQueues(room, store, self._leasing.opened)

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
            serve(api.ACK, self.ack, grant=lambda scope, request: scope.require_queue_receive(request.name)),
            serve(api.RELEASE, self.release, grant=lambda scope, request: scope.require_queue_receive(request.name)),
            serve(api.EXTEND, self.extend, grant=lambda scope, request: scope.require_queue_receive(request.name)),
            serve(api.DRAIN, self.drain, grant=lambda scope, request: scope.require_queue_receive(request.name)),
            serve(api.CLOSE, self.close_queue, grant=lambda scope, request: scope.require_queue_receive(request.name)),
        ]

    # --- operations ----------------------------------------------------------------------------------

    async def list(self, caller: Participant, request: Empty) -> api.ListResult:
        """All queues of the room with their sizes, by name."""
        sizes = await self._store.sizes(self._queues.room_key)
        return api.ListResult(queues=[api.QueueSize(name=name, size=size) for name, size in sorted(sizes.items())])

    async def open(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Create a queue, unless it exists."""
        await self._queues.opened(request.name, create=True)
        return EMPTY

    def send(self, caller: Participant, request: api.SendRequest) -> Awaitable[Empty]:
        """Append a message.

        Raises:
            NotFoundError: There is no such queue, and `create` is false.
            LimitExceededError: The queue is full.
            StoreFailedError: The message may not be stored.
        """
        message = bytes(request.message)
        delay, key = request.delay, request.deduplication_id
        if not delay and key is None:
            return self._queues.in_order(request.name, request.create, lambda queue: self._send(queue, message))
        check_delay(delay)
        if key is not None and not 0 < len(key) <= MAX_DEDUPLICATION_ID_LENGTH:
            raise InvalidRequestError(f"a deduplication id must have 1 to {MAX_DEDUPLICATION_ID_LENGTH} characters")
        return self._queues.in_order(
            request.name, request.create, lambda queue: self._send_once(queue, message, delay, key)
        )

    def receive(self, caller: Participant, request: api.ReceiveRequest) -> Awaitable[EncodedContent | Empty]:
        """Take the oldest message: the message itself, text for a string, empty for none.

        With `wait` it waits for a message without a time limit; a receiver that leaves while waiting takes none.

        Raises:
            NotFoundError: There is no such queue, and `create` is false.
            LimitExceededError: The caller holds and awaits too many leases.
        """
        if request.lease is None and request.max_attempts is None:
            return self._queues.in_order(
                request.name, request.create, lambda queue: self._receive(queue, caller, request)
            )
        self._leasing.check(caller, request)
        answer = asyncio.ensure_future(
            self._queues.in_order(request.name, request.create, lambda queue: self._receive(queue, caller, request))
        )
        self._leasing.await_lease(caller, answer)
        return answer

    def ack(self, caller: Participant, request: api.LeaseRequest) -> Awaitable[Empty]:
        """Remove a leased message for good.

        Raises:
            NotFoundError: There is no such queue, or the lease has ended.
        """
        return self._queues.in_order(request.name, False, lambda queue: self._leasing.ack(queue, request.lease))

    def release(self, caller: Participant, request: api.ReleaseRequest) -> Awaitable[Empty]:
        """End a lease: the message can be received again; errors as in `ack`."""
        return self._queues.in_order(
            request.name, False, lambda queue: self._leasing.release(queue, request.lease, request.delay)
        )

    def extend(self, caller: Participant, request: api.ExtendRequest) -> Awaitable[Empty]:
        """Let a lease end so many seconds from now; errors as in `ack`."""
        return self._queues.in_order(
            request.name, False, lambda queue: self._leasing.extend(queue, request.lease, request.seconds)
        )

    def cancel_receive(self, caller: Participant, request: api.CancelReceiveRequest) -> Awaitable[api.CancelledReceive]:
        """Withdraw a receive of the same connection. A message that was handed over returns to its place.

        Raises:
            NotFoundError: There is no such queue.
        """
        return self._queues.in_order(request.name, False, lambda queue: self._cancel(queue, caller, request.receive_id))

    async def drain(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Remove all messages; receivers keep waiting."""
        queue = await self._queues.opened(request.name, create=False)
        queue.forget_messages()
        await self._store.drain(queue.queue_id)
        return EMPTY

    async def close_queue(self, caller: Participant, request: api.QueueRequest) -> Empty:
        """Delete a queue with its messages; waiting receivers get an empty answer."""
        queue = await self._queues.opened(request.name, create=False)
        self._queues.forget(queue)
        await self._store.delete(queue.queue_id)
        return EMPTY

    def left(self, participant: Participant) -> None:
        """Remove the participant's waiting receives, which were cancelled with its connection."""
        self._recent.forget(participant)
        for queue in self._queues:
            if any(waiter.participant is participant for waiter in queue.waiters):
                queue.waiters = deque(waiter for waiter in queue.waiters if waiter.participant is not participant)

    async def close(self) -> None:
        self._queues.close()

    # --- sending -------------------------------------------------------------------------------------

    def _send(self, queue: OpenQueue, message: bytes) -> Awaitable[Empty]:
        if not queue.stored and not queue.appending and not queue.next_wants_lease():
            waiter = queue.next_waiter()
            if waiter is not None:
                return self._hand_over(queue, waiter, message)
        return self._append(queue, message)

    def _append(self, queue: OpenQueue, message: bytes) -> Awaitable[Empty]:
        queue.check_space(len(message), self._max_bytes)
        return self._appended(queue, message, self._store.append(queue.queue_id, message, limit=self._max_messages))

    def _send_once(self, queue: OpenQueue, message: bytes, delay: float, key: str | None) -> Awaitable[Empty]:
        try:
            queue.check_space(len(message), self._max_bytes)
            stored = self._store.append_once(
                queue.queue_id, message, limit=self._max_messages, delay=delay, deduplication_id=key
            )
        except LimitExceededError as refusal:
            if key is None:
                raise
            return self._sent_before(queue, key, refusal)
        return self._appended(queue, message, stored, delay)

    async def _sent_before(self, queue: OpenQueue, key: str, refusal: LimitExceededError) -> Empty:
        """Answer a message for which there is no place: nothing is refused that was sent before."""
        if not await self._store.was_sent(queue.queue_id, key):
            raise refusal
        return EMPTY

    def _appended(
        self, queue: OpenQueue, message: bytes, stored: asyncio.Future[int], delay: float = 0
    ) -> Awaitable[Empty]:
        """Wait until a message is stored: 0 for its id means that it was sent before."""
        due = asyncio.get_running_loop().time() + delay
        queue.appending += 1
        queue.stored_bytes += len(message)
        answer: asyncio.Future[Empty] = asyncio.get_running_loop().create_future()

        def settle(done: asyncio.Future[int]) -> None:
            queue.appending -= 1
            error = InvalidStateError("the server is stopping") if done.cancelled() else done.exception()
            if error is not None:
                queue.stored_bytes -= len(message)
                if not answer.done():
                    answer.set_exception(error)
                return
            message_id = done.result()
            if delay or not message_id:
                queue.stored_bytes -= len(message)
            if message_id and delay:
                queue.held.add(Held(message_id, "", 0, due, len(message)))
            elif message_id:
                queue.appended(StoredMessage(message_id, message))
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
            message, request = queue.take(), waiter.request
            if request.max_attempts is not None and message.attempts >= request.max_attempts:
                queue.waiters.appendleft(waiter)
                self._room.spawn(self._bury(queue, message), name=f"give up on a message of {queue.name}")
                continue
            delivery = Delivery(queue, waiter, message)
            try:
                taking = self._begin_taking(delivery)
            except RoomException as error:
                queue.put_back(message)
                waiter.answer.set_exception(error)
                continue
            self._recent.remember(delivery)
            self._room.spawn(self._take(delivery, taking), name=f"receive from {queue.name}")

    def _begin_taking(self, delivery: Delivery) -> asyncio.Future[int]:
        queue, message, lease = delivery.queue, delivery.message, delivery.waiter.request.lease
        if lease is not None:
            return self._leasing.take(delivery, lease)
        if message.attempts:
            return self._store.finish(queue.queue_id, message.message_id)
        return self._store.remove(queue.queue_id, [message.message_id])

    async def _bury(self, queue: OpenQueue, message: StoredMessage) -> None:
        """Move a message that was leased too often to the dead-letter queue."""
        try:
            dead = await self._queues.opened(queue.name + DEAD_LETTER_SUFFIX, create=True)
            dead.appending += 1
            try:
                moved = await self._store.move(queue.queue_id, message.message_id, to=dead.queue_id)
            finally:
                dead.appending -= 1
        except RoomException as error:
            log.error("a message of queue %s could not be moved to its dead-letter queue: %s", queue.name, error)
            queue.put_back(message)
            return
        log.warning("a message of queue %s was leased %d times: it is in %s", queue.name, message.attempts, dead.name)
        if moved:
            dead.stored_bytes += len(message.body)
            dead.appended(StoredMessage(moved, message.body))
            self._serve_waiters(dead)
        if not queue.stored:
            queue.withdraw_impatient()

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
                if not queue.stored:
                    queue.withdraw_impatient()
            return
        if delivery.lease is not None and waiter.request.lease is not None:
            self._leasing.taken(delivery, waiter.request.lease)
        if waiter.answer.done():
            self._give_back(delivery)
        else:
            content = _content(message.body) if delivery.lease is None else _leased(delivery.lease, message)
            waiter.answer.set_result(content)
            await self._see_off(delivery)

    def _give_back(self, delivery: Delivery) -> asyncio.Task[None]:
        """Return a message that was not delivered to its place; a second call returns the same task."""
        if delivery.returning is None:
            queue = delivery.queue
            work = self._put_back(delivery, self._begin_restoring(delivery))
            delivery.returning = self._room.spawn(work, name=f"put back into {queue.name}")
            self._serve_waiters(queue)
        return delivery.returning

    def _begin_restoring(self, delivery: Delivery) -> asyncio.Future[int] | None:
        """Begin to return a message to its place; None if the store takes no write now, or nothing is to be done."""
        queue, message = delivery.queue, delivery.message
        try:
            if delivery.lease is None:
                restored = self._store.restore(queue.queue_id, message)
            else:
                leased = self._leasing.give_back(delivery)
                if leased is None:
                    return _settled()
                restored = leased
        except LimitExceededError:
            return None
        except RoomException as error:
            return _settled(error)
        queue.put_back(message)
        return restored

    async def _put_back(self, delivery: Delivery, restored: asyncio.Future[int] | None) -> None:
        queue, message = delivery.queue, delivery.message
        try:
            while restored is None:
                await asyncio.sleep(_BUSY_DISK_DELAY)
                restored = self._begin_restoring(delivery)
                self._serve_waiters(queue)
            await restored
        except NotFoundError:
            return  # the queue was closed in the meantime
        except RoomException:
            if message in queue.head:
                queue.head.remove(message)
                queue.stored -= 1
                queue.stored_bytes -= len(message.body)
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
                if not queue.stored:
                    queue.stored_bytes = 0  # damaged messages were set aside
                    queue.withdraw_impatient()
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


def _leased(lease: str, message: StoredMessage) -> EncodedContent:
    """A leased message as a content: json with the message, the lease and the number of attempts."""
    return EncodedContent(
        b'{"type":"json","json":{"message":%b,"lease":"%b","attempts":%d}}'
        % (message.body, lease.encode(), message.attempts + 1)
    )


def _settled(error: RoomException | None = None) -> asyncio.Future[int]:
    settled: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    if error is None:
        settled.set_result(0)
    else:
        settled.set_exception(error)
    return settled


async def _cancelled(
    outcome: Literal["cancelled", "returned", "unknown"], returning: asyncio.Task[None] | None = None
) -> api.CancelledReceive:
    if returning is not None:
        await asyncio.shield(returning)
    return api.CancelledReceive(outcome=outcome)
