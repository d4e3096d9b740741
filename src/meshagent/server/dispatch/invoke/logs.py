"""`developer.logs`: the room's log as a stream (spec room-protocol-current 2.11)."""

from __future__ import annotations

from meshagent.api import jsontext
from meshagent.api.contracts.developer import LogEntry
from meshagent.server.dispatch.invoke.messages import binary_chunk
from meshagent.server.dispatch.invoke.streams import Inbox, Output
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.room_log import RoomLog


class LogWork:
    """Serves `developer.logs` until the client closes."""

    def __init__(self, log: RoomLog) -> None:
        self._log = log

    async def run(self, caller: Participant, items: Inbox, output: Output) -> None:
        caller.scope.require_developer_logs()

        def show(entry: LogEntry) -> None:
            output.send(binary_chunk({"type": entry.type}, jsontext.dumps(entry.data)))

        with self._log.following(show):
            while not (await items.next()).is_close:
                pass
