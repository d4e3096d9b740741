"""For all tests."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hypothesis_profiles import load_profile

if TYPE_CHECKING:
    from tests.support.distribution import ByNeed

load_profile()
gc.disable()  # collecting the tests makes a million objects, and all of them stay


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave what collecting the tests has made out of garbage collections: a full one would take a second."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let libraries that count their objects at the end find none."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByNeed | None:
    """With `-n` and no other `--dist`."""
    if config.getoption("dist") != "load":
        return None
    from tests.support.distribution import ByNeed

    return ByNeed(config, log)
