"""Events that an `LLMAdapter` emits while the model answers."""

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
    """The model starts a piece of text. A turn may have several, separated by tool calls."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The piece of text grew: `delta` was appended, `text` is the whole piece so far."""

    delta: str
    text: str


@dataclass(frozen=True, slots=True)
class TextFinished:
    """The piece of text is complete."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """The model calls a tool; `call_id` is unique in the conversation."""

    call_id: str
    toolkit: str
    tool: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCallFinished:
    """The tool returned. A failure is an `ErrorBody`, which the model receives like any other answer."""

    call_id: str
    toolkit: str
    tool: str
    answer: Body


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Number of tokens that one request to the model used."""

    model: str
    input_tokens: int
    output_tokens: int


LLMEvent: TypeAlias = TextStarted | TextDelta | TextFinished | ToolCallStarted | ToolCallFinished | UsageReported

EventHandler = Callable[[LLMEvent], "Awaitable[None] | None"]
"""Handles one event. A coroutine function is awaited before more of the model's output is read."""
