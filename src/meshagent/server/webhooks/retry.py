"""When failed deliveries are retried."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meshagent.api.errors import RequestTimeoutError, RoomException, UnavailableError
from meshagent.server.outgoing.client import HttpStatusError

MAX_RETRY_AFTER: Final = 3600.0
"""Longest wait in seconds that a receiver may ask for by `Retry-After`."""

_TRY_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter: attempts, and the delays between them in seconds.

    Attributes:
        attempts: All attempts, the first one included, where their number is limited.
        initial_delay: Wait before the second.
        max_delay: The longest wait.
        jitter: By which part of itself a wait may be shortened at random, so that the deliveries of an address that
            was away do not come all at once.
    """

    attempts: int = 5
    initial_delay: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.5

    def delay_after(self, attempt: int) -> float:
        """The wait after an attempt; the first one has number 1."""
        doublings = min(attempt - 1, 63)  # far beyond any `max_delay`
        delay = min(self.initial_delay * 2.0**doublings, self.max_delay)
        return delay * (1 - self.jitter * random.random())  # noqa: S311 - spreads load only

    def delays(self) -> Iterator[float]:
        """The waits between the attempts, one less than those."""
        return (self.delay_after(attempt) for attempt in range(1, self.attempts))


DELIVERY_RETRY: Final = RetryPolicy(max_delay=600.0)
"""For deliveries, which are retried until they are too old: at first within seconds, then every few minutes."""


def is_temporary(error: RoomException) -> bool:
    """Whether a delivery that failed with `error` may succeed later; not if the receiver rejected it."""
    if isinstance(error, HttpStatusError):
        return error.status >= 500 or error.status in _TRY_LATER
    return isinstance(error, (UnavailableError, RequestTimeoutError))


def requested_delay(error: RoomException) -> float:
    """Seconds that the receiver asked to wait, within bounds; 0 if it did not."""
    if not isinstance(error, HttpStatusError) or error.retry_after is None:
        return 0.0
    return min(max(error.retry_after, 0.0), MAX_RETRY_AFTER)
