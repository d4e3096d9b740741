"""Rate limits: how many requests a token, and all tokens of a project together, may send in a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from meshagent.server.kernel.admission import Admission

BURST_SECONDS: Final = 2.0
"""Requests of so many seconds may come at once."""


class TokenBucket:
    """Allows `rate` requests a second, after a pause up to `BURST_SECONDS` of them at once.

    Args:
        rate: Requests a second.
        clock: Seconds.
    """

    __slots__ = ("__weakref__", "_at", "_clock", "_left", "rate")

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._left = max(1.0, rate * BURST_SECONDS)
        self._at = clock()

    def has_one(self) -> bool:
        """Whether a request is allowed now."""
        now = self._clock()
        most = max(1.0, self.rate * BURST_SECONDS)
        self._left = min(most, self._left + (now - self._at) * self.rate)
        self._at = now
        return self._left >= 1.0

    def take(self) -> None:
        """Count a request."""
        self._left -= 1.0


class RequestGate:
    """The buckets of one connection, which it shares with others of its token and project."""

    __slots__ = ("_buckets",)

    def __init__(self, *buckets: TokenBucket) -> None:
        self._buckets = buckets

    def exceeded(self) -> float | None:
        """Count a request if it is within all limits; the limit that it is beyond, if any, in requests a second."""
        for bucket in self._buckets:
            if not bucket.has_one():
                return bucket.rate
        for bucket in self._buckets:
            bucket.take()
        return None


class RequestRates:
    """The rate limits of a server; buckets live as long as a connection that uses them.

    Args:
        per_token: Requests a second of all connections with one token; 0 is no limit.
        per_project: The same for all tokens of a project.
    """

    def __init__(self, *, per_token: float = 0.0, per_project: float = 0.0) -> None:
        self._per_token = per_token
        self._per_project = per_project
        self._buckets: WeakValueDictionary[tuple[str, ...], TokenBucket] = WeakValueDictionary()

    def gate(self, admission: Admission) -> RequestGate | None:
        """The gate of a new connection; None if nothing is limited.

        A token is known by its project, key and participant name.
        """
        buckets = []
        if self._per_token > 0:
            key = (admission.project_id, admission.key_id or "", admission.name)
            buckets.append(self._bucket(key, self._per_token))
        if self._per_project > 0:
            buckets.append(self._bucket((admission.project_id,), self._per_project))
        return RequestGate(*buckets) if buckets else None

    def _bucket(self, key: tuple[str, ...], rate: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(rate)
        return bucket
