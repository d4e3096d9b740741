"""The room's log, which participants write and watch: `room.developer` (protocol 13.2)."""

from __future__ import annotations

from typing import Any

from meshagent.api.contracts import developer as api
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.room.core import ConnectionHooks, RoomCore
from meshagent.api.room.events import EventSource

__all__ = ["DeveloperClient"]


class DeveloperClient(EventSource):
    """The log of the room; use it as `room.developer`. While enabled, it emits `log` (type, data) for each entry."""

    def __init__(self, room: RoomCore) -> None:
        super().__init__(room.spawn)
        self._room = room
        self._enabled = False
        room.listen(api.LOGGED, self._on_log)
        room.follow_connection(ConnectionHooks(name="the developer log", restore=self._restore))

    async def log(self, type: str, data: dict[str, Any]) -> None:
        """Write an entry; errors as `RoomClient.call`."""
        await self._room.call(api.LOG, api.LogEntry(type=type, data=data))

    def log_nowait(self, type: str, data: dict[str, Any]) -> None:
        """Write an entry without waiting; a failure is logged."""
        self._room.call_nowait(
            api.LOG, api.LogEntry(type=type, data=data), if_fails=f"a log entry of type {type!r} was not written"
        )

    async def enable(self) -> None:
        """Receive entries as events from now on, also after reconnecting."""
        await self._room.call(api.WATCH, EMPTY)
        self._enabled = True

    async def disable(self) -> None:
        """Stop receiving entries."""
        self._enabled = False
        await self._room.call(api.UNWATCH, EMPTY)

    def _on_log(self, entry: api.LogEntry, payload: bytes) -> None:
        self.emit("log", type=entry.type, data=entry.data)

    async def _restore(self, same_run: bool) -> None:
        if self._enabled:
            await self._room.call_now(api.WATCH, EMPTY)
