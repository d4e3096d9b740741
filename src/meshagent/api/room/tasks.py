"""Tasks that belong to one object and end with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

__all__ = ["OwnedTasks"]

T = TypeVar("T")

log = logging.getLogger(__name__)


class OwnedTasks:
    """Starts tasks, logs their failures, and cancels those that still run on `close`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Awaitable[T], name: str, *, quiet: bool = False) -> asyncio.Task[T]:
        """Run `work` as a task.

        Args:
            work: A coroutine or another awaitable.
            name: The task's name. If the task fails, the log says `NAME failed`, with the traceback.
            quiet: Do not log a failure, because somebody awaits the task.
        """
        coroutine = work if isinstance(work, Coroutine) else _awaiting(work)
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_retrieve if quiet else _report)
        return task

    async def close(self) -> None:
        """Cancel all tasks but the calling one, and wait for their end."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _report(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s failed", task.get_name(), exc_info=error)


def _retrieve(task: asyncio.Task[Any]) -> None:
    # asyncio logs "exception was never retrieved" for tasks whose exception nobody has looked at.
    if not task.cancelled():
        task.exception()


async def _awaiting(work: Awaitable[T]) -> T:
    return await work
