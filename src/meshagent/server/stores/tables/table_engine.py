"""The table engine that the rooms of a process share, loaded at the first use of a table."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from meshagent.server.stores.disk import Disk, Durability
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.paths import room_folder
from meshagent.server.stores.tables.settings import DROPPED_PREFIX, DatabaseLimits, MaintenanceSettings

if TYPE_CHECKING:
    from lancedb import Session

    from meshagent.server.stores.tables.room_tables import RoomTables

__all__ = ["TableEngine"]


class TableEngine:
    """Opens the tables of rooms.

    Args:
        root: The folder of all rooms' tables, `PROJECT/ROOM/TABLE.lance` below it; created when needed.
        durability: What acknowledged writes survive.
        health: Receives failures of the disk.
        limits: Limits.
        maintenance: When tables are optimized.
        disk: Tests pass one that fails.
    """

    def __init__(
        self,
        root: Path,
        *,
        durability: Durability = "fsync",
        health: HealthMonitor | None = None,
        limits: DatabaseLimits | None = None,
        maintenance: MaintenanceSettings | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.root = root
        self._disk = disk if disk is not None else Disk.of(durability)
        self._syncs = disk is not None or durability == "fsync"
        self._health = health if health is not None else HealthMonitor()
        self.limits = limits if limits is not None else DatabaseLimits()
        self._maintenance = maintenance if maintenance is not None else MaintenanceSettings()
        self._session: Session | None = None
        self._loading = asyncio.Lock()

    def folder(self, project_id: str, room_name: str) -> Path:
        """The folder of a room's tables."""
        return self.root / room_folder(project_id, room_name)

    async def open(self, folder: Path) -> RoomTables:
        """The tables in `folder`, which is created if missing; close them when the room ends.

        Raises:
            StoreFailedError: The folder cannot be created.
        """
        async with self._loading:
            from meshagent.server.stores.tables.room_tables import RoomTables

            if self._session is None:
                self._session = RoomTables.make_session(
                    index_cache_bytes=self.limits.index_cache_bytes,
                    metadata_cache_bytes=self.limits.metadata_cache_bytes,
                )
        try:
            await asyncio.to_thread(self._prepare, folder)
        except OSError as error:
            raise StoreFailedError(f"disk error: {error.strerror or type(error).__name__}") from error
        return await RoomTables.open(
            folder,
            self._session,
            disk=self._disk if self._syncs else None,
            health=self._health,
            maintenance=self._maintenance,
            limits=self.limits,
        )

    async def delete_room(self, project_id: str, room_name: str) -> None:
        """Delete all tables of a room that is not running, atomically and durably, if it has any.

        Raises:
            StoreFailedError: The disk failed.
        """
        try:
            await asyncio.to_thread(self._remove, self.folder(project_id, room_name))
        except OSError as error:
            raise StoreFailedError(f"disk error: {error.strerror or type(error).__name__}") from error

    def _prepare(self, folder: Path) -> None:
        """Create the folder, and remove leftovers of dropped tables and rooms."""
        self._disk.make_folder(folder)
        for place in (folder, folder.parent):
            for entry in place.glob(DROPPED_PREFIX + "*"):
                shutil.rmtree(entry, ignore_errors=True)

    def _remove(self, folder: Path) -> None:
        aside = folder.with_name(DROPPED_PREFIX + secrets.token_hex(8))
        try:
            os.rename(folder, aside)
        except FileNotFoundError:
            return
        self._disk.sync_folder(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)
