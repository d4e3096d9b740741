"""The room's log: written by participants and by the server, read by watchers (spec room-protocol 5.9)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from meshagent.api.contracts import developer as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import Served, serve
from meshagent.server.kernel.participant import Participant


class DeveloperService:
    """Serves the `developer.*` operations of one room, and takes the server's own entries.

    Args:
        room: Whose log it is.
        keep: Told of the server's own entries, for the record of the run; not of participants' entries.
    """

    def __init__(self, room: RoomContext, keep: Callable[[str, Mapping[str, Any]], None] | None = None) -> None:
        self._room = room
        self._keep = keep
        self._watchers: dict[str, Participant] = {}
        self._followers: set[Callable[[api.LogEntry], None]] = set()

    def operations(self) -> list[Served]:
        return [
            serve(api.LOG, self.log, grant=None),
            serve(api.WATCH, self.watch, grant=lambda scope, _: scope.require_developer_logs()),
            serve(api.UNWATCH, self.unwatch, grant=None),
        ]

    def log(self, caller: Participant, entry: api.LogEntry) -> Empty:
        """Show an entry to every watcher, its writer included."""
        self._show(entry)
        return EMPTY

    def watch(self, caller: Participant, request: Empty) -> Empty:
        self._watchers[caller.id] = caller
        return EMPTY

    def unwatch(self, caller: Participant, request: Empty) -> Empty:
        self._watchers.pop(caller.id, None)
        return EMPTY

    def record(self, entry_type: str, data: Mapping[str, Any]) -> None:
        """An entry of the server's own: who came and went, which calls ran, what failed."""
        if self._keep is not None:
            self._keep(entry_type, data)
        if self._watchers or self._followers:
            self._show(api.LogEntry(type=entry_type, data=dict(data)))

    @contextmanager
    def following(self, show: Callable[[api.LogEntry], None]) -> Iterator[None]:
        """Give every entry to `show` for the length of the block; it must neither wait nor raise."""
        self._followers.add(show)
        try:
            yield
        finally:
            self._followers.discard(show)

    def left(self, participant: Participant) -> None:
        self._watchers.pop(participant.id, None)

    async def close(self) -> None:
        self._watchers.clear()

    def _show(self, entry: api.LogEntry) -> None:
        for show in list(self._followers):
            show(entry)
        if self._watchers:
            self._room.publish(api.LOGGED, entry, to=list(self._watchers.values()))
