"""The rooms whose tables this process has open."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

from meshagent.api.errors import RoomException
from meshagent.server.engines.proxy import EngineCalls
from meshagent.server.stores.tables.table_engine import TableEngine

if TYPE_CHECKING:
    from meshagent.server.engines.room_engine import RoomEngine

__all__ = ["EngineHost"]

log = logging.getLogger(__name__)

_LOG_LEVEL = "LANCEDB_LOG"


class EngineHost(EngineCalls):
    """Calls to engines in this process. Rooms open at their first call."""

    def __init__(self, engine: TableEngine) -> None:
        self._engine = engine
        self._rooms: dict[str, RoomEngine] = {}
        self._loading = asyncio.Lock()
        self._has_loaded = False
        self._notified: set[asyncio.Task[None]] = set()

    @property
    def is_in_use(self) -> bool:
        """Whether a query, a stream or an upload of any room is open."""
        return any(room.is_in_use for room in self._rooms.values())

    def room(self, room: str) -> RoomEngine:
        """The tables of a room."""
        found = self._rooms.get(room)
        if found is None:
            from meshagent.server.engines.room_engine import RoomEngine

            found = self._rooms[room] = RoomEngine(self._engine, self._engine.root / room)
        return found

    async def call(self, room: str, method: str, arguments: tuple[Any, ...]) -> Any:
        if not self._has_loaded:
            async with self._loading:  # those who wait go on in the order in which they came
                await asyncio.to_thread(_load_engines)
                self._has_loaded = True
        return await getattr(self.room(room), method)(*arguments)

    def notify(self, room: str, method: str, arguments: tuple[Any, ...]) -> None:
        if room not in self._rooms:
            return
        if method == "owner_left":
            self._rooms[room].owner_left(*arguments)
        else:
            task = asyncio.get_running_loop().create_task(self._try(room, method, arguments), name=method)
            self._notified.add(task)
            task.add_done_callback(self._notified.discard)

    async def close_room(self, room: str) -> None:
        if (open_room := self._rooms.pop(room, None)) is not None:
            await open_room.close()

    async def close(self) -> None:
        """Close all rooms."""
        await asyncio.gather(*(self.close_room(room) for room in list(self._rooms)))

    async def _try(self, room: str, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            await self.call(room, method, arguments)
        except RoomException as error:
            log.info("%s failed: %s", method, error)


def _load_engines() -> None:
    """Import LanceDB, Arrow and DuckDB, quiet unless the operator has chosen otherwise."""
    chosen = _LOG_LEVEL in os.environ
    os.environ.setdefault(_LOG_LEVEL, "error")  # it is read once, at the import
    try:
        import meshagent.server.engines.room_engine  # noqa: F401 - for what it loads
    finally:
        if not chosen:
            del os.environ[_LOG_LEVEL]
