"""The language model that agents use by default."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from meshagent.agents.llm.adapter import LLMAdapter

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["llm_or_default"]


def llm_or_default(llm_adapter: LLMAdapter | None, room: RoomClient) -> LLMAdapter:
    """Return the given adapter, or one for the room's model proxy, which needs no provider key.

    The proxy forwards requests to the provider that the server is configured for. If the `openai` package is not
    installed, an echo model answers in this process instead.
    """
    if llm_adapter is not None:
        return llm_adapter
    if find_spec("openai") is None:
        from meshagent.agents.llm.scripted import ScriptedAdapter

        return ScriptedAdapter()
    from meshagent.agents.llm.openai_adapter import OpenAIResponsesAdapter

    return OpenAIResponsesAdapter()
