"""The writes of one table, one at a time; waiting inserts are combined (group commit)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from meshagent.api.contracts.database import Row
from meshagent.api.errors import InternalError, InvalidStateError, LimitExceededError, RoomException
from meshagent.server.stores.tables.work_clock import WorkClock, current_clock

__all__ = ["WriteQueue"]

log = logging.getLogger(__name__)

T = TypeVar("T")

InsertGroup = Callable[[Sequence[Sequence[Row]]], Awaitable[Sequence[RoomException | None]]]
"""Stores the rows of several requests and returns an error or None for each."""


@dataclass(slots=True, eq=False)
class _Insert:
    rows: Sequence[Row]
    done: asyncio.Future[None]
    clock: WorkClock


@dataclass(slots=True, eq=False)
class _Work:
    run: Callable[[], Awaitable[Any]]
    done: asyncio.Future[Any]
    clock: WorkClock


class WriteQueue:
    """Runs writes in order of arrival, one at a time, in a task that exists while there are writes.

    An accepted write completes even if its caller is cancelled.

    Args:
        insert: Stores a group of inserts.
        after: Called after each write, when its requests are answered, with whether the queue is empty. Its errors are
            logged.
        max_waiting: Maximum number of waiting writes.
        max_group_rows: Maximum number of rows that are combined; a single request may have more.
    """

    def __init__(
        self,
        *,
        insert: InsertGroup,
        after: Callable[[bool], Awaitable[None]],
        max_waiting: int = 10_000,
        max_group_rows: int = 10_000,
    ) -> None:
        self._insert = insert
        self._after = after
        self._max_waiting = max_waiting
        self._max_group_rows = max_group_rows
        self._waiting: deque[_Insert | _Work] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        return self._task is None

    def insert(self, rows: Sequence[Row]) -> asyncio.Future[None]:
        """Store rows, together with those of other waiting requests.

        Raises:
            LimitExceededError: Too many writes are waiting.
            InvalidStateError: The queue is closed.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._append(_Insert(rows, done, current_clock()))
        return done

    def run(self, work: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Call `work` when all earlier writes are done; the future gets its result. Errors as in `insert`."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._append(_Work(work, done, current_clock()))
        return done

    async def close(self) -> None:
        """Accept no more writes, and finish the accepted ones."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])

    def _append(self, job: _Insert | _Work) -> None:
        if self._closed:
            raise InvalidStateError("the room has ended")
        if len(self._waiting) >= self._max_waiting:
            raise LimitExceededError(f"{self._max_waiting} writes are already waiting", limit=self._max_waiting)
        job.clock.waits()
        self._waiting.append(job)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="table writes")

    async def _work(self) -> None:
        try:
            while self._waiting:
                first = self._waiting.popleft()
                if isinstance(first, _Insert):
                    await self._insert_group(self._group_of(first))
                else:
                    await self._settle([first], self._run(first))
                await self._settle([], self._after(not self._waiting))
        finally:
            self._task = None
            while self._waiting:  # only if this task was cancelled
                self._waiting.popleft().done.cancel()

    def _group_of(self, first: _Insert) -> list[_Insert]:
        group = [first]
        rows = len(first.rows)
        while self._waiting and isinstance(following := self._waiting[0], _Insert):
            rows += len(following.rows)
            if rows > self._max_group_rows:
                break
            self._waiting.popleft()
            group.append(following)
        return group

    async def _insert_group(self, group: Sequence[_Insert]) -> None:
        for job in group:
            job.clock.begins()

        async def insert() -> None:
            failures = await self._insert([job.rows for job in group])
            for job, failure in zip(group, failures, strict=True):
                if job.done.done():
                    continue
                if failure is None:
                    job.done.set_result(None)
                else:
                    job.done.set_exception(failure)

        await self._settle(group, insert())

    async def _run(self, work: _Work) -> None:
        work.clock.begins()
        result = await work.run()
        if not work.done.done():
            work.done.set_result(result)

    async def _settle(self, jobs: Sequence[_Insert | _Work], step: Awaitable[None]) -> None:
        """Await `step`; its errors fail `jobs` and do not stop the queue."""
        try:
            await step
        except RoomException as error:
            if not jobs:
                log.warning("cannot optimize a table: %s", error)
            for job in jobs:
                _fail(job, error)
        except Exception:
            log.exception("cannot write to a table")
            for job in jobs:
                _fail(job, InternalError("internal error while writing; see the server log"))
        except asyncio.CancelledError:
            for job in jobs:
                job.done.cancel()
            raise


def _fail(job: _Insert | _Work, error: RoomException) -> None:
    if not job.done.done():
        job.done.set_exception(error)
