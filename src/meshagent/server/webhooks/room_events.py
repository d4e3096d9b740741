"""The events that rooms send to webhooks, and their data (protocol 15.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from meshagent.api.contracts.operation import Event
from meshagent.api.contracts.storage import FileEvent
from meshagent.server.kernel.context import RoomContext
from meshagent.server.stores.outbox import RoomRun

ROOM_STARTED: Final = "room.started"
ROOM_ENDED: Final = "room.ended"

EventData = Mapping[str, Any]


class ExpectedEvents(Protocol):
    """Events that are stored already, and told once they have happened."""

    def happened(self, index: int = 0) -> None:
        """The event with this index has happened; returns at once, and never fails."""
        ...

    def close(self) -> None:
        """Those that have not happened until now will not happen; may be called twice."""
        ...


class EventSink(Protocol):
    """Takes events; `WebhookAnnouncer` is the real one, and says what each method does."""

    async def is_expected(self, project_id: str, event: str) -> bool: ...

    async def expect(self, run: RoomRun, event: str, data: Sequence[EventData]) -> ExpectedEvents: ...

    async def run_starting(self, run: RoomRun, started: EventData) -> ExpectedEvents: ...

    def run_ended(self, run: RoomRun) -> None: ...

    def run_came_to_nothing(self, run: RoomRun) -> None: ...


class RoomEvents:
    """Tells webhooks what happens in rooms: each event is stored before what it tells of is done.

    What is not async returns at once.
    """

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink

    async def starting(self, room: RoomContext) -> ExpectedEvents:
        """A room is about to start. Follow up with `ended` or `came_to_nothing`."""
        data = {"room_name": room.name, "room_url": room.url, "session_id": room.session_id}
        return await self._sink.run_starting(_run(room), data)

    def ended(self, room: RoomContext) -> None:
        """A room that had started has ended."""
        self._sink.run_ended(_run(room))

    def came_to_nothing(self, room: RoomContext) -> None:
        """A room has ended before anybody came."""
        self._sink.run_came_to_nothing(_run(room))

    async def are_file_events_expected(self, room: RoomContext, event: Event[FileEvent]) -> bool:
        """Whether somebody wants to hear of files that are created or replaced, or of those that are deleted."""
        return await self._sink.is_expected(room.project_id, event.name)

    async def files_changing(
        self, room: RoomContext, event: Event[FileEvent], changes: Sequence[FileEvent]
    ) -> ExpectedEvents:
        """Files are about to be created, replaced or deleted."""
        data = [
            {"room_name": room.name, "path": change.path, "participant_id": change.participant_id} for change in changes
        ]
        return await self._sink.expect(_run(room), event.name, data)


def _run(room: RoomContext) -> RoomRun:
    return RoomRun(session_id=room.session_id, project_id=room.project_id, room_name=room.name)
