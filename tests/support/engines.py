"""Table engines in processes, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from meshagent.server.engines.settings import EngineSettings
from meshagent.server.engines.store import ProcessTableStore
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.tables.settings import DatabaseLimits, MaintenanceSettings


@asynccontextmanager
async def process_store(
    root: Path,
    *,
    health: HealthMonitor | None = None,
    limits: DatabaseLimits | None = None,
    maintenance: MaintenanceSettings | None = None,
    **settings: Any,
) -> AsyncIterator[ProcessTableStore]:
    """Tables below `root` with one engine process, ended with the block."""
    store = ProcessTableStore(
        root,
        durability="process",
        health=health,
        settings=EngineSettings(**{"processes": 1, **settings}),
        limits=limits,
        maintenance=maintenance,
    )
    try:
        yield store
    finally:
        await store.close()


def load_engines(folder: Path) -> None:
    """Have the engines loaded, which takes seconds, so that no test has to wait for it with a time limit."""

    async def load() -> None:
        async with process_store(folder, start_seconds=300.0) as store:
            await store.room("p", "r").parse_sql("SELECT 1", b"")

    asyncio.run(load())


def engine_pid(store: ProcessTableStore, room: str) -> int:
    """The process that a room's calls go to."""
    pid = store.slot(room).pid
    assert pid is not None
    return pid


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - no event tells of other processes
            await asyncio.sleep(0.01)
