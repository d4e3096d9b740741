"""What is asked for at each event or room start, kept in memory by project."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class ProjectCache(Generic[ValueT]):
    """Values by project, read with `load` when first asked for and again after `invalidate`."""

    def __init__(self, load: Callable[[str], Awaitable[ValueT]]) -> None:
        self._load = load
        self._known: dict[str, ValueT] = {}
        self._changes = 0

    async def of_project(self, project_id: str) -> ValueT:
        """The project's value; errors of `load` are passed on."""
        if project_id in self._known:
            return self._known[project_id]
        changes = self._changes
        value = await self._load(project_id)
        if changes == self._changes:  # else it may have been read just before the change
            self._known[project_id] = value
        return value

    def invalidate(self, project_id: str | None = None) -> None:
        """The project's value, or everybody's, has changed."""
        self._changes += 1
        if project_id is None:
            self._known.clear()
        else:
            self._known.pop(project_id, None)
