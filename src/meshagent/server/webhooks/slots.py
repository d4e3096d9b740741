"""Bounds how many requests of one project are under way at a time."""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakValueDictionary

PROJECT_REQUESTS: Final = 16
"""Requests to the webhooks of one project: receivers that hang must not take all connections of the server."""


class ProjectSlots:
    """A semaphore for each project that uses one."""

    def __init__(self, per_project: int = PROJECT_REQUESTS) -> None:
        self._per_project = per_project
        self._slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def of_project(self, project_id: str) -> asyncio.Semaphore:
        """The project's semaphore; hold on to it while you use it."""
        slots = self._slots.get(project_id)
        if slots is None:
            slots = self._slots[project_id] = asyncio.Semaphore(self._per_project)
        return slots
