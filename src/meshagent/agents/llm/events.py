"""What happens while a language model answers, as it happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from meshagent.api.contracts.content import Body

__all__ = [
    "EventHandler",
    "LLMEvent",
    "TextDelta",
    "TextFinished",
    "TextStarted",
    "ToolCallFinished",
    "ToolCallStarted",
    "UsageReported",
]


@dataclass(frozen=True, slots=True)
class TextStarted:
    """The model begins a piece of text; a turn may have several, between tool calls."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the piece. `text` is the whole piece so far, `delta` its new end."""

    delta: str
    text: str


@dataclass(frozen=True, slots=True)
class TextFinished:
    """The piece is complete."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model calls a tool. `call_id` is unique in the conversation."""

    call_id: str
    toolkit: str
    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCallFinished:
    """The tool has answered; a failure is an `ErrorBody`, which the model gets to read like any answer."""

    call_id: str
    toolkit: str
    tool: str
    answer: Body


@dataclass(frozen=True, slots=True)
class UsageReported:
    """What one request to the model cost, in tokens."""

    model: str
    input_tokens: int
    output_tokens: int


LLMEvent: TypeAlias = TextStarted | TextDelta | TextFinished | ToolCallStarted | ToolCallFinished | UsageReported

EventHandler = Callable[[LLMEvent], "Awaitable[None] | None"]
"""Takes one event; may be a coroutine function, which is awaited before the model is read further."""
