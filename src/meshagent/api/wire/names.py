"""Names of messages that have a meaning of their own on the wire (spec room-protocol 3, 5.1)."""

from __future__ import annotations

from typing import Final

RESPONSE: Final = "__response__"

CONNECTED: Final = "connected"
ROOM_READY: Final = "room_ready"
ROOM_STATUS: Final = "room.status"
LIFECYCLE: Final = frozenset({CONNECTED, ROOM_READY, ROOM_STATUS})

SET_ATTRIBUTES: Final = "set_attributes"
MESSAGE: Final = "messaging.send"
DOCUMENT_UPDATE: Final = "room.sync"
FILE_UPDATED: Final = "storage.file.updated"
FILE_DELETED: Final = "storage.file.deleted"
FILE_MOVED: Final = "storage.file.moved"
DEVELOPER_LOG: Final = "developer.log"

AGENT_ASK: Final = "agent.ask"
AGENT_ASK_RESPONSE: Final = "agent.ask_response"
TOOL_CALL_PREFIX: Final = "agent.tool_call."
TOOL_CALL_RESPONSE: Final = "agent.tool_call_response"
