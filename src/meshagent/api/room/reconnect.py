"""When and how a lost connection is made again."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["ReconnectPolicy"]

RECONNECT_CLOSE_CODES: Final = frozenset({1001, 1006, 1011, 1012, 1013})
"""Ends that invite a new try. 1000 is a normal end, 1008 a token that is refused for good (protocol 16.3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectPolicy:
    """How patiently a room client reconnects. All times are seconds.

    Attributes:
        initial_delay: Wait before the first try; it doubles from try to try.
        max_delay: The longest wait between two tries.
        jitter: By which part of itself a wait may be shortened at random, so that the clients of a restarted
            server do not all come at once.
        max_attempts: Tries before giving up; None for no limit.
        attempt_timeout: How long one try may take until the room is ready.
        request_timeout: How long a new request waits for the connection to be back.
    """

    initial_delay: float = 0.2
    max_delay: float = 10.0
    jitter: float = 0.5
    max_attempts: int | None = None
    attempt_timeout: float = 30.0
    request_timeout: float = 30.0

    def delays(self) -> Iterator[float]:
        """The waits before the tries, one for each try that may be made."""
        delay = self.initial_delay
        attempt = 0
        while self.max_attempts is None or attempt < self.max_attempts:
            attempt += 1
            yield min(delay, self.max_delay) * (1 - self.jitter * random.random())  # noqa: S311 - spreads load only
            delay = min(delay * 2, self.max_delay)

    @staticmethod
    def applies_to(close_code: int | None) -> bool:
        """Whether a connection that ended with this code is to be made again."""
        return close_code in RECONNECT_CLOSE_CODES
