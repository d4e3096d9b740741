"""Language models for agents: the interface, adapters for providers, and a scripted model for tests."""

from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.local_model import LocalModelAdapter
from meshagent.agents.llm.openai_adapter import OpenAICompletionsAdapter, OpenAIResponsesAdapter
from meshagent.agents.llm.scripted import Fail, Reply, ScriptedAdapter, ScriptedModel
from meshagent.agents.llm.tool_loop import ToolLoopAdapter
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.llm.events import (
    EventHandler,
    LLMEvent,
    TextDelta,
    TextFinished,
    TextStarted,
    ToolCallFinished,
    ToolCallStarted,
    UsageReported,
)

__all__ = [
    "AgentChatContext",
    "EventHandler",
    "Fail",
    "LLMAdapter",
    "LLMEvent",
    "LocalModelAdapter",
    "OpenAICompletionsAdapter",
    "OpenAIResponsesAdapter",
    "Reply",
    "ScriptedAdapter",
    "ScriptedModel",
    "TextDelta",
    "TextFinished",
    "TextStarted",
    "ToolCallFinished",
    "ToolCallStarted",
    "ToolLoopAdapter",
    "ToolResponseAdapter",
    "UsageReported",
]
