"""Contexts for tools that are called without a room."""

from __future__ import annotations

from typing import Any, cast

from meshagent.api.room.client import RoomClient
from meshagent.api.room.participants import RemoteParticipant
from meshagent.tools.context import ToolContext


def context(room: object = None, **fields: Any) -> ToolContext:
    """A call by alice; `room` may be whatever the tool at hand can work with."""
    caller = RemoteParticipant(id="alice", role="user", attributes={"name": "alice"})
    return ToolContext(room=cast(RoomClient, room), caller=caller, **fields)
