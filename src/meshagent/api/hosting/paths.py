"""What a `ServiceHost` can host, and under which path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Startable", "ServicePath"]


class Startable(Protocol):
    """An agent or toolkit that can be started in any room and stopped again."""

    async def start(self, *, room: Any) -> None:
        """Start working in `room`, a `RoomClient` that has joined."""
        ...

    async def stop(self) -> None:
        """Stop working. The host leaves the room afterwards."""
        ...


class ServicePath:
    """A path of a service host, and the class that serves its calls: one instance per call, made without arguments."""

    def __init__(self, *, path: str, cls: Callable[[], Startable]) -> None:
        self.path = path
        self.cls = cls

    def __repr__(self) -> str:
        return f"ServicePath(path={self.path!r}, cls={self.cls!r})"
