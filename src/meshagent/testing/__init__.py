"""Tests of programs that use rooms: a real server for the length of a block, and models that follow a script.

    async with room_server() as server, server.join("alice") as room:
        ...

Needs the extra `server` (`pip install 'openmeshagent[server]'`). Fixtures for pytest are in `pytest_plugin`. Names are
loaded when they are first used, so that the plugin costs nothing where it is installed and not used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshagent.agents.llm.scripted import Fail, Reply, ScriptedAdapter, ScriptedModel, call, echo, say
    from meshagent.testing.server import RoomServer, room_server

_MODULE_OF = {
    **dict.fromkeys(["RoomServer", "room_server"], "meshagent.testing.server"),
    **dict.fromkeys(
        ["Fail", "Reply", "ScriptedAdapter", "ScriptedModel", "call", "echo", "say"], "meshagent.agents.llm.scripted"
    ),
}

__all__ = [
    "Fail",
    "Reply",
    "RoomServer",
    "ScriptedAdapter",
    "ScriptedModel",
    "call",
    "echo",
    "room_server",
    "say",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # found directly from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
