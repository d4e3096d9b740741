"""Bytes in memory that the participants of a room, and those of all rooms, may have together.

Each connection has bounds of its own; these are for what many of them would add up to. A room's budget is a part of
the server's: what is taken from it is taken from both.
"""

from __future__ import annotations

from typing import Final

from meshagent.api.errors import LimitExceededError

STEP: Final = 64 * 1024
"""Shares change in steps of so many bytes; less than that is not counted."""

UNLIMITED: Final = 1 << 62


class ByteBudget:
    """A number of bytes that many holders share.

    Args:
        limit: Bytes.
        parent: The budget that this one is a part of.
        what: What is held, for errors, such as `attributes and registrations of the room's participants`.
    """

    __slots__ = ("_parent", "limit", "used", "what")

    def __init__(self, limit: int = UNLIMITED, *, parent: ByteBudget | None = None, what: str = "") -> None:
        self.limit = limit
        self.used = 0
        self.what = what
        self._parent = parent

    @property
    def is_exceeded(self) -> bool:
        """Whether more is held than there should be, here or in a budget that this one is a part of."""
        return self.used > self.limit or (self._parent is not None and self._parent.is_exceeded)

    def change(self, difference: int) -> None:
        """Note that so many bytes more are held, or less."""
        self.used += difference
        if self._parent is not None:
            self._parent.change(difference)

    def check(self, more: int) -> None:
        """Check whether so many bytes more may be held; fewer always may.

        Raises:
            LimitExceededError: They would be too many; the text says of what.
        """
        if more > 0 and self.used + more > self.limit:
            raise LimitExceededError(f"the {self.what} can have {self.limit:,} bytes at most", limit=self.limit)
        if self._parent is not None:
            self._parent.check(more)


class BudgetShare:
    """What one holder has of a budget, in whole steps, so that small changes cost a comparison.

    Args:
        budget: The budget.

    Attributes:
        counted: Bytes that are counted now.
    """

    __slots__ = ("_budget", "counted")

    def __init__(self, budget: ByteBudget) -> None:
        self._budget = budget
        self.counted = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether all holders together have too much, and this one is counted among them."""
        return self.counted > 0 and self._budget.is_exceeded

    def hold(self, nbytes: int) -> None:
        """Note how many bytes are held now."""
        counted = nbytes - nbytes % STEP
        if counted != self.counted:
            self._budget.change(counted - self.counted)
            self.counted = counted
