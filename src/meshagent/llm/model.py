"""One request to a language model and its reply, independent of the provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meshagent.llm.events import LLMEvent

__all__ = ["Emit", "ModelReply", "ModelRequest", "ModelSession", "ToolCall", "ToolDefinition", "Usage"]

Emit = Callable[[LLMEvent], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool as a model sees it; `schema` is the JSON Schema of its arguments."""

    name: str
    description: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A request to a model. Messages have the form described in `AgentChatContext`."""

    model: str
    instructions: str | None
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[ToolDefinition] = ()
    output_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call requested by the model; `arguments` is JSON text, as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Number of tokens that one request used."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """A model's reply: pieces of text, tool calls, or both."""

    texts: Sequence[str] = ()
    calls: Sequence[ToolCall] = ()
    usage: Usage | None = None


class ModelSession(Protocol):
    """A connection to a model for the length of one turn."""

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """Send one request and return the reply. Text is passed to `emit` as it arrives: started, deltas, finished.

        Raises:
            RoomException: The model could not be reached, or returned an error.
        """
        ...
