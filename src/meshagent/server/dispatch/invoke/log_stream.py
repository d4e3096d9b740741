"""`developer.logs`: the room's log as a stream (protocol 14.9)."""

from __future__ import annotations

from meshagent.api import jsontext
from meshagent.api.contracts.developer import LogEntry
from meshagent.server.dispatch.contents import binary_content
from meshagent.server.dispatch.invoke.stream import Stream
from meshagent.server.dispatch.invoke.stream_tasks import Inbox
from meshagent.server.kernel.room_log import RoomLog


class LogHandler:
    """Serves `developer.logs` until the client closes."""

    def __init__(self, log: RoomLog) -> None:
        self._log = log

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        stream.participant.scope.require_developer_logs()

        def show(entry: LogEntry) -> None:
            stream.push(binary_content({"type": entry.type}, jsontext.dumps(entry.data)))

        with self._log.following(show):
            while not (await inbox.next()).is_close:
                pass
