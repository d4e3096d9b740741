"""Agents: programs that join rooms to answer, to work, and to be asked.

Names are loaded when they are first used, so that an agent costs what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshagent.agents.agent import SingleRoomAgent
    from meshagent.agents.chat import ChatBot
    from meshagent.agents.context import AgentCallContext
    from meshagent.agents.embedding import Embedder, HashingEmbedder
    from meshagent.agents.indexer import RagToolkit, StorageIndexer
    from meshagent.agents.listener import Listener, ListenerContext
    from meshagent.agents.llm import AgentChatContext, LLMAdapter, ToolResponseAdapter
    from meshagent.agents.llm_task_runner import DynamicLLMTaskRunner, LLMTaskRunner
    from meshagent.agents.pydantic_agent import PydanticAgent
    from meshagent.agents.rejoin import rejoin_forever
    from meshagent.agents.requirements import install_requirements
    from meshagent.agents.task_runner import TaskRunner
    from meshagent.agents.worker import Worker

_HOMES = {
    "agent": ["SingleRoomAgent"],
    "chat": ["ChatBot"],
    "context": ["AgentCallContext"],
    "embedding": ["Embedder", "HashingEmbedder"],
    "indexer": ["RagToolkit", "StorageIndexer"],
    "listener": ["Listener", "ListenerContext"],
    "llm": ["AgentChatContext", "LLMAdapter", "ToolResponseAdapter"],
    "llm_task_runner": ["DynamicLLMTaskRunner", "LLMTaskRunner"],
    "pydantic_agent": ["PydanticAgent"],
    "requirements": ["install_requirements"],
    "rejoin": ["rejoin_forever"],
    "task_runner": ["TaskRunner"],
    "worker": ["Worker"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AgentCallContext",
    "AgentChatContext",
    "ChatBot",
    "DynamicLLMTaskRunner",
    "Embedder",
    "HashingEmbedder",
    "LLMAdapter",
    "LLMTaskRunner",
    "Listener",
    "ListenerContext",
    "PydanticAgent",
    "RagToolkit",
    "SingleRoomAgent",
    "StorageIndexer",
    "TaskRunner",
    "ToolResponseAdapter",
    "Worker",
    "install_requirements",
    "rejoin_forever",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
