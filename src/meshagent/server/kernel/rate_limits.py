"""Rate limits: how many requests a token, and all tokens of a project together, may send in a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from meshagent.api.errors import LimitExceededError
from meshagent.server.kernel.admission import Admission

BURST_SECONDS: Final = 2.0
"""Requests of so many seconds may come at once."""

MAX_KEPT: Final = 50_000
"""Buckets that are not full and are kept while nobody is connected; beyond, the oldest are forgotten."""

_LOOKS: Final = 4
"""Kept buckets that are looked at when one more is kept, so that no turn of the event loop looks at all of them."""


class TokenBucket:
    """Allows `rate` requests a second, after a pause up to `BURST_SECONDS` of them at once.

    Args:
        rate: Requests a second.
        clock: Seconds.
        keep: Called when a request is counted while `is_kept` is false, and to set it.

    Attributes:
        is_kept: Whether somebody keeps the bucket until it is full again.
    """

    __slots__ = ("__weakref__", "_at", "_clock", "_keep", "_left", "_most", "is_kept", "rate")

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        keep: Callable[[TokenBucket], None] | None = None,
    ) -> None:
        self.rate = rate
        self.is_kept = keep is None
        self._keep = keep
        self._clock = clock
        self._most = self._left = max(1.0, rate * BURST_SECONDS)
        self._at = clock()

    def has_one(self) -> bool:
        """Whether a request is allowed now."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self.rate)
        self._at = now
        return self._left >= 1.0

    def take(self) -> None:
        """Count a request."""
        self._left -= 1.0
        if not self.is_kept and self._keep is not None:
            self._keep(self)

    def full_at(self) -> float:
        """When it is as a new one would be."""
        return self._at + (self._most - self._left) / self.rate

    def seconds_left(self) -> float:
        """How long it is until a request is allowed, as of the last `has_one`."""
        return max(0.0, 1.0 - self._left) / self.rate


class RateExceededError(LimitExceededError):
    """A token, or all tokens of a project together, sent more requests a second than they may.

    Attributes:
        retry_after: Seconds until the next request is allowed.
    """

    def __init__(self, message: str, *, limit: int, retry_after: float = 1.0) -> None:
        super().__init__(message, limit=limit)
        self.retry_after = retry_after


class RequestGate:
    """The buckets of one token and its project, which all of their connections share."""

    __slots__ = ("_buckets",)

    def __init__(self, *buckets: TokenBucket) -> None:
        self._buckets = buckets

    def count(self) -> None:
        """Count a request.

        Raises:
            RateExceededError: It is beyond a limit; it does not count.
        """
        for bucket in self._buckets:
            if not bucket.has_one():
                wait = bucket.seconds_left()
                raise RateExceededError(
                    f"this token or its project sent over {bucket.rate:g} requests a second; try again in {wait:.3g} s",
                    limit=int(bucket.rate),
                    retry_after=wait,
                )
        for bucket in self._buckets:
            bucket.take()


class RequestRates:
    """The rate limits of a server. Requests in rooms and by plain HTTP count together.

    Args:
        per_token: Requests a second with one token; 0 is no limit.
        per_project: The same for everybody in a project.
        clock: Seconds.
    """

    def __init__(
        self, *, per_token: float = 0.0, per_project: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_token = per_token
        self._per_project = per_project
        self._clock = clock
        self._buckets: WeakValueDictionary[tuple[str, ...], TokenBucket] = WeakValueDictionary()
        self._kept: deque[tuple[float, TokenBucket]] = deque()
        """The buckets that are not full, and when they will be: connections come and go, but what they used counts."""

    def gate(self, admission: Admission) -> RequestGate | None:
        """The gate of a new connection; None if nothing is limited.

        A token is known by its project, key and participant name.
        """
        return self._gate(admission.project_id, _token_of(admission))

    def count(self, admission: Admission) -> None:
        """Count a plain request of a participant; errors as in `RequestGate.count`."""
        self._count(admission.project_id, _token_of(admission))

    def count_caller(self, project_id: str | None, token: str | None) -> None:
        """Count a request of somebody who is no participant.

        Args:
            project_id: The project that the request is for, if any.
            token: Tells apart who sends requests; None if that is not known.

        Raises:
            RateExceededError: As in `RequestGate.count`.
        """
        self._count(project_id, None if token is None else ("", token))

    def _count(self, project_id: str | None, token: tuple[str, ...] | None) -> None:
        gate = self._gate(project_id, token)
        if gate is not None:
            gate.count()

    def _keep(self, bucket: TokenBucket) -> None:
        """Keep a bucket until it is full, and forget some that are."""
        now = self._clock()
        for _ in range(_LOOKS):
            if not self._kept or (self._kept[0][0] > now and len(self._kept) < MAX_KEPT):
                break
            _, oldest = self._kept.popleft()
            if oldest.full_at() <= now or len(self._kept) + 1 >= MAX_KEPT:
                oldest.is_kept = False
            else:
                self._kept.append((oldest.full_at(), oldest))
        bucket.is_kept = True
        self._kept.append((bucket.full_at(), bucket))

    def _gate(self, project_id: str | None, token: tuple[str, ...] | None) -> RequestGate | None:
        buckets = []
        if self._per_token > 0 and token is not None:
            buckets.append(self._bucket(token, self._per_token))
        if self._per_project > 0 and project_id is not None:
            buckets.append(self._bucket((project_id,), self._per_project))
        return RequestGate(*buckets) if buckets else None

    def _bucket(self, key: tuple[str, ...], rate: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(rate, self._clock, self._keep)
        return bucket


def _token_of(admission: Admission) -> tuple[str, ...]:
    return (admission.project_id, admission.key_id or "", admission.name)
