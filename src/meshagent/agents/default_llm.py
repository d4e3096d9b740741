"""Which language model an agent uses that was given none."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from meshagent.agents.llm.adapter import LLMAdapter

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["llm_or_default"]


def llm_or_default(llm_adapter: LLMAdapter | None, room: RoomClient) -> LLMAdapter:
    """The model that an agent was given; else the room's own, which needs no key.

    The room passes requests on to the provider that its server is configured for. Where the client of that API is
    not installed, a model that echoes answers here.
    """
    if llm_adapter is not None:
        return llm_adapter
    if find_spec("openai") is None:
        from meshagent.agents.llm.scripted import ScriptedAdapter

        return ScriptedAdapter()
    from meshagent.agents.llm.openai_adapter import OpenAIResponsesAdapter

    return OpenAIResponsesAdapter()
