"""An open queue with its head in memory, and the receivers that wait for its messages."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from meshagent.api.contracts import queues as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import LimitExceededError
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.queues.held import HeldMessages
from meshagent.server.stores.queues import DEFAULT_WINDOW, StoredMessage, StoredQueue

MAX_NAME_LENGTH: Final = 255


class Waiter:
    """A receive that waits for a message, and its answer."""

    __slots__ = ("answer", "participant", "request")

    def __init__(self, participant: Participant, request: api.ReceiveRequest) -> None:
        self.participant = participant
        self.request = request
        self.answer: asyncio.Future[EncodedContent | Empty] = asyncio.get_running_loop().create_future()

    def withdraw(self) -> None:
        """Answer that there is no message."""
        if not self.answer.done():
            self.answer.set_result(EMPTY)


class OpenQueue:
    """An open queue, with its head in memory."""

    __slots__ = (
        "appending",
        "arrived",
        "head",
        "held",
        "name",
        "queue_id",
        "reads",
        "refilling",
        "stored",
        "stored_bytes",
        "waiters",
    )

    def __init__(self, name: str, stored: StoredQueue, held: HeldMessages) -> None:
        self.name = name
        self.queue_id = stored.queue_id
        self.head: deque[StoredMessage] = deque(stored.head)
        self.held = held
        self.stored = stored.size
        """Stored messages that are not being delivered, including those in `head`."""
        self.stored_bytes = stored.size_bytes
        """The bytes of those, and of messages that are being stored."""
        self.arrived = 0
        """Counts messages that were stored behind all others."""
        self.appending = 0
        """Messages that are being stored."""
        self.refilling = False
        self.reads = 0
        """Counts changes that a reading of the store in progress may have missed or seen twice."""
        self.waiters: deque[Waiter] = deque()

    def next_waiter(self) -> Waiter | None:
        """Take the receiver that has waited longest out of the line."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.answer.done():
                return waiter
        return None

    @property
    def head_is_complete(self) -> bool:
        """Whether `head` contains all stored messages."""
        return len(self.head) == self.stored

    def appended(self, message: StoredMessage) -> None:
        """A message was stored behind all others."""
        if not self.refilling and self.head_is_complete and len(self.head) < DEFAULT_WINDOW:
            self.head.append(message)
        self.stored += 1
        self.arrived += 1

    def take(self) -> StoredMessage:
        """Take the first message of `head`, which is not empty."""
        message = self.head.popleft()
        self.stored -= 1
        self.stored_bytes -= len(message.body)
        return message

    def put_back(self, message: StoredMessage) -> None:
        """A message has returned to the store: it takes its place in `head` if that is where it belongs."""
        self.stored += 1
        self.stored_bytes += len(message.body)
        head = self.head
        if self.refilling:
            self.reads += 1
        elif head and message.message_id < head[0].message_id:
            head.appendleft(message)
        elif head and message.message_id < head[-1].message_id:
            head.insert(next(index for index, held in enumerate(head) if held.message_id > message.message_id), message)
        elif len(head) == self.stored - 1:
            head.append(message)

    def came_back(self, first: int, count: int, size: int) -> None:
        """Messages that were held can be received again; `first` is the smallest of their ids, `size` their bytes."""
        is_complete = self.head_is_complete
        self.stored += count
        self.stored_bytes += size
        if self.refilling:
            self.reads += 1
        elif self.head and (is_complete or first < self.head[-1].message_id):
            self.head.clear()  # read again when somebody receives

    def forget_messages(self) -> None:
        """All messages were removed."""
        self.held.clear()
        self.head.clear()
        self.stored = self.stored_bytes = 0
        self.reads += 1

    def check_space(self, size: int, limit: int) -> None:
        """Check that a message of that many bytes has a place beside those that can be received and those held.

        Raises:
            LimitExceededError: The queue is full.
        """
        if self.stored_bytes + self.held.size_bytes + size > limit:
            raise LimitExceededError(f"the queue {self.name!r} is full: it may have {limit} bytes", limit=limit)

    def next_wants_lease(self) -> bool:
        """Whether the receiver that has waited longest asks for a lease."""
        while self.waiters and self.waiters[0].answer.done():
            self.waiters.popleft()
        return bool(self.waiters) and self.waiters[0].request.lease is not None

    def withdraw_impatient(self) -> None:
        """Answer those that do not want to wait that there is no message."""
        for waiter in self.waiters:
            if not waiter.request.wait:
                waiter.withdraw()

    def withdraw_waiters(self) -> None:
        """Answer all receivers that there is no message."""
        while (waiter := self.next_waiter()) is not None:
            waiter.withdraw()
