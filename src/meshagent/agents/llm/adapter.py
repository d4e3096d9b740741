"""`LLMAdapter`: what agents need of a language model, whoever provides it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.events import EventHandler
from meshagent.agents.llm.tool_answers import ToolResponseAdapter
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.participant import Participant
    from meshagent.api.room.client import RoomClient

__all__ = ["LLMAdapter"]


class LLMAdapter(ABC):
    """A language model that can use tools."""

    def default_model(self) -> str:
        """The name of the model that is used when none is asked for."""
        return "default"

    def create_chat_context(self) -> AgentChatContext:
        """A new conversation."""
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
        """Let the model answer, calling tools as often as it wants to, until it is done.

        Everything that is said and called is appended to `context`. Cancelling leaves the context as it was after
        the last complete step: every call in it has its result.

        Args:
            context: The conversation; its last message is what the model answers.
            room: The room that tools work in.
            toolkits: What the model may call. A tool that fails does not end the turn: the model reads the error.
            tool_adapter: How tool answers become text.
            output_schema: JSON Schema that the answer must follow.
            event_handler: Called with each `LLMEvent`.
            model: Another model than the default one.
            caller: Who calls the tools, as they see it; oneself by default.
            on_behalf_of: For whom the tools are called.

        Returns:
            The answer's text; with `output_schema` the JSON value.

        Raises:
            RoomException: The model could not be reached or refused; `retryable` says whether to try again.
            LimitExceededError: The model went on calling tools beyond all measure.
            InvalidRequestError: The answer does not follow `output_schema`, even after the model was told.
        """
