"""Agents: programs that join rooms to chat, run tasks and process queues.

Each name is imported on first use, so an agent loads only the modules and optional packages it needs.
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
    "rejoin": ["rejoin_forever"],
    "requirements": ["install_requirements"],
    "task_runner": ["TaskRunner"],
    "worker": ["Worker"],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

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
    globals()[name] = value  # later lookups no longer call __getattr__
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
