"""What a service host can host, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Portable", "ServicePath"]


class Portable(Protocol):
    """An agent or tool that can be taken into any room."""

    async def start(self, *, room: Any) -> None:
        """Begin to work in `room`, a `RoomClient` that has joined."""
        ...

    async def stop(self) -> None:
        """Stop working; the host leaves the room afterwards."""
        ...


class ServicePath:
    """A path of a service host, and the class that serves its calls: made without arguments, one per call."""

    def __init__(self, *, path: str, cls: Callable[[], Portable]) -> None:
        self.path = path
        self.cls = cls

    def __repr__(self) -> str:
        return f"ServicePath(path={self.path!r}, cls={self.cls!r})"
