"""Port of the queue store: durable first-in first-out lists of messages, by room and name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["DEFAULT_WINDOW", "QueueStore", "StoredMessage", "StoredQueue"]

DEFAULT_WINDOW = 1024
"""Messages that `open` and `load` return at most, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message. Within a queue a smaller `message_id` is nearer the front; ids have gaps."""

    message_id: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQueue:
    """A queue as it was when opened.

    Attributes:
        queue_id: Identifies this queue; one created later under the same name has another id.
        size: All messages in it.
        head: The first of them, at most the window asked for, and fewer if they are large.
    """

    queue_id: int
    size: int
    head: tuple[StoredMessage, ...]


class QueueStore(Protocol):
    """Queues of all rooms, for a service that keeps the head of each open queue in memory.

    The service opens a queue once, delivers messages from memory, and records here:

    * sent and stored: `append`, acknowledge the sender when the future is done;
    * received: `remove`, and deliver when the future is done (at most once: a crash in between loses the message,
      but never delivers it twice);
    * the receiver has left: `restore` puts the message back in its old place;
    * delivered directly to a waiting receiver: no store call, or `next_message_id` and `restore` if that failed.

    Writes are applied in the order of the calls, and reads see every earlier write.
    `tests/server/stores/test_queue_store_contract.py` specifies the behavior of every adapter.
    """

    async def open(
        self, room: str, name: str, *, create: bool = True, window: int = DEFAULT_WINDOW
    ) -> StoredQueue | None:
        """The queue with the head of its messages; None if it is missing and `create` is false.

        Raises:
            CorruptDataError: A message of the head is damaged.
            StoreFailedError: The disk could not be read, or the new queue not stored.
        """
        ...

    async def load(self, queue_id: int, *, after: int = 0, count: int = DEFAULT_WINDOW) -> list[StoredMessage]:
        """Messages whose id is greater than `after`, in order: at most `count`, fewer if large, none at the end."""
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

    def restore(self, queue_id: int, message: StoredMessage) -> asyncio.Future[int]:
        """Put a removed message back where its id belongs; the limit does not count. Errors as in `append`."""
        ...

    def remove(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        """Take messages out; the future gives how many were there, once it is durable. Errors as in `append`."""
        ...

    async def sizes(self, room: str) -> dict[str, int]:
        """Messages in each queue of the room, by name; empty queues are in it with 0."""
        ...

    async def drain(self, queue_id: int) -> int:
        """Remove all messages and return how many there were.

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
