"""What an agent learns about the question that it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from meshagent.tools.context import ToolContext
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["AgentCallContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCallContext:
    """One ask.

    Attributes:
        room: The room in which it was asked.
        caller: Who asked.
        on_behalf_of: For whom the caller asks, if for somebody else.
        toolkits: What the agent may use for this answer: its own toolkits, those that it requires, and those
            that the caller handed along.
        task_id: Identifies the ask.
    """

    room: RoomClient
    caller: Participant
    on_behalf_of: Participant | None = None
    toolkits: list[Toolkit] = field(default_factory=list)
    task_id: str = ""

    @property
    def beneficiary(self) -> Participant:
        """The one whom the answer is for: `on_behalf_of`, else the caller."""
        return self.caller if self.on_behalf_of is None else self.on_behalf_of

    def tool_context(self) -> ToolContext:
        """The context in which the agent calls tools: in its own name, for the beneficiary."""
        return ToolContext(room=self.room, caller=self.room.local_participant, on_behalf_of=self.beneficiary)
