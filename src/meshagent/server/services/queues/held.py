"""Messages of an open queue that are leased or delayed, and when they can be received again."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from meshagent.api.errors import NotFoundError
from meshagent.server.stores.queues import HeldMessage


@dataclass(slots=True, eq=False)
class Held:
    """A message that is leased or delayed until `due`, by the loop's clock, which nobody can set.

    `lease` is empty for a delay. `size` is the bytes of its body. `holder` is the id of the participant that took the
    lease, if it did so in this run.
    """

    message_id: int
    lease: str
    attempts: int
    due: float
    size: int
    holder: str | None = None


class HeldMessages:
    """The held messages of one queue, with one timer for the next that is due.

    Args:
        stored: Those that the store holds.
        expired: Called with those whose time is over, which are held no more.
        leases: Counts the leases of each participant; shared by the queues of a room.

    Attributes:
        size_bytes: The bytes of the messages held.
    """

    def __init__(
        self, stored: Iterable[HeldMessage], *, expired: Callable[[list[Held]], None], leases: Counter[str]
    ) -> None:
        self._expired = expired
        self._leases = leases
        self.size_bytes = 0
        self._by_id: dict[int, Held] = {}
        self._due: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        now = asyncio.get_running_loop().time()
        for held in stored:
            self.add(Held(held.message_id, held.lease, held.attempts, now + held.seconds, held.size))

    def add(self, held: Held) -> None:
        """Hold a message until it is due."""
        self._by_id[held.message_id] = held
        self.size_bytes += held.size
        if held.holder is not None:
            self._leases[held.holder] += 1
        heapq.heappush(self._due, (held.due, held.message_id))
        if self._due[0][1] == held.message_id:
            self._set_timer()

    def take(self, lease: str) -> Held:
        """End a lease.

        Raises:
            NotFoundError: It has expired, or was ended before.
        """
        message_id, _, _ = lease.partition(".")
        held = self._by_id.get(int(message_id)) if message_id.isdecimal() and len(message_id) < 20 else None
        if held is None or not lease or held.lease != lease:
            raise NotFoundError("the lease has expired or was ended before")
        self._forget(held)
        return held

    def discard(self, message_id: int) -> None:
        """Hold a message no more, if it is held."""
        held = self._by_id.get(message_id)
        if held is not None:
            self._forget(held)

    def clear(self) -> None:
        """Hold nothing any more."""
        for held in list(self._by_id.values()):
            self._forget(held)
        self._due.clear()
        self._set_timer()

    def _forget(self, held: Held) -> None:
        del self._by_id[held.message_id]
        self.size_bytes -= held.size
        if held.holder is not None:
            self._leases[held.holder] -= 1
            if not self._leases[held.holder]:
                del self._leases[held.holder]
        if len(self._due) > 2 * len(self._by_id) + 64:  # mostly entries of leases that were ended early
            self._due = [(other.due, other.message_id) for other in self._by_id.values()]
            heapq.heapify(self._due)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            self._timer = asyncio.get_running_loop().call_at(self._due[0][0], self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        expired: list[Held] = []
        while self._due and self._due[0][0] <= now:
            due, message_id = heapq.heappop(self._due)
            held = self._by_id.get(message_id)
            if held is not None and held.due == due:
                self._forget(held)
                expired.append(held)
        self._set_timer()
        if expired:
            self._expired(expired)
