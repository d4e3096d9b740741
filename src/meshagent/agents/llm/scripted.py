"""`ScriptedAdapter`: an adapter whose model follows a script, for tests and first steps without a provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from meshagent.agents.llm.tool_loop import ToolLoopAdapter
from meshagent.llm.model import ModelSession
from meshagent.llm.scripted import Fail, Reply, Script, ScriptedModel, call, echo, say

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["Fail", "Reply", "ScriptedAdapter", "ScriptedModel", "call", "echo", "say"]


class ScriptedAdapter(ToolLoopAdapter):
    """An `LLMAdapter` whose model follows a script.

    Args:
        script: The model's replies. Default: `echo`.
        delay: Seconds between two words.
    """

    def __init__(self, script: Script | None = None, *, delay: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.model = ScriptedModel(echo if script is None else script, delay=delay)

    def default_model(self) -> str:
        return "scripted"

    @asynccontextmanager
    async def session(self, room: RoomClient) -> AsyncIterator[ModelSession]:
        yield self.model
