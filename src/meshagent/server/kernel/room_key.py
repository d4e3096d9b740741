"""The name of a room on this server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RoomKey:
    """Names a room: ids and names are opaque text."""

    project_id: str
    room_name: str
