"""Port of the queue store: durable first-in first-out lists of messages, by room and name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = [
    "DEDUPLICATION_SECONDS",
    "DEFAULT_WINDOW",
    "MAX_DEDUPLICATION_IDS",
    "HeldMessage",
    "QueueStore",
    "StoredMessage",
    "StoredQueue",
]

DEFAULT_WINDOW = 1024
"""Messages that `open` and `load` return at most, unless told otherwise."""

DEDUPLICATION_SECONDS = 300
"""How long a deduplication id is remembered, by the wall clock."""

MAX_DEDUPLICATION_IDS = 100_000
"""Deduplication ids remembered for one queue."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message. Within a queue a smaller `message_id` is nearer the front; ids have gaps.

    `attempts` counts how often it was leased.
    """

    message_id: int
    body: bytes
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that is leased or delayed.

    Attributes:
        message_id: Which.
        lease: The lease's id; empty for a delay.
        attempts: How often it was leased.
        seconds: How long it stays so; never more than it was held for, whatever the clock did meanwhile.
        size: Bytes of its body.
    """

    message_id: int
    lease: str
    attempts: int
    seconds: float
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQueue:
    """A queue as it was when opened.

    Attributes:
        queue_id: Identifies this queue; one created later under the same name has another id.
        size: All messages in it that can be received.
        size_bytes: The bytes of their bodies.
        head: The first of them, at most the window asked for, and fewer if they are large.
        held: Messages that are leased or delayed.
    """

    queue_id: int
    size: int
    size_bytes: int
    head: tuple[StoredMessage, ...]
    held: tuple[HeldMessage, ...] = ()


class QueueStore(Protocol):
    """Queues of all rooms, for a service that keeps the head of each open queue in memory.

    The service opens a queue once, delivers messages from memory, and records here:

    * sent and stored: `append`, acknowledge the sender when the future is done;
    * received: `remove`, and deliver when the future is done (at most once: a crash in between loses the message,
      but never delivers it twice);
    * the receiver has left: `restore` puts the message back in its old place;
    * received with a lease: `hold`, and deliver when the future is done; later `finish`, or `make_ready`;
    * delivered directly to a waiting receiver: no store call, or `next_message_id` and `restore` if that failed.

    Writes are applied in the order of the calls, and reads see every earlier write. A message that is damaged on the
    disk is set aside, logged and reported to the health monitor; the next one takes its place.
    `tests/server/stores/test_queue_store_contract.py` specifies the behavior of every adapter.
    """

    async def open(
        self, room: str, name: str, *, create: bool = True, window: int = DEFAULT_WINDOW
    ) -> StoredQueue | None:
        """The queue with the head of its messages; None if it is missing and `create` is false.

        Raises:
            StoreFailedError: The disk could not be read, or the new queue not stored.
        """
        ...

    async def load(self, queue_id: int, *, after: int = 0, count: int = DEFAULT_WINDOW) -> list[StoredMessage]:
        """Messages that can be received, with ids greater than `after`, in order: at most `count`, fewer if large."""
        ...

    def next_message_id(self) -> int:
        """An id greater than that of every message appended so far, in any queue."""
        ...

    def append(self, queue_id: int, body: bytes, *, limit: int) -> asyncio.Future[int]:
        """Add a message at the end; the future gives its id once it is durable.

        Cancelling the future does not undo it.

        Raises:
            LimitExceededError: At once: the queue holds `limit` messages, counting those not yet on
                disk, or too many writes are waiting for the disk. Nothing was stored.
            NotFoundError: At once or from the future: the queue was deleted or never opened.
            StoreFailedError: From the future: the message may not be stored.
        """
        ...

    def append_once(
        self, queue_id: int, body: bytes, *, limit: int, delay: float = 0, deduplication_id: str | None = None
    ) -> asyncio.Future[int]:
        """As `append`; with a delay in seconds the message is held for so long, see `hold`.

        The future gives 0 if a message with the same id was appended in the last `DEDUPLICATION_SECONDS`.

        Raises:
            LimitExceededError: Also from the future: too many ids are remembered. At once for a full queue, even if
                the message was sent before: `was_sent` tells.
        """
        ...

    async def was_sent(self, queue_id: int, deduplication_id: str) -> bool:
        """Whether `append_once` would find that a message with this id was appended. Remembers nothing."""
        ...

    def hold(self, queue_id: int, message_id: int, *, lease: str, attempts: int, seconds: float) -> asyncio.Future[int]:
        """Hold a message, or hold it longer: `load` leaves it out. The future gives 0 if there is no such message."""
        ...

    def make_ready(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        """End the holding of messages; the future gives how many there were. They keep their place and attempts."""
        ...

    def finish(self, queue_id: int, message_id: int) -> asyncio.Future[int]:
        """As `remove`, for a message that was held."""
        ...

    def move(self, queue_id: int, message_id: int, *, to: int) -> asyncio.Future[int]:
        """Move a message to the end of another queue, whose limit does not count.

        The future gives its new id, or 0 if there is no such message. Its attempts are forgotten.
        """
        ...

    def restore(self, queue_id: int, message: StoredMessage) -> asyncio.Future[int]:
        """Put a removed message back where its id belongs; the limit does not count. Errors as in `append`."""
        ...

    def remove(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        """Take messages out; the future gives how many were there, once it is durable. Errors as in `append`."""
        ...

    async def sizes(self, room: str) -> dict[str, int]:
        """Messages that can be received, for each queue of the room by name; empty queues are in it with 0."""
        ...

    async def drain(self, queue_id: int) -> int:
        """Remove all messages, held ones too, and return how many there were.

        Raises:
            NotFoundError: The queue was deleted.
        """
        ...

    async def delete(self, queue_id: int) -> None:
        """Remove the queue with its messages.

        Raises:
            NotFoundError: It was deleted before.
        """
        ...

    async def delete_room(self, room: str) -> None:
        """Remove every queue of the room."""
        ...
