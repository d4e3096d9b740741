"""Opening SQLite databases: settings, migrations, error classification, and a pool of readers."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from meshagent.api.errors import InvalidStateError, RoomException, UnavailableError
from meshagent.server.stores.disk import Durability, make_private_file
from meshagent.server.stores.errors import CorruptDataError, StoreFailedError
from meshagent.server.stores.health import HealthMonitor

__all__ = ["Migrations", "ReadPool", "connect", "is_disk_failure", "migrate", "store_error"]

T = TypeVar("T")

Migrations = Sequence[Sequence[str]]
"""Statements of each schema version, oldest first; released ones never change. `PRAGMA user_version` counts them."""

_BUSY_TIMEOUT_SECONDS = 5.0
_CACHED_STATEMENTS = 256

_DISK_FAILURES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_CORRUPTION = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def connect(path: Path, *, durability: Durability, read_only: bool = False) -> sqlite3.Connection:
    """A connection in WAL mode and autocommit: transactions begin and end explicitly."""
    if not read_only:
        make_private_file(path)
    connection = sqlite3.connect(
        path,
        timeout=_BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        cached_statements=_CACHED_STATEMENTS,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'fsync' else 'NORMAL'}")
        if durability == "fsync":  # has an effect on macOS only
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, migrations: Migrations) -> None:
    """Migrate the schema to the newest version, each step in its own transaction.

    Raises:
        InvalidStateError: The database was created by a newer version of the server.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(migrations):
        raise InvalidStateError(
            f"the database has schema version {version}, this server supports up to {len(migrations)}: "
            "it was made by a newer version"
        )
    for number, statements in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def is_disk_failure(error: BaseException) -> bool:
    """Whether `error` comes from the disk, so that other statements would fail too."""
    if isinstance(error, sqlite3.OperationalError):
        code = getattr(error, "sqlite_errorcode", None)
        return code is None or code & 0xFF in _DISK_FAILURES
    return isinstance(error, OSError) or _is_corruption(error)


def store_error(error: Exception) -> Exception:
    """The typed error for an exception of a connection; programming errors are returned unchanged."""
    if _is_corruption(error):
        return CorruptDataError(f"the database is damaged: {error}")
    if is_disk_failure(error):
        return StoreFailedError(f"cannot read or write the database: {error}")
    return error


def _is_corruption(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.DatabaseError) and code is not None and code & 0xFF in _CORRUPTION


class ReadPool:
    """A few threads with one read-only connection each; a read sees a consistent snapshot of the database.

    Further reads queue up; the number of requests that the server admits bounds the queue.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability,
        health: HealthMonitor,
        component: str,
        threads: int = 2,
    ) -> None:
        self._path = path
        self._durability: Durability = durability
        self._health = health
        self._component = component
        self._readers = [_Reader(f"{component}-read-{number}") for number in range(threads)]
        self._turn = itertools.count()

    async def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Run `read` in a thread of the pool, inside a read transaction.

        Raises:
            StoreFailedError: The disk failed.
            CorruptDataError: The database is damaged, or `read` says that its data are.
            UnavailableError: The pool is closed.
        """
        if not self._readers:
            raise UnavailableError("the store is closed")
        reader = self._readers[next(self._turn) % len(self._readers)]
        return await asyncio.get_running_loop().run_in_executor(reader.executor, self._read, reader, read)

    def _read(self, reader: _Reader, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if reader.connection is None:
                reader.connection = connect(self._path, durability=self._durability, read_only=True)
            reader.connection.execute("BEGIN")
            try:
                return read(reader.connection)
            finally:
                reader.connection.execute("ROLLBACK")
        except CorruptDataError as error:
            self._health.report_failure(self._component, error)
            raise
        except RoomException:
            raise
        except Exception as error:
            failure = store_error(error)
            if failure is error:
                raise
            self._health.report_failure(self._component, failure)
            raise failure from error

    async def close(self) -> None:
        """Finish pending reads; idempotent."""
        loop = asyncio.get_running_loop()
        readers, self._readers = self._readers, []
        for reader in readers:
            await loop.run_in_executor(reader.executor, reader.close)
            reader.executor.shutdown()


class _Reader:
    """One thread and its connection, which no other thread uses."""

    def __init__(self, name: str) -> None:
        self.executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self.connection: sqlite3.Connection | None = None

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None
