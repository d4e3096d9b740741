"""The adapter of the port `TableStore` that servers use: the engines run in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

from meshagent.server.engines.health import TableHealth
from meshagent.server.engines.lock import TablesLock
from meshagent.server.engines.methods import METHODS
from meshagent.server.engines.packets import Start, encoded
from meshagent.server.engines.proxy import EngineCalls, RoomTablesProxy
from meshagent.server.engines.settings import EngineSettings
from meshagent.server.engines.slot import EngineSlot
from meshagent.server.stores.disk import Durability
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.paths import room_folder
from meshagent.server.stores.tables.settings import DatabaseLimits, MaintenanceSettings
from meshagent.server.stores.tables.table_engine import TableEngine
from meshagent.server.stores.tables.table_store import EngineFigures, RoomTableStore, TableStore

__all__ = ["ProcessTableStore"]


class ProcessTableStore(TableStore, EngineCalls):
    """The tables of all rooms below `root`.

    Processes start at the first call that needs one. All calls of a room go to the same one, chosen by the room's
    name; only one process ever has a room's tables open.

    Attributes:
        slots: The places for processes.

    Args:
        root: The folder of all rooms' tables; made when needed.
        durability: What an acknowledged write survives.
        health: Told of tables that fail, and of engines that cannot be started.
        settings: Bounds of the processes.
        limits: Bounds of each room.
        maintenance: When tables are looked after.
    """

    def __init__(
        self,
        root: Path,
        *,
        durability: Durability = "fsync",
        health: HealthMonitor | None = None,
        settings: EngineSettings | None = None,
        limits: DatabaseLimits | None = None,
        maintenance: MaintenanceSettings | None = None,
    ) -> None:
        health = health or HealthMonitor()
        settings = settings or EngineSettings()
        self.limits = limits or DatabaseLimits()
        self._root = root
        self._folders = TableEngine(root, durability=durability)
        self._health = TableHealth(health)
        self._lock = TablesLock(root)
        start = Start(
            root=str(root),
            durability=durability,
            limits=self.limits,
            maintenance=maintenance or MaintenanceSettings(),
            memory_bytes=settings.memory_bytes,
            log_level=logging.getLogger().getEffectiveLevel(),
        )
        self.slots = [EngineSlot(start, settings, self._lock, health) for _ in range(settings.processes)]
        self._killing: asyncio.TimerHandle | None = None

    def room(self, project_id: str, storage_name: str) -> RoomTableStore:
        room = str(room_folder(project_id, storage_name))
        return RoomTablesProxy(self, self._root, room, self.limits, self._health)

    async def delete_room(self, project_id: str, storage_name: str) -> None:
        room = str(room_folder(project_id, storage_name))
        await self.close_room(room)
        await self._folders.delete_room(project_id, storage_name)
        self._health.forget_room(room)

    def stopping(self, grace: float) -> None:
        """The server is about to stop: engines that work on after `grace` seconds are killed."""
        self._killing = asyncio.get_running_loop().call_later(grace, self._kill)

    async def close(self) -> None:
        """End all processes. Rooms must have been closed; what they wrote is durable."""
        await asyncio.gather(*(slot.close() for slot in self.slots))
        if self._killing is not None:
            self._killing.cancel()
        self._lock.release()

    def figures(self) -> EngineFigures:
        losses: Counter[str] = Counter()
        for slot in self.slots:
            losses += slot.losses
        return EngineFigures(
            processes=sum(slot.is_running for slot in self.slots),
            memory_bytes=sum(slot.memory_bytes for slot in self.slots),
            calls=sum(slot.pending for slot in self.slots),
            starts=sum(slot.starts for slot in self.slots),
            losses=dict(losses),
        )

    # --- EngineCalls -----------------------------------------------------------------------------------

    async def call(self, room: str, method: str, arguments: tuple[Any, ...]) -> Any:
        return await self.slot(room).call(room, METHODS[method], encoded(arguments))

    def notify(self, room: str, method: str, arguments: tuple[Any, ...]) -> None:
        self.slot(room).notify(room, method, encoded(arguments))

    async def close_room(self, room: str) -> None:
        await self.slot(room).close_room(room)

    def slot(self, room: str) -> EngineSlot:
        """Where the calls of a room go."""
        return self.slots[zlib.crc32(room.encode()) % len(self.slots)]

    def _kill(self) -> None:
        for slot in self.slots:
            slot.kill()
