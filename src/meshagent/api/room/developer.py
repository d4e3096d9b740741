"""The room's log, which participants write and watch: `room.developer` (spec room-protocol 5.9)."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from meshagent.api.contracts import developer as api
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.room.events import EventSource
from meshagent.api.room.requests import log_failure
from meshagent.api.transport.chan import ChanClosed, ChanFull
from meshagent.api.transport.protocol import MessageHandler, Protocol
from meshagent.api.wire import envelope

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["DeveloperClient"]

log = logging.getLogger(__name__)


class DeveloperClient(EventSource):
    """Use it as `room.developer`. While enabled, it emits `log` (type, data) for every entry."""

    def __init__(self, room: RoomClient) -> None:
        super().__init__(room._tasks)
        self._room = room
        self._enabled = False

    async def log(self, type: str, data: dict[str, Any]) -> None:
        """Write an entry; errors as `RoomClient.call`."""
        await self._room.call(api.LOG, api.LogEntry(type=type, data=data))

    def log_nowait(self, type: str, data: dict[str, Any]) -> None:
        """Write an entry without waiting; a failure goes to this program's own log."""
        try:
            answer = self._room._call_nowait(api.LOG, api.LogEntry(type=type, data=data))
        except (ChanClosed, ChanFull) as error:
            log.warning("an entry of type %r was not logged: %s", type, error)
        else:
            answer.add_done_callback(partial(log_failure, f"an entry of type {type!r} was not logged"))

    async def enable(self) -> None:
        """Watch the log; the watch survives reconnecting."""
        await self._room.call(api.WATCH, EMPTY)
        self._enabled = True

    async def disable(self) -> None:
        """Watch no more."""
        self._enabled = False
        await self._room.call(api.UNWATCH, EMPTY)

    def _message_handlers(self) -> list[tuple[str, MessageHandler]]:
        return [(api.LOGGED.name, self._on_log)]

    def _on_log(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        entry, _ = envelope.unpack_as(data, api.LogEntry)
        self.emit("log", type=entry.type, data=entry.data)

    async def _restore(self) -> None:
        if self._enabled:
            await self._room._call_now(api.WATCH, EMPTY)
