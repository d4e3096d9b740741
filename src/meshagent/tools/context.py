"""`ToolContext`: who calls a tool, and in which room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["ToolContext"]


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The context of one tool call.

    Attributes:
        room: The room that the tool works in.
        caller: The calling participant. If it has not enabled messaging, only its id is known.
        on_behalf_of: The participant that the caller acts for, if any: whose dialogs to show, whose data to use.
        caller_context: Application-defined data from the caller.
        attachment: Bytes sent with the arguments.
    """

    room: RoomClient
    caller: Participant
    on_behalf_of: Participant | None = None
    caller_context: dict[str, Any] | None = None
    attachment: bytes = b""

    @property
    def beneficiary(self) -> Participant:
        """The participant that the call is for: `on_behalf_of`, or else the caller."""
        return self.caller if self.on_behalf_of is None else self.on_behalf_of
