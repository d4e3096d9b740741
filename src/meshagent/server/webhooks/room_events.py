"""The events that rooms send to webhooks, and their data (protocol 15.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from meshagent.api.contracts.storage import FILE_DELETED, FILE_UPDATED, FileEvent
from meshagent.server.kernel.context import RoomContext


class EventSink(Protocol):
    """Takes events; `WebhookDeliverer` is the real one."""

    def publish(self, project_id: str, event: str, data: Mapping[str, Any]) -> None:
        """Tell the project's webhooks; must neither wait nor raise."""
        ...


class RoomEvents:
    """Tells webhooks what happens in rooms; every method returns at once."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink

    def started(self, room: RoomContext) -> None:
        """A room started."""
        self._publish(room, "room.started", room_url=room.url, session_id=room.session_id)

    def ended(self, room: RoomContext) -> None:
        """A room ended."""
        self._publish(room, "room.ended", session_id=room.session_id)

    def file_updated(self, room: RoomContext, change: FileEvent) -> None:
        """A file was created or replaced."""
        self._publish(room, FILE_UPDATED.name, path=change.path, participant_id=change.participant_id)

    def file_deleted(self, room: RoomContext, change: FileEvent) -> None:
        """A file was deleted."""
        self._publish(room, FILE_DELETED.name, path=change.path, participant_id=change.participant_id)

    def _publish(self, room: RoomContext, event: str, **data: Any) -> None:
        self._sink.publish(room.project_id, event, {"room_name": room.name, **data})
