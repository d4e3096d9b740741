"""For all tests."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hypothesis_profiles import load_profile

if TYPE_CHECKING:
    from tests.support.distribution import ByNeed

load_profile()
gc.disable()  # collecting the tests makes a million objects, and all of them stay


_STARTS_SERVERS = {
    "meshagent.testing.server": ("RoomServer", "room_server"),
    "tests.support.server": ("serve",),
    "tests.support.accounts_server": ("AccountsServer", "accounts_server"),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of modules that import what starts a whole server."""
    starters = {
        id(getattr(sys.modules[module], name))
        for module, names in _STARTS_SERVERS.items()
        if module in sys.modules
        for name in names
    }
    modules = {item.path: item.module for item in items if isinstance(item, pytest.Function)}
    marked = {path for path, module in modules.items() if not starters.isdisjoint(map(id, vars(module).values()))}
    for item in items:
        if item.path in marked:
            item.add_marker(pytest.mark.whole_server)


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
