"""`LLMAdapter`: the interface between agents and language models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.llm.events import EventHandler
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["LLMAdapter"]


class LLMAdapter(ABC):
    """A language model that can use tools."""

    def default_model(self) -> str:
        """Return the name of the model used if a call names none."""
        return "default"

    def create_chat_context(self) -> AgentChatContext:
        """Return a new, empty conversation."""
        return AgentChatContext()

    @abstractmethod
    async def next(
        self,
        *,
        context: AgentChatContext,
        room: RoomClient,
        toolkits: Sequence[Toolkit] = (),
        tool_adapter: ToolResponseAdapter | None = None,
        output_schema: Mapping[str, Any] | None = None,
        event_handler: EventHandler | None = None,
        model: str | None = None,
        caller: Participant | None = None,
        on_behalf_of: Participant | None = None,
    ) -> Any:
        """Let the model answer, calling tools as often as it requests them.

        All messages, tool calls and results are appended to `context`. Cancellation leaves the context as it was
        after the last complete step, so every tool call in it has its result.

        Args:
            context: The conversation; the model answers its last message.
            room: The room that tools work in.
            toolkits: Toolkits the model may use. If a tool fails, the model receives the error and continues.
            tool_adapter: Converts tool responses to text.
            output_schema: JSON Schema of the answer.
            event_handler: Called with each `LLMEvent`.
            model: Model to use instead of the default.
            caller: The caller that tools see. Default: the local participant.
            on_behalf_of: The participant that the tools are called for.

        Returns:
            The text of the answer, or the JSON value if there is an `output_schema`.

        Raises:
            RoomException: The model could not be reached or returned an error; see its `retryable`.
            LimitExceededError: The model did not finish within the adapter's maximum number of steps.
            InvalidRequestError: The answer does not fit `output_schema`, even after corrections.
        """
