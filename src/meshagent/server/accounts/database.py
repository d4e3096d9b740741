"""The accounts database: SQLite in the data folder, or PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from meshagent.api.errors import AlreadyExistsError, NotFoundError, UnavailableError
from meshagent.server.accounts.encryption import SecretBox
from meshagent.server.accounts.migrations.runner import lock_database, upgrade_to_head
from meshagent.server.accounts.ownership import ServerFolder, check_ownership, record_ownership
from meshagent.server.stores.disk import make_private_file
from meshagent.server.stores.health import HealthMonitor

COMPONENT: Final = "accounts"
_FOREIGN_KEY_VIOLATION: Final = "23503"


class DatabaseStartError(OSError):
    """The accounts database cannot be opened. The text gives the reason and contains no password."""


def database_url(data_dir: Path, configured: str | None) -> URL:
    """Return the URL of the database: `configured` (postgresql://… or sqlite:///…), else a file in the data folder.

    Raises:
        DatabaseStartError: The URL is invalid, or names another kind of database.
    """
    if configured is None:
        return URL.create("sqlite+aiosqlite", database=str(data_dir / "accounts.sqlite"))
    try:
        url = make_url(configured)
    except ArgumentError:
        raise DatabaseStartError("database_url is not a URL such as postgresql://user:password@host/name") from None
    backend = url.get_backend_name()
    drivers = {"postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}
    if backend not in drivers:
        raise DatabaseStartError(f"database_url: unsupported database {backend!r} (supported: postgresql, sqlite)")
    return url.set(drivername=drivers[backend])


class Database:
    """Transactions on the accounts database.

    Attributes:
        box: Encrypts and decrypts secrets.
    """

    def __init__(self, engine: AsyncEngine, box: SecretBox, health: HealthMonitor) -> None:
        self._engine = engine
        self._health = health
        self.box = box

    @classmethod
    async def open(
        cls,
        url: URL,
        *,
        box: SecretBox,
        folder: ServerFolder,
        health: HealthMonitor,
        durability: Literal["fsync", "process"] = "fsync",
    ) -> Database:
        """Connect, check that the database is this server's, and upgrade the schema.

        Raises:
            DatabaseStartError: The database cannot be reached, belongs to a server with another data folder, or was
                written by a newer server. Nothing was written.
        """

        def take(connection: Connection) -> None:
            lock_database(connection)  # else two new servers could both find it without an owner
            check_ownership(connection, box, folder)
            upgrade_to_head(connection)
            record_ownership(connection, box, folder)

        engine = create_engine(url, durability=durability)
        try:
            if url.get_backend_name() == "sqlite" and url.database not in (None, ":memory:"):
                make_private_file(Path(str(url.database)))
            async with engine.begin() as connection:
                await connection.run_sync(take)
        except BaseException as error:
            await engine.dispose()
            if isinstance(error, (SQLAlchemyError, OSError)):
                reason = str(error.orig) if isinstance(error, DBAPIError) else str(error)
                raise DatabaseStartError(f"cannot open the accounts database {url!r}: {reason}") from error
            raise
        return cls(engine, box, health)

    async def close(self) -> None:
        await self._engine.dispose()

    @property
    def is_shared(self) -> bool:
        """Whether other servers may work on the same database."""
        return self._engine.dialect.name != "sqlite"

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed, and durable, when the block ends without an error.

        Raises:
            AlreadyExistsError: A unique value is taken.
            NotFoundError: A row refers to one that does not exist.
            UnavailableError: The database is unavailable.
        """
        try:
            async with self._engine.begin() as connection:
                yield connection
        except IntegrityError as error:
            raise _violation(error) from None
        except (DBAPIError, PoolTimeoutError, OSError) as error:
            self._health.report_failure(COMPONENT, error)
            raise UnavailableError("the accounts database is unavailable") from error
        self._health.report_success(COMPONENT)


def create_engine(url: URL, *, durability: Literal["fsync", "process"] = "fsync") -> AsyncEngine:
    """An engine with our settings for the kind of database."""
    if url.get_backend_name() != "sqlite":
        return create_async_engine(url, pool_size=10, max_overflow=10, pool_timeout=10, pool_pre_ping=True)
    # One connection: SQLite has one writer anyway, and transactions that wait in line here cannot deadlock there.
    engine = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=30)

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # so that BEGIN is ours, and migrations are one transaction
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute(f"PRAGMA synchronous={'FULL' if durability == 'fsync' else 'NORMAL'}")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA busy_timeout=10000")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _violation(error: IntegrityError) -> AlreadyExistsError | NotFoundError:
    text = str(error.orig)
    if getattr(error.orig, "sqlstate", None) == _FOREIGN_KEY_VIOLATION or "FOREIGN KEY" in text:
        return NotFoundError("the request refers to something that does not exist")
    return AlreadyExistsError("the name is already in use")
