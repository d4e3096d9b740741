"""What was handed over lately, so that a cancelled receive can give it back."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import Final

from meshagent.server.kernel.participant import Participant
from meshagent.server.services.queues.open_queue import OpenQueue, Waiter
from meshagent.server.stores.queues import StoredMessage

MAX_REMEMBERED: Final = 256
"""Messages remembered for one connection."""

MAX_REMEMBERED_BYTES: Final = 1024 * 1024
"""Bytes remembered for one connection; a single larger message is remembered until the next one."""


class Delivery:
    """A message on its way to a receiver, or just arrived there. It goes back to its queue once at most."""

    __slots__ = ("is_leased", "lease", "message", "queue", "returning", "waiter")

    def __init__(self, queue: OpenQueue, waiter: Waiter, message: StoredMessage) -> None:
        self.queue = queue
        self.waiter = waiter
        self.message = message
        self.lease: str | None = None
        self.is_leased = False
        """Whether the lease has begun."""
        self.returning: asyncio.Task[None] | None = None


class RecentDeliveries:
    """The latest deliveries of each connection whose receives have an id. Bounded in number and bytes."""

    def __init__(self) -> None:
        self._by_participant: dict[str, OrderedDict[int, Delivery]] = {}

    def remember(self, delivery: Delivery) -> None:
        """Remember a delivery, if its receive has an id; the oldest ones of that connection may be forgotten."""
        receive_id = delivery.waiter.request.receive_id
        if receive_id is None:
            return
        recent = self._by_participant.setdefault(delivery.waiter.participant.id, OrderedDict())
        recent[receive_id] = delivery
        size = sum(len(held.message.body) for held in recent.values()) if len(recent) > 1 else 0
        while len(recent) > 1 and (len(recent) > MAX_REMEMBERED or size > MAX_REMEMBERED_BYTES):
            _, forgotten = recent.popitem(last=False)
            size -= len(forgotten.message.body)

    def pop(self, participant: Participant, receive_id: int) -> Delivery | None:
        """The delivery of a receive, which is no longer remembered."""
        recent = self._by_participant.get(participant.id)
        return None if recent is None else recent.pop(receive_id, None)

    def forget(self, participant: Participant) -> None:
        """The participant has left."""
        self._by_participant.pop(participant.id, None)


def find_waiter(waiters: deque[Waiter], participant: Participant, receive_id: int) -> Waiter | None:
    """The waiting receive with this id."""
    for waiter in waiters:
        if waiter.participant is participant and waiter.request.receive_id == receive_id:
            return waiter
    return None
