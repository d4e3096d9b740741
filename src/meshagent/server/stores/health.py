"""Health of the server's components, as `/healthz` shows it."""

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
    """The last known state of one component.

    Attributes:
        failures: Failures since the server started.
        failing_since: The first failure after the last success, or None while the component works.
        last_error: Text of the latest failure, for the operator; None if there was none.
    """

    failures: int = 0
    failing_since: datetime | None = None
    last_error: str | None = None

    @property
    def healthy(self) -> bool:
        return self.failing_since is None


class HealthMonitor:
    """Collects failures and recoveries by component, from any thread.

    A component is unhealthy from its first failure until its next success. `report_success` of a healthy component
    costs a dictionary lookup, so hot paths can call it every time.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._components: dict[str, ComponentHealth] = {}

    @property
    def healthy(self) -> bool:
        """Whether every component that has reported works."""
        return all(component.healthy for component in self.components().values())

    def components(self) -> dict[str, ComponentHealth]:
        """A copy of the state of each component that has reported."""
        with self._lock:
            return dict(self._components)

    def report_failure(self, component: str, error: BaseException) -> None:
        """Record a failure of `component`, and log the first one."""
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
        """Record that `component` works."""
        before = self._components.get(component)
        if before is not None and before.healthy:
            return
        with self._lock:
            before = self._components.get(component, ComponentHealth())
            self._components[component] = ComponentHealth(failures=before.failures, last_error=before.last_error)
        if not before.healthy:
            logger.warning("%s has recovered", component)
