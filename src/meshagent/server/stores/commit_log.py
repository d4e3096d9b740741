"""Group commit: one thread owns the only writing connection, and waiting writes share a transaction."""

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
    """What a handler returns for an item that it rejects."""

    error: RoomException


Handler = Callable[[sqlite3.Connection, Sequence[Item]], Sequence[Result | Refused]]
"""Writes a batch of items inside the transaction and returns one outcome for each, in order.

It runs in the writer thread. If it raises, the transaction is rolled back and the handler is called again with fewer
items, down to one, so any state that it keeps must be reset by a rollback hook.
"""


def commit_transaction(connection: sqlite3.Connection) -> None:
    """Commit; returns when the transaction is as durable as the connection's settings ask for."""
    connection.execute("COMMIT")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitSettings:
    """How writes are batched, and how many may wait.

    Attributes:
        window_seconds: Longest wait for more writes before a commit, 0 to 0.02. It ends as soon as there are as many
            writes as in the last commit, so a single writer never waits.
        max_batch: Writes in one transaction.
        max_pending: Writes waiting for the writer thread; more are refused with `LimitExceededError`.
        max_pending_bytes: Bytes of waiting writes; a single larger write is accepted when nothing waits.
    """

    window_seconds: float = 0.001
    max_batch: int = 2048
    max_pending: int = 16_384
    max_pending_bytes: int = 64 * 1024 * 1024


class _Write:
    """One pending write; a plain class because thousands are created each second."""

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

    Writes may be submitted from several event loops; each future is resolved on the loop that submitted it, all
    futures of one commit in one callback. Writes are applied in the order of submission. When the disk fails, every
    write of the transaction fails with `StoreFailedError`, `health` reports it, and later writes are tried normally. An
    error in a single write fails only that write.

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
        """Configure the log; `open` opens it. Tests pass `commit` to make the disk fail."""
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

    @property
    def health(self) -> HealthMonitor:
        """Where failures of this database are reported."""
        return self._health

    async def open(self) -> None:
        """Create or open the database, migrate its schema, and start the writer thread.

        If this fails or is cancelled, the log is closed: thread, connection and lock are released. A migration that
        has begun is finished first.

        Raises:
            UnavailableError: Another process has it open.
            CorruptDataError, StoreFailedError: It cannot be read or created.
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
        """Call `hook` in the writer thread after each rollback, to reset the state of handlers."""
        self._rollback_hooks.append(hook)

    def submit(
        self,
        operation: Callable[[sqlite3.Connection], Result],
        *,
        size: int = 0,
    ) -> asyncio.Future[Result]:
        """Run `operation` in the writer's transaction; the future gives its result once that is durable.

        If the operation raises a `RoomException`, its future gets it and other writes are unaffected. Errors as in
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
        """Pass `item` to `handler`, together with adjacent items in the queue that have the same handler.

        Args:
            handler: Must be the same object each time, or its items are not batched.
            size: Bytes of memory that the write holds.
            settle: Called on this loop with the result or error, also when the future was cancelled.

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
        """Run `read` on a snapshot of the database that contains every write submitted before."""
        with self._changed:
            if not self._accepting:
                raise UnavailableError("the store is closed")
            idle = not self._busy and not self._pending
        if not idle:
            await self.submit(_no_op)
        return await self._reads.run(read)

    async def probe(self) -> None:
        """Commit a test write, so that health reflects the current state of the disk.

        Raises:
            StoreFailedError: The disk failed.
        """
        await self.submit(_write_probe)

    async def close(self) -> None:
        """Commit pending writes, then stop; idempotent. Later writes are rejected."""
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
        """Create the folder and take the lock: sequence numbers are assigned in memory, so one process writes."""
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
        """The next batch; empty when the log is closed. Waits up to the window for `expected` writes."""
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
        """Commit a batch, splitting it to isolate a failing write; returns a result or exception for each."""
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
        """Fail the pending writes when the thread ends; after a regular close there are none."""
        with self._changed:
            self._accepting = False
            batch = list(self._pending)
            self._pending.clear()
        _resolve(batch, [StoreFailedError("the store stopped")] * len(batch))


def _apply(connection: sqlite3.Connection, batch: Sequence[_Write]) -> list[object]:
    """Run the batch in order; adjacent writes with the same handler go together."""
    outcomes: list[object] = []
    start = 0
    while start < len(batch):
        handler = batch[start].handler
        stop = start + 1
        while stop < len(batch) and batch[stop].handler is handler:
            stop += 1
        run = handler(connection, [write.item for write in batch[start:stop]])
        if len(run) != stop - start:  # before the commit, since outcomes could not be matched to writes
            raise ValueError(f"a handler gave {len(run)} outcomes for {stop - start} writes")
        outcomes += run
        start = stop
    return [outcome.error if isinstance(outcome, Refused) else outcome for outcome in outcomes]


def _run_alone(
    connection: sqlite3.Connection, operations: Sequence[Callable[[sqlite3.Connection], Result]]
) -> list[Result | Refused]:
    """Handler of `CommitLog.submit`: an operation may reject its request only before it has written."""
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
    """Deliver outcomes to the waiting event loops, with one wake-up per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Write, object]]] = {}
    for write, outcome in zip(batch, outcomes, strict=True):
        by_loop.setdefault(write.loop, []).append((write, outcome))
    for loop, resolved in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver, resolved)
        except RuntimeError:  # the loop was closed
            logger.warning("%d writes were committed after their event loop closed", len(resolved))


def _deliver(resolved: Sequence[tuple[_Write, object]]) -> None:
    for write, outcome in resolved:
        if write.future.done():
            continue
        if isinstance(outcome, Exception):
            write.future.set_exception(outcome)
        else:
            write.future.set_result(outcome)
    for write, outcome in resolved:  # before any waiting task runs
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
    """A write without effect: it completes when all writes before it have."""


def _write_probe(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS disk_probe (id INTEGER PRIMARY KEY, mark INTEGER NOT NULL)")
    connection.execute("INSERT OR REPLACE INTO disk_probe VALUES (1, random())")
