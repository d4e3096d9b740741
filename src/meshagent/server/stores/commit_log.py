"""Group commit: one thread owns the database's only writing connection, and what waits shares a transaction."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from meshagent.api.errors import LimitExceededError, RoomException, UnavailableError
from meshagent.server.stores.disk import Disk, Durability, lock_file
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.sqlite_connections import (
    Migrations,
    ReadPool,
    connect,
    is_disk_failure,
    migrate,
    store_error,
)

__all__ = ["CommitLog", "CommitSettings", "Handler", "Refused", "commit_transaction"]

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Refused:
    """A handler's outcome for an item that it did not write, and why."""

    error: RoomException


Handler = Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result | Refused]]
"""Writes a run of items inside the transaction and returns one outcome for each, in order.

It runs in the writer thread. If it raises, the transaction is rolled back and it is called again with fewer items,
down to each alone, so it must not keep state that a rollback hook does not reset.
"""


def commit_transaction(connection: sqlite3.Connection) -> None:
    """Commit; returns when the transaction is as durable as the connection's settings ask for."""
    connection.execute("COMMIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSettings:
    """How writes are gathered, and how many may wait.

    Attributes:
        window_seconds: Longest wait for the writers of the last commit to come back with their next write, 0 to
            0.02. A lone writer never waits; neither does anybody once as many writes are there as last time.
        max_batch: Writes in one transaction.
        max_pending: Writes waiting for the writer thread; more are refused with `LimitExceededError`.
        max_pending_bytes: Their content; a single larger write is let through when nothing waits.
    """

    window_seconds: float = 0.001
    max_batch: int = 2048
    max_pending: int = 16_384
    max_pending_bytes: int = 64 * 1024 * 1024


class _Write:
    """One write on its way; a plain class because thousands are made each second."""

    __slots__ = ("future", "handler", "item", "loop", "settle", "size")

    def __init__(
        self,
        handler: Handler[Any, Any],
        item: object,
        size: int,
        settle: Callable[[Any], None] | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.handler = handler
        self.item = item
        self.size = size
        self.settle = settle
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()


class CommitLog:
    """The writer of one SQLite database, and its readers.

    Writes may be submitted from several event loops; each future is resolved on the loop that submitted it, all of
    one commit in one go. Writes are applied in the order of submission. When the disk refuses a transaction, every
    write in it fails with `StoreFailedError`, `health` says so, and later ones are tried anew; an error in one
    write alone fails only that one.

    Why one thread, and the measurements: docs/decisions/0003-durability.md.
    """

    def __init__(
        self,
        path: Path,
        migrations: Migrations,
        *,
        durability: Durability = "fsync",
        health: HealthMonitor | None = None,
        component: str = "room database",
        settings: CommitSettings | None = None,
        commit: Callable[[sqlite3.Connection], None] = commit_transaction,
    ) -> None:
        """Describe a log; nothing happens before `open`. `commit` is the seam where tests make the disk fail."""
        self._path = path
        self._migrations = migrations
        self._durability: Durability = durability
        self._health = health or HealthMonitor()
        self._component = component
        self._settings = settings or CommitSettings()
        self._commit = commit
        self._changed = threading.Condition(threading.Lock())
        self._pending: deque[_Write] = deque()
        self._pending_bytes = 0
        self._wanted = 1  # pending writes at which the writer thread wants to be woken
        self._busy = False
        self._accepting = False
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        self._rollback_hooks: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._lock_descriptor: int | None = None
        self._reads = ReadPool(path, durability=durability, health=self._health, component=component)

    async def open(self) -> None:
        """Make or open the database, bring its schema up to date, and start the writer thread.

        If this fails or is cancelled, the log is closed: thread, connection and lock are released. A migration that
        has begun is finished first.

        Raises:
            UnavailableError: Another process has it open.
            CorruptDataError, StoreFailedError: It cannot be read or made.
            InvalidStateError: A newer version of the server made it.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(
            target=self._run, args=(loop, opened), name=f"{self._component}-writer", daemon=True
        )
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.close()
            raise

    def on_rollback(self, hook: Callable[[], None]) -> None:
        """Call `hook` in the writer thread after each rolled back transaction, to drop what handlers remember."""
        self._rollback_hooks.append(hook)

    def submit(
        self,
        operation: Callable[[sqlite3.Connection], Result],
        *,
        size: int = 0,
    ) -> asyncio.Future[Result]:
        """Run `operation` in the writer's transaction; the future gives its result once that is durable.

        A `RoomException` of the operation is its answer and leaves the other writes alone. Errors as in
        `submit_item`.
        """
        return self.submit_item(_run_alone, operation, size=size)

    def submit_item(
        self,
        handler: Handler[Item, Result],
        item: Item,
        *,
        size: int = 0,
        settle: Callable[[Result | Exception], None] | None = None,
    ) -> asyncio.Future[Result]:
        """Hand `item` to `handler`, together with its neighbours in line that have the same handler.

        Args:
            handler: The same object each time, or its items do not come together.
            size: Bytes that the write keeps in memory.
            settle: Called on this loop with the result or error, even if the future was cancelled.

        Raises:
            LimitExceededError: Too many writes wait for the disk; nothing was written.
            UnavailableError: The log is closed.
            StoreFailedError: From the future: the write is not known to be durable.
        """
        write = _Write(handler, item, size, settle, asyncio.get_running_loop())
        settings = self._settings
        with self._changed:
            if not self._accepting:
                raise UnavailableError("the store is closed")
            if len(self._pending) >= settings.max_pending:
                raise LimitExceededError("too many writes are waiting for the disk", limit=settings.max_pending)
            if size and self._pending and self._pending_bytes + size > settings.max_pending_bytes:
                raise LimitExceededError("too many bytes are waiting for the disk", limit=settings.max_pending_bytes)
            self._pending.append(write)
            self._pending_bytes += size
            if len(self._pending) >= self._wanted:
                self._changed.notify()
        return write.future

    async def read(self, read: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `read` finds in one state of the database, at least as new as every write submitted before."""
        with self._changed:
            if not self._accepting:
                raise UnavailableError("the store is closed")
            idle = not self._busy and not self._pending
        if not idle:
            await self.submit(_no_op)
        return await self._reads.run(read)

    async def probe(self) -> None:
        """Write and commit a mark, so that health reflects the disk as it is now.

        Raises:
            StoreFailedError: The disk refuses.
        """
        await self.submit(_write_probe)

    async def close(self) -> None:
        """Commit what waits, then stop; closing twice is harmless. Writes submitted from now on are refused."""
        with self._changed:
            self._closed = True
            self._accepting = False
            self._changed.notify_all()
        loop = asyncio.get_running_loop()
        if self._thread is not None:
            await loop.run_in_executor(None, self._thread.join)
            self._thread = None
        await self._reads.close()
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    # --- everything below runs in the writer thread ---

    def _prepare(self) -> None:
        """Make the folder and take the lock: sequence numbers are handed out in memory, so one process writes."""
        try:
            Disk.of(self._durability).make_folder(self._path.parent)
            self._lock_descriptor = lock_file(self._path.with_name(f"{self._path.name}.lock"))
        except BlockingIOError as error:
            raise UnavailableError(f"the database {self._path.name!r} is in use by another server") from error
        except OSError as error:
            raise StoreFailedError(f"cannot open the database: {error}") from error

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            self._prepare()
            migrate(self._open_connection(), self._migrations)
        except Exception as error:  # noqa: BLE001 - handed to the caller of `open`
            self._close_connection()
            loop.call_soon_threadsafe(_finish_open, opened, store_error(error))
            return
        with self._changed:
            self._accepting = not self._closed  # whoever opened the log may have been cancelled meanwhile
        loop.call_soon_threadsafe(_finish_open, opened, None)
        expected = 1
        try:
            while batch := self._next_batch(expected):
                expected = len(batch)
                _resolve(batch, self._commit_batch(batch))
                self._busy = False
        except BaseException as error:
            self._health.report_failure(self._component, error)
            raise
        finally:
            self._abandon_pending()
            self._close_connection()

    def _next_batch(self, expected: int) -> list[_Write]:
        """The writes that wait; empty when the log is closed. Waits the window for `expected` writes to gather."""
        settings = self._settings
        with self._changed:
            while not self._pending and self._accepting:
                self._changed.wait()
            if len(self._pending) < expected and self._accepting and settings.window_seconds > 0:
                self._wanted = expected
                self._changed.wait(settings.window_seconds)
                self._wanted = 1
            batch = [self._pending.popleft() for _ in range(min(len(self._pending), settings.max_batch))]
            self._pending_bytes -= sum(write.size for write in batch)
            self._busy = bool(batch)
        return batch

    def _commit_batch(self, batch: Sequence[_Write]) -> list[object]:
        """The outcome of each write: a result, or an exception. Halves the batch to find a write that is at fault."""
        try:
            connection = self._open_connection()
            connection.execute("BEGIN IMMEDIATE")
            outcomes = _apply(connection, batch)
            self._commit(connection)
        except Exception as error:  # noqa: BLE001 - each write's future gets it
            self._roll_back()
            if is_disk_failure(error):
                self._health.report_failure(self._component, error)
                return [store_error(error) for _ in batch]
            if len(batch) == 1:
                return [error.with_traceback(None)]
            middle = len(batch) // 2
            return self._commit_batch(batch[:middle]) + self._commit_batch(batch[middle:])
        self._health.report_success(self._component)
        return outcomes

    def _roll_back(self) -> None:
        for hook in self._rollback_hooks:
            hook()
        if self._connection is None:
            return
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            logger.exception("%s: rollback failed; reopening the connection", self._component)
            self._close_connection()

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._path, durability=self._durability)
        return self._connection

    def _close_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except sqlite3.Error:
                logger.exception("%s: cannot close the connection", self._component)

    def _abandon_pending(self) -> None:
        """Fail what still waits when the thread ends; after a regular close nothing does."""
        with self._changed:
            self._accepting = False
            batch = list(self._pending)
            self._pending.clear()
        _resolve(batch, [StoreFailedError("the store stopped")] * len(batch))


def _apply(connection: sqlite3.Connection, batch: Sequence[_Write]) -> list[object]:
    """Run the batch in order, neighbours with one handler together."""
    outcomes: list[object] = []
    start = 0
    while start < len(batch):
        handler = batch[start].handler
        stop = start + 1
        while stop < len(batch) and batch[stop].handler is handler:
            stop += 1
        run = handler(connection, [write.item for write in batch[start:stop]])
        if len(run) != stop - start:  # before the commit: nobody could be told what became of which write
            raise ValueError(f"a handler gave {len(run)} outcomes for {stop - start} writes")
        outcomes += run
        start = stop
    return [outcome.error if isinstance(outcome, Refused) else outcome for outcome in outcomes]


def _run_alone(
    connection: sqlite3.Connection, operations: Sequence[Callable[[sqlite3.Connection], Result]]
) -> list[Result | Refused]:
    """Handler of `CommitLog.submit`: an operation may refuse as long as it has not written."""
    outcomes: list[Result | Refused] = []
    for operation in operations:
        changes = connection.total_changes
        try:
            outcomes.append(operation(connection))
        except RoomException as error:
            if connection.total_changes != changes:
                raise
            outcomes.append(Refused(error))
    return outcomes


def _resolve(batch: Sequence[_Write], outcomes: Sequence[object]) -> None:
    """Hand the outcomes to the loops that wait, with one wake-up for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Write, object]]] = {}
    for write, outcome in zip(batch, outcomes, strict=True):
        by_loop.setdefault(write.loop, []).append((write, outcome))
    for loop, resolved in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, resolved)
        except RuntimeError:  # the loop was closed, and with it everybody who waited
            logger.warning("%d writes were committed after their event loop closed", len(resolved))


def _deliver(resolved: Sequence[tuple[_Write, object]]) -> None:
    for write, outcome in resolved:
        if write.future.done():
            continue
        if isinstance(outcome, Exception):
            write.future.set_exception(outcome)
        else:
            write.future.set_result(outcome)
    for write, outcome in resolved:  # still before any waiting task runs
        if write.settle is not None:
            write.settle(outcome)


def _finish_open(opened: asyncio.Future[None], error: Exception | None) -> None:
    if opened.done():  # whoever opened the log was cancelled
        return
    if error is None:
        opened.set_result(None)
    else:
        opened.set_exception(error)


def _no_op(connection: sqlite3.Connection) -> None:
    """A write of nothing: its future is done when everything submitted before it is."""


def _write_probe(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS disk_probe (id INTEGER PRIMARY KEY, mark INTEGER NOT NULL)")
    connection.execute("INSERT OR REPLACE INTO disk_probe VALUES (1, random())")
