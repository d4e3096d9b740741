"""The adapters for OpenAI-compatible models, under the name that existing programs import."""

from meshagent.agents.llm.openai_adapter import OpenAICompletionsAdapter, OpenAIResponsesAdapter

__all__ = ["OpenAICompletionsAdapter", "OpenAIResponsesAdapter"]
