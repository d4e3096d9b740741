"""`VoiceCall`: what `VoiceBot` passes to the function that runs a voice conversation."""

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
    """One voice conversation.

    Attributes:
        connection: URL and token of the meeting.
        rules: Instructions for the model.
        toolkits: Toolkits the model may use.
        tool_context: The context for the model's tool calls.
        greeting: What to say first, verbatim.
        greeting_prompt: An instruction for the model to greet by, instead of `greeting`.
    """

    connection: LivekitConnectionInfo
    rules: Sequence[str]
    toolkits: Sequence[Toolkit]
    tool_context: ToolContext
    greeting: str | None = None
    greeting_prompt: str | None = None


TalkInVoice = Callable[[VoiceCall], Awaitable[None]]
"""Joins a meeting, converses until the others have left, and leaves. Cancelling it hangs up."""
