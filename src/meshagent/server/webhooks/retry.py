"""When failed deliveries are retried."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meshagent.api.errors import RequestTimeoutError, RoomException, UnavailableError
from meshagent.server.outgoing.client import HttpStatusError

_TRY_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter: attempts, and the delays between them in seconds.

    Attributes:
        attempts: All attempts, the first one included.
        initial_delay: Wait before the second.
        max_delay: The longest wait.
        jitter: By which part of itself a wait may be shortened at random, so that the deliveries of an address that
            was away do not come all at once.
    """

    attempts: int = 5
    initial_delay: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.5

    def delays(self) -> Iterator[float]:
        """The waits between the attempts, one less than those."""
        delay = self.initial_delay
        for _ in range(self.attempts - 1):
            yield min(delay, self.max_delay) * (1 - self.jitter * random.random())  # noqa: S311 - spreads load only
            delay = min(delay * 2, self.max_delay)


def is_temporary(error: RoomException) -> bool:
    """Whether a delivery that failed with `error` may succeed later; not if the receiver rejected it."""
    if isinstance(error, HttpStatusError):
        return error.status >= 500 or error.status in _TRY_LATER
    return isinstance(error, (UnavailableError, RequestTimeoutError))
