"""What the health monitor remembers."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from meshagent.server.stores.health import HealthMonitor


def test_a_part_is_unhealthy_from_its_failure_to_its_next_success(caplog: pytest.LogCaptureFixture) -> None:
    times = iter([datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)])
    health = HealthMonitor(now=lambda: next(times))
    assert health.healthy
    health.report_success("files")
    assert health.healthy
    with caplog.at_level(logging.WARNING):
        health.report_failure("files", OSError("no space"))
        health.report_failure("files", OSError("still none"))
    assert not health.healthy
    files = health.components()["files"]
    assert (files.failures, files.failing_since) == (2, datetime(2025, 1, 1, tzinfo=UTC))
    assert files.last_error == "OSError: still none"
    assert len(caplog.records) == 1
    health.report_success("database")
    assert not health.healthy
    health.report_success("files")
    assert health.healthy
    assert health.components()["files"].last_error == "OSError: still none"
    health.report_failure("files", OSError("again"))
    assert health.components()["files"].failing_since == datetime(2025, 1, 2, tzinfo=UTC)
