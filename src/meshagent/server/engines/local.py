"""The adapter of the port `TableStore` without processes: the engines run in this one. For tests."""

from __future__ import annotations

from meshagent.server.engines.health import TableHealth
from meshagent.server.engines.host import EngineHost
from meshagent.server.engines.proxy import RoomTablesProxy
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.paths import room_folder
from meshagent.server.stores.tables.table_engine import TableEngine
from meshagent.server.stores.tables.table_store import EngineFigures, RoomTableStore, TableStore

__all__ = ["LocalTableStore"]


class LocalTableStore(TableStore):
    """The tables of all rooms below the engine's folder.

    Attributes:
        host: The rooms that are open.
    """

    def __init__(self, engine: TableEngine, health: HealthMonitor | None = None) -> None:
        self.limits = engine.limits
        self.host = EngineHost(engine)
        self._engine = engine
        self._health = TableHealth(health or HealthMonitor())

    def room(self, project_id: str, storage_name: str) -> RoomTableStore:
        room = str(room_folder(project_id, storage_name))
        return RoomTablesProxy(self.host, self._engine.root, room, self.limits, self._health)

    async def delete_room(self, project_id: str, storage_name: str) -> None:
        await self._engine.delete_room(project_id, storage_name)
        self._health.forget_room(str(room_folder(project_id, storage_name)))

    def stopping(self, grace: float) -> None:
        """What runs in this process cannot be cut off."""

    def figures(self) -> EngineFigures:
        return EngineFigures()
