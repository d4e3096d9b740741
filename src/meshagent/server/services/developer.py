"""The room's log: written by participants and by the server, read by watchers (protocol 13.2)."""

from __future__ import annotations

from meshagent.api.contracts import developer as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import ServedOperation, serve
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.room_log import RoomLog


class DeveloperService:
    """Serves the `developer.*` operations of one room.

    Args:
        room: Whose log it is.
        log: That log.
    """

    def __init__(self, room: RoomContext, log: RoomLog) -> None:
        self._room = room
        self._log = log
        self._watchers: dict[str, Participant] = {}

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.LOG, self.log, grant=None),
            serve(api.WATCH, self.watch, grant=lambda scope, _: scope.require_developer_logs()),
            serve(api.UNWATCH, self.unwatch, grant=None),
        ]

    def log(self, caller: Participant, entry: api.LogEntry) -> Empty:
        """Show an entry to every watcher, its writer included."""
        self._log.show(entry)
        return EMPTY

    def watch(self, caller: Participant, request: Empty) -> Empty:
        if not self._watchers:  # while nobody watches, the log builds no entries
            self._log.follow(self._show)
        self._watchers[caller.id] = caller
        return EMPTY

    def unwatch(self, caller: Participant, request: Empty) -> Empty:
        self.left(caller)
        return EMPTY

    def left(self, participant: Participant) -> None:
        self._watchers.pop(participant.id, None)
        if not self._watchers:
            self._log.unfollow(self._show)

    async def close(self) -> None:
        self._watchers.clear()
        self._log.unfollow(self._show)

    def _show(self, entry: api.LogEntry) -> None:
        self._room.publish(api.LOGGED, entry, to=list(self._watchers.values()))
