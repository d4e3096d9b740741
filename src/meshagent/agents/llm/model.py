"""One request to a language model and its reply, in a form that knows no provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from meshagent.agents.llm.events import LLMEvent

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
    """What a model is asked. Messages have the form of `AgentChatContext`."""

    model: str
    instructions: str | None
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[ToolDefinition] = ()
    output_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model wants a tool to be called; `arguments` is JSON text, as the model wrote it."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that one request cost."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelReply:
    """What a model answered: pieces of text, calls of tools, or both."""

    texts: Sequence[str] = ()
    calls: Sequence[ToolCall] = ()
    usage: Usage | None = None


class ModelSession(Protocol):
    """A model that can be asked."""

    async def complete(self, request: ModelRequest, emit: Emit) -> ModelReply:
        """Ask once. Text is told to `emit` as it comes: started, deltas, finished.

        Raises:
            RoomException: The model could not be reached, or refused.
        """
        ...
