"""Which events rooms have for webhooks, and what they tell (spec room-protocol 8.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

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

    def file_updated(self, room: RoomContext, path: str, participant_id: str | None) -> None:
        """A file was created or replaced; `participant_id` None is the server itself."""
        self._publish(room, "storage.file.updated", path=path, participant_id=participant_id)

    def file_deleted(self, room: RoomContext, path: str, participant_id: str | None) -> None:
        """A file was deleted."""
        self._publish(room, "storage.file.deleted", path=path, participant_id=participant_id)

    def _publish(self, room: RoomContext, event: str, **data: Any) -> None:
        self._sink.publish(room.project_id, event, {"room_name": room.name, **data})
