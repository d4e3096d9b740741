"""Bounds of the delivery of webhooks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

CALL_AGE: Final = timedelta(minutes=10)
"""Age at which an event no longer calls a service into its room, which may have ended long ago."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryLimits:
    """How long deliveries and webhooks that fail are tried, and what is kept of them.

    Attributes:
        max_age: How long a delivery is tried.
        disable_after: How long every attempt of a webhook fails until it is disabled; None is never.
        keep: How long finished deliveries are listed.
        prune_interval: Seconds between removals.
    """

    max_age: timedelta = timedelta(days=3)
    disable_after: timedelta | None = timedelta(days=5)
    keep: timedelta = timedelta(days=14)
    prune_interval: float = 60.0
