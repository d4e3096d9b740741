"""Time for decisions that a clock which somebody sets forward must not bring about."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta


class SteadyClock:
    """The time at its making, and what has passed since; it does not follow a clock that is set."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._start = clock()
        self._began = time.monotonic()

    def __call__(self) -> datetime:
        """The time."""
        return self._start + timedelta(seconds=time.monotonic() - self._began)


class CautiousClock:
    """The earlier one of two clocks: nothing is too old because one of them jumped ahead.

    Args:
        clock: The wall clock.
        steady: Does not jump.
    """

    def __init__(self, clock: Callable[[], datetime], steady: Callable[[], datetime]) -> None:
        self._clock = clock
        self._steady = steady

    def __call__(self) -> datetime:
        """The time."""
        return min(self._clock(), self._steady())
