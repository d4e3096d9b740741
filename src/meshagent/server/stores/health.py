"""Whether the parts of a server can do their work: what `/healthz` shows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["ComponentHealth", "HealthMonitor"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentHealth:
    """One part as it was last seen.

    Attributes:
        failures: Failures since the server started.
        failing_since: The first failure after the last success, or None while the part works.
        last_error: Text of the latest failure, for the operator; None if there was none.
    """

    failures: int = 0
    failing_since: datetime | None = None
    last_error: str | None = None

    @property
    def healthy(self) -> bool:
        return self.failing_since is None


class HealthMonitor:
    """Collects failures and recoveries by the name of the part, from any thread.

    A part is unhealthy from its first failure until its next success. `report_success` of a healthy part costs a
    dictionary look-up, so that hot paths may call it each time.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._components: dict[str, ComponentHealth] = {}

    @property
    def healthy(self) -> bool:
        """Whether every part that ever reported works."""
        return all(component.healthy for component in self.components().values())

    def components(self) -> dict[str, ComponentHealth]:
        """A copy of the state of each part that has reported."""
        with self._lock:
            return dict(self._components)

    def report_failure(self, component: str, error: BaseException) -> None:
        """Record that `component` could not do its work, and raise the alarm in the log the first time."""
        with self._lock:
            before = self._components.get(component, ComponentHealth())
            self._components[component] = ComponentHealth(
                failures=before.failures + 1,
                failing_since=before.failing_since or self._now(),
                last_error=f"{type(error).__name__}: {error}",
            )
        if before.healthy:
            logger.error("%s is failing: %s: %s", component, type(error).__name__, error)

    def report_success(self, component: str) -> None:
        """Record that `component` did its work."""
        before = self._components.get(component)
        if before is not None and before.healthy:
            return
        with self._lock:
            before = self._components.get(component, ComponentHealth())
            self._components[component] = ComponentHealth(failures=before.failures, last_error=before.last_error)
        if not before.healthy:
            logger.warning("%s has recovered", component)
