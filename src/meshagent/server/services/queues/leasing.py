"""Leases and delays of messages: taking, ending, extending them, and what happens when they expire (protocol 10.5)."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

from meshagent.api.contracts import queues as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError, LimitExceededError, RoomException
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.queues.deliveries import Delivery
from meshagent.server.services.queues.held import Held, HeldMessages
from meshagent.server.services.queues.open_queue import MAX_NAME_LENGTH, OpenQueue
from meshagent.server.stores.queues import QueueStore, StoredQueue

log = logging.getLogger(__name__)

MIN_LEASE_SECONDS: Final = 0.1
MAX_LEASE_SECONDS: Final = 12 * 3600
MAX_DELAY_SECONDS: Final = 7 * 24 * 3600
MAX_DEDUPLICATION_ID_LENGTH: Final = 128
MAX_LEASES: Final = 1000
"""Leases of one connection, with the receives that wait for one."""

DEAD_LETTER_SUFFIX: Final = ".dead"
"""Appended to a queue's name for messages that were leased too often."""

_RETRY_SECONDS = 1.0
"""Before another try to make a message ready when the disk refused."""


class Leasing:
    """The leases of one room.

    Args:
        room: The room.
        store: Keeps the leases.
        serve_waiters: Hands out the messages of a queue to those who wait.
    """

    def __init__(self, room: RoomContext, store: QueueStore, serve_waiters: Callable[[OpenQueue], None]) -> None:
        self._room = room
        self._store = store
        self._serve_waiters = serve_waiters
        self._leases: Counter[str] = Counter()
        self._awaited: dict[str, set[asyncio.Future[Any]]] = {}
        """Receives of each participant that may still take a lease."""

    def opened(self, name: str, stored: StoredQueue) -> OpenQueue:
        """An open queue, with the messages that the store holds."""

        def expired(messages: list[Held]) -> None:
            self._room.spawn(self._expire(queue, messages), name=f"leases and delays of {name} are over")

        queue = OpenQueue(name, stored, HeldMessages(stored.held, expired=expired, leases=self._leases))
        return queue

    def check(self, caller: Participant, request: api.ReceiveRequest) -> None:
        """Check the lease that a receive asks for.

        Raises:
            InvalidRequestError: A number is out of bounds.
            LimitExceededError: The caller has too many leases, or waits for too many.
        """
        if request.max_attempts is not None:
            if request.lease is None:
                raise InvalidRequestError("max_attempts needs a lease")
            if request.max_attempts < 1:
                raise InvalidRequestError("max_attempts must be at least 1")
            if len(request.name) + len(DEAD_LETTER_SUFFIX) > MAX_NAME_LENGTH:
                raise InvalidRequestError("the name is too long for a dead-letter queue")
        if request.lease is None:
            return
        _check_lease(request.lease)
        if self._held_or_awaited(caller.id) >= MAX_LEASES:
            raise LimitExceededError(f"this connection holds or awaits {MAX_LEASES} leases", limit=MAX_LEASES)

    def _held_or_awaited(self, participant_id: str) -> int:
        held, awaited = self._leases[participant_id], self._awaited.get(participant_id, ())
        if held + len(awaited) < MAX_LEASES:
            return held + len(awaited)
        return held + sum(not answer.done() for answer in awaited)  # the callbacks of others are still to run

    def await_lease(self, caller: Participant, answer: asyncio.Future[Any]) -> None:
        """Count a receive, which was checked, until it is answered: until then it may take a lease."""
        if not answer.done():
            self._awaited.setdefault(caller.id, set()).add(answer)
            answer.add_done_callback(partial(self._answered, caller.id))

    def _answered(self, participant_id: str, answer: asyncio.Future[Any]) -> None:
        awaited = self._awaited[participant_id]
        awaited.remove(answer)
        if not awaited:
            del self._awaited[participant_id]

    def take(self, delivery: Delivery, seconds: float) -> asyncio.Future[int]:
        """Begin to lease the message of a delivery."""
        message = delivery.message
        delivery.lease = f"{message.message_id}.{secrets.token_hex(8)}"
        return self._store.hold(
            delivery.queue.queue_id,
            message.message_id,
            lease=delivery.lease,
            attempts=message.attempts + 1,
            seconds=seconds,
        )

    def taken(self, delivery: Delivery, seconds: float) -> None:
        """The lease is on disk: it runs from now."""
        assert delivery.lease is not None
        message = delivery.message
        due = asyncio.get_running_loop().time() + seconds
        holder = delivery.waiter.participant.id
        delivery.is_leased = True
        attempts, size = message.attempts + 1, len(message.body)
        delivery.queue.held.add(Held(message.message_id, delivery.lease, attempts, due, size, holder))

    def give_back(self, delivery: Delivery) -> asyncio.Future[int] | None:
        """Undo the lease of a delivery that did not arrive; None if it was ended already."""
        queue, message = delivery.queue, delivery.message
        assert delivery.lease is not None
        if delivery.is_leased:
            try:
                queue.held.take(delivery.lease)
            except RoomException:
                return None
        self._store.hold(
            queue.queue_id, message.message_id, lease="", attempts=message.attempts, seconds=0
        ).add_done_callback(_retrieve)
        return self._store.make_ready(queue.queue_id, [message.message_id])

    async def ack(self, queue: OpenQueue, lease: str) -> Empty:
        """Remove a leased message for good."""
        with _taken(queue, lease) as held:
            await asyncio.shield(self._store.finish(queue.queue_id, held.message_id))
        return EMPTY

    async def release(self, queue: OpenQueue, lease: str, delay: float) -> Empty:
        """End a lease: the message can be received again, now or after a delay."""
        check_delay(delay)
        with _taken(queue, lease) as held:
            if delay:
                await self._hold(queue, replace(held, lease="", holder=None), delay)
            else:
                await self._make_ready(queue, [held])
        return EMPTY

    async def extend(self, queue: OpenQueue, lease: str, seconds: float) -> Empty:
        """Let a lease end `seconds` from now."""
        _check_lease(seconds)
        with _taken(queue, lease) as held:
            await self._hold(queue, held, seconds)
        return EMPTY

    async def _hold(self, queue: OpenQueue, held: Held, seconds: float) -> None:
        due = asyncio.get_running_loop().time() + seconds
        stored = self._store.hold(
            queue.queue_id, held.message_id, lease=held.lease, attempts=held.attempts, seconds=seconds
        )
        queue.held.add(replace(held, due=due))
        try:
            await asyncio.shield(stored)
        except RoomException:
            queue.held.discard(held.message_id)
            raise

    async def _make_ready(self, queue: OpenQueue, messages: list[Held]) -> None:
        ids = [held.message_id for held in messages]
        count = await asyncio.shield(self._store.make_ready(queue.queue_id, ids))
        if count:
            queue.came_back(min(ids), count, sum(held.size for held in messages))
            self._serve_waiters(queue)

    async def _expire(self, queue: OpenQueue, messages: list[Held]) -> None:
        try:
            await self._make_ready(queue, messages)
        except RoomException as error:
            log.warning("%d messages of queue %s stay held: %s", len(messages), queue.name, error)
            due = asyncio.get_running_loop().time() + _RETRY_SECONDS
            for held in messages:
                queue.held.add(replace(held, due=due))


def _check_lease(seconds: float) -> None:
    if not MIN_LEASE_SECONDS <= seconds <= MAX_LEASE_SECONDS:
        raise InvalidRequestError(f"a lease lasts {MIN_LEASE_SECONDS} to {MAX_LEASE_SECONDS} seconds")


def check_delay(seconds: float) -> None:
    """Check the seconds of a delay.

    Raises:
        InvalidRequestError: They are out of bounds.
    """
    if not 0 <= seconds <= MAX_DELAY_SECONDS:
        raise InvalidRequestError(f"a delay lasts 0 to {MAX_DELAY_SECONDS} seconds")


@contextmanager
def _taken(queue: OpenQueue, lease: str) -> Iterator[Held]:
    """A message taken out of the leases of its queue; it is put back if the store refuses what is done with it."""
    held = queue.held.take(lease)
    try:
        yield held
    except RoomException:
        queue.held.add(held)
        raise


def _retrieve(done: asyncio.Future[int]) -> None:
    """The write behind it fails as well, and is reported."""
    if not done.cancelled():
        done.exception()
