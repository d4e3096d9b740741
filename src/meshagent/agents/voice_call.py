"""A voice conversation that is about to be held: what `VoiceBot` passes to whatever leads the conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshagent.tools.context import ToolContext
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.livekit import LivekitConnectionInfo

__all__ = ["TalkInVoice", "VoiceCall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceCall:
    """One conversation that is to be led.

    Attributes:
        connection: Where the meeting is, and the token for it.
        rules: What the model follows.
        toolkits: What the model may use.
        tool_context: In which it calls tools.
        greeting: What to say first, word for word.
        greeting_prompt: What to say first, for the model to put into words.
    """

    connection: LivekitConnectionInfo
    rules: Sequence[str]
    toolkits: Sequence[Toolkit]
    tool_context: ToolContext
    greeting: str | None = None
    greeting_prompt: str | None = None


TalkInVoice = Callable[[VoiceCall], Awaitable[None]]
"""Joins a meeting, talks until the others have left, and leaves; cancelling it hangs up."""
