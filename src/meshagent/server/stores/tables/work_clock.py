"""How long a call has been worked on, apart from the time in which it waited for others."""

from __future__ import annotations

import time
from contextvars import ContextVar

__all__ = ["WorkClock", "current_clock", "start_clock"]


class WorkClock:
    """Runs while somebody works on a call.

    Attributes:
        began: When the work began, in the time of `time.monotonic`; None while the call waits for its turn.
    """

    __slots__ = ("began",)

    def __init__(self) -> None:
        self.began: float | None = time.monotonic()

    def waits(self) -> None:
        """The call waits for its turn."""
        self.began = None

    def begins(self) -> None:
        """It is the call's turn."""
        self.began = time.monotonic()


_current: ContextVar[WorkClock | None] = ContextVar("work clock", default=None)


def start_clock() -> WorkClock:
    """The clock of what the current task does from now on."""
    clock = WorkClock()
    _current.set(clock)
    return clock


def current_clock() -> WorkClock:
    """The clock of the current task; one that nobody looks at where none was started."""
    return _current.get() or WorkClock()
