"""Language models for agents: the interface, adapters for providers, and a scripted model for tests."""

from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.events import (
    EventHandler,
    LLMEvent,
    TextDelta,
    TextFinished,
    TextStarted,
    ToolCallFinished,
    ToolCallStarted,
    UsageReported,
)
from meshagent.agents.llm.tool_answers import ToolResponseAdapter

__all__ = [
    "AgentChatContext",
    "EventHandler",
    "LLMAdapter",
    "LLMEvent",
    "TextDelta",
    "TextFinished",
    "TextStarted",
    "ToolCallFinished",
    "ToolCallStarted",
    "ToolResponseAdapter",
    "UsageReported",
]
