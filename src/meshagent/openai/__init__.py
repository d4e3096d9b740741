"""Adapters for OpenAI-compatible models, under the import path of existing programs."""

from meshagent.agents.llm.openai_adapter import OpenAICompletionsAdapter, OpenAIResponsesAdapter

__all__ = ["OpenAICompletionsAdapter", "OpenAIResponsesAdapter"]
