"""When and how to reconnect after a lost connection."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["ReconnectPolicy"]

RECONNECT_CLOSE_CODES: Final = frozenset({1001, 1006, 1011, 1012, 1013})
"""Close codes after which reconnecting may help. 1000 is a normal end, 1008 a token that is refused (protocol 16.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """How a room client reconnects. All times are in seconds.

    Attributes:
        initial_delay: Delay before the first attempt; it doubles with each attempt.
        max_delay: The longest delay between two attempts.
        jitter: The fraction by which a delay may be shortened at random, so that the clients of a restarted
            server do not all reconnect at once.
        max_attempts: Attempts before giving up; None for no limit.
        attempt_timeout: The longest time from connecting until the room is ready.
        request_timeout: The longest time that a new request waits for the connection.
    """

    initial_delay: float = 0.2
    max_delay: float = 10.0
    jitter: float = 0.5
    max_attempts: int | None = None
    attempt_timeout: float = 30.0
    request_timeout: float = 30.0

    def delays(self) -> Iterator[float]:
        """The delays before the attempts, one for each."""
        delay = self.initial_delay
        attempt = 0
        while self.max_attempts is None or attempt < self.max_attempts:
            attempt += 1
            yield min(delay, self.max_delay) * (1 - self.jitter * random.random())  # noqa: S311 - spreads load only
            delay = min(delay * 2, self.max_delay)

    @staticmethod
    def applies_to(close_code: int | None) -> bool:
        """Whether to reconnect after this close code."""
        return close_code in RECONNECT_CLOSE_CODES
