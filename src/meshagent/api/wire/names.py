"""Names of messages that are neither operations nor events of `api.contracts` (protocol 3, 2.7)."""

from __future__ import annotations

from typing import Final

RESPONSE: Final = "__response__"

CONNECTED: Final = "connected"
ROOM_READY: Final = "room_ready"
ROOM_STATUS: Final = "room.status"
LIFECYCLE: Final = frozenset({CONNECTED, ROOM_READY, ROOM_STATUS})

SET_ATTRIBUTES: Final = "set_attributes"

AGENT_ASK_RESPONSE: Final = "agent.ask_response"
TOOL_CALL_PREFIX: Final = "agent.tool_call."
TOOL_CALL_RESPONSE: Final = "agent.tool_call_response"
