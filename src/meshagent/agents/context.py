"""`AgentCallContext`: who asked an agent, where, and with which tools."""

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
    """The context of one request to an agent.

    Attributes:
        room: The room that the request came from.
        caller: The participant that sent the request.
        on_behalf_of: The participant that the caller acts for, if any.
        toolkits: The toolkits the agent may use for this request: its own, the required ones, and those passed
            by the caller.
        task_id: Identifies the request.
    """

    room: RoomClient
    caller: Participant
    on_behalf_of: Participant | None = None
    toolkits: list[Toolkit] = field(default_factory=list)
    task_id: str = ""

    @property
    def beneficiary(self) -> Participant:
        """The participant that the answer is for: `on_behalf_of`, or else the caller."""
        return self.caller if self.on_behalf_of is None else self.on_behalf_of

    def tool_context(self) -> ToolContext:
        """Return the context for tool calls: the agent is the caller, on behalf of the beneficiary."""
        return ToolContext(room=self.room, caller=self.room.local_participant, on_behalf_of=self.beneficiary)
