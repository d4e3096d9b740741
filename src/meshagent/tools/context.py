"""What a tool learns about the call that it serves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["ToolContext"]


@dataclass(frozen=True, slots=True)
class ToolContext:
    """One call of a tool.

    Attributes:
        room: The room that the tool works in.
        caller: Who called. Somebody who did not enable messaging is known by id only.
        on_behalf_of: For whom the caller acts, if for somebody else: whose dialogs to show, whose data to use.
        caller_context: Whatever the caller handed along; the tool and its callers agree on what that is.
        attachment: Bytes that came with the arguments.
    """

    room: RoomClient
    caller: Participant
    on_behalf_of: Participant | None = None
    caller_context: dict[str, Any] | None = None
    attachment: bytes = b""

    @property
    def beneficiary(self) -> Participant:
        """The one whom the call is for: `on_behalf_of`, else the caller."""
        return self.caller if self.on_behalf_of is None else self.on_behalf_of
