"""One table: ordered writes, readers, and maintenance of its files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from lancedb import AsyncConnection, AsyncTable

from meshagent.api.contracts.database import CreateMode, Row
from meshagent.api.errors import InternalError, LimitExceededError, RoomException
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.tables.columns import SCRATCH_PREFIX
from meshagent.server.stores.tables.durable_files import DurableFiles, table_names
from meshagent.server.stores.tables.errors import engine_errors, no_such_table, table_exists
from meshagent.server.stores.tables.recovery import recover
from meshagent.server.stores.tables.row_counts import check_rows
from meshagent.server.stores.tables.rows import RowReader, table_from_rows
from meshagent.server.stores.tables.settings import DROPPED_PREFIX, TABLE_SUFFIX, MaintenanceSettings
from meshagent.server.stores.tables.table_store import OptimizeStats
from meshagent.server.stores.tables.updates import remove_scratch_columns
from meshagent.server.stores.tables.write_queue import WriteQueue

__all__ = ["Table"]

log = logging.getLogger(__name__)

T = TypeVar("T")

COMPONENT = "tables"

_MANY_VALUES = 2_000
_KEEP_ALL = timedelta(days=365 * 100)
_KEEP_LATEST = timedelta(milliseconds=1)  # zero would log a warning


class Table:
    """The table `name` of one room, whether it exists or not. For one event loop.

    Writes run in order of arrival. Readers see the newest version at their start, and never wait for writes.
    Acknowledged writes are synced by `disk`.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        connection: AsyncConnection,
        *,
        disk: Disk | None,
        health: HealthMonitor,
        maintenance: MaintenanceSettings,
        max_tables: int,
    ) -> None:
        self.name = name
        self._folder = root / (name + TABLE_SUFFIX)
        self._connection = connection
        self._files = DurableFiles(self._folder, disk)
        self._disk = disk
        self._health = health
        self._maintenance = maintenance
        self._max_tables = max_tables
        self._writes_in_order = WriteQueue(insert=self._insert_group, after=self._maintain_if_due)
        self._opening = asyncio.Lock()
        self._handle: AsyncTable | None = None
        self._row_reader: RowReader | None = None
        self._changes = 0
        """Counts possible changes of the schema."""
        self._readers: set[asyncio.Future[None]] = set()
        self._writes = 0
        """Versions since the last maintenance."""
        self._next_maintenance = 0.0

    @property
    def in_use(self) -> bool:
        """Whether it is open or has pending writes."""
        return self._handle is not None or not self._writes_in_order.idle

    # --- reading ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncTable]:
        """The table for queries; the version that they see is kept on disk until the block ends.

        Raises:
            NotFoundError: There is no such table.
            RoomException: What the engine raises within the block, as `engine_errors` translates it.
        """
        handle = await self._opened()
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._readers.add(ended)
        try:
            with engine_errors(self.name):
                yield handle
        except StoreFailedError:
            if self._handle is None:  # dropped meanwhile, files and all
                raise no_such_table(self.name) from None
            raise
        finally:
            self._readers.discard(ended)
            ended.set_result(None)

    async def reader(self) -> RowReader:
        """The converter from JSON rows for the current schema."""
        if self._row_reader is not None:
            return self._row_reader
        handle = await self._opened()
        changes = self._changes
        with engine_errors(self.name):
            fields = [field for field in await handle.schema() if not field.name.startswith(SCRATCH_PREFIX)]
        reader = RowReader(pa.schema(fields))
        if changes == self._changes:  # otherwise the schema may have changed meanwhile: do not cache it
            self._row_reader = reader
        return reader

    # --- writing ---------------------------------------------------------------------------------------

    async def create(
        self, content: pa.Table | pa.RecordBatchReader, mode: CreateMode, *, rows: int | None = None
    ) -> None:
        """Create the table with its first rows. With mode `overwrite`, running readers continue on the old version.

        Args:
            rows: How many rows `content` has, if that is to be checked before they are acknowledged.

        Raises:
            InternalError: The engine did not store them; there is what there was before.
            AlreadyExistsError: There is one, and the mode is `create`.
            LimitExceededError: The room has the maximum number of tables.
        """

        async def create() -> None:
            exists = await asyncio.to_thread(self._files.exists)
            if exists and mode == "create_if_not_exists":
                return
            if exists and mode == "create":
                raise table_exists(self.name)
            if not exists:
                await asyncio.to_thread(self._check_room_for_another)
            version = await self._version() if exists and rows is not None else None
            with engine_errors(self.name):
                handle = await self._connection.create_table(
                    self.name, content, mode="overwrite" if exists else "create"
                )
                if rows is not None:
                    await self._check_created(handle, rows, version)
            self._adopt(handle)
            self._writes += self._maintenance.after_writes if exists else 1
            await self._sync()

        await self._writes_in_order.run(create)

    async def drop(self) -> bool:
        """Drop the table, atomically and durably; returns whether it existed."""

        async def drop() -> bool:
            async with self._opening:
                self._adopt(None)
                self._files.forget()
                return await self._on_disk(self._remove_folder)

        return await self._writes_in_order.run(drop)

    async def insert(self, rows: Sequence[Row]) -> None:
        """Insert rows, atomically, together with those of other waiting requests.

        Raises:
            NotFoundError: There is no such table.
            InvalidRequestError: A row does not match the schema.
            StoreFailedError: The rows may not be stored.
        """
        await self._writes_in_order.insert(rows)

    async def change(self, work: Callable[[AsyncTable], Awaitable[T]]) -> T:
        """Any other write: `work` is called when all earlier writes are done. Errors as in `insert`."""

        async def change() -> T:
            handle = await self._opened()
            try:
                with engine_errors(self.name):
                    result = await work(handle)
            finally:
                self._forget_schema()
                self._writes += 1
            await self._sync()
            return result

        return await self._writes_in_order.run(change)

    async def rename(self, target: Table) -> None:
        """Rename to `target`, which must not exist; running readers of this table fail."""

        async def rename() -> None:
            async with self._opening:
                self._adopt(None)
                self._files.forget()
                target._adopt(None)
                await self._on_disk(lambda: self._move_folder(target))

        await target._writes_in_order.run(lambda: self._writes_in_order.run(rename))

    async def optimize(self) -> OptimizeStats:
        """Merge small files, update indexes, remove old versions."""
        await self._opened()
        return await self._writes_in_order.run(self._optimize)

    async def close(self) -> None:
        """Finish pending writes."""
        await self._writes_in_order.close()
        self._adopt(None)

    async def _version(self) -> int:
        return await (await self._opened()).version()

    async def _check_created(self, handle: AsyncTable, rows: int, replaced: int | None) -> None:
        """Check the number of rows, and otherwise bring back the version `replaced`, or nothing."""
        try:
            await check_rows(handle, rows)
        except InternalError:
            if replaced is None:
                await self._on_disk(self._remove_folder)
                self._files.forget()
                raise
            await handle.checkout(replaced)
            await handle.restore()
            self._adopt(handle)
            raise

    # --- inside the queue ------------------------------------------------------------------------------

    async def _insert_group(self, requests: Sequence[Sequence[Row]]) -> Sequence[RoomException | None]:
        handle, reader = await self._opened(), await self.reader()
        failures: list[RoomException | None] = [None] * len(requests)
        rows: dict[int, list[Row]] = {}
        for number, request in enumerate(requests):
            try:
                rows[number] = await _off_loop_if_many(reader.read, request)
            except RoomException as error:
                failures[number] = error
        groups = [list(rows)] if rows else []
        while groups:
            group = groups.pop()
            try:
                await self._add(handle, reader.schema, [row for number in group for row in rows[number]])
            except RoomException as error:
                if len(group) > 1:
                    groups += [[number] for number in reversed(group)]
                else:
                    failures[group[0]] = error
        if rows:
            await self._sync()
        return failures

    async def _add(self, handle: AsyncTable, schema: pa.Schema, rows: Sequence[Row]) -> None:
        if not rows:
            return
        content = await _off_loop_if_many(lambda some: table_from_rows(some, schema), rows)
        with engine_errors(self.name):
            await handle.add(content)
        self._writes += 1

    async def _maintain_if_due(self, idle: bool) -> None:
        """Run maintenance if it is due."""
        now = asyncio.get_running_loop().time()
        due = self._writes >= self._maintenance.after_writes and (idle or now >= self._next_maintenance)
        if self._handle is not None and (due or self._writes >= self._maintenance.at_latest_after_writes):
            await self._optimize()

    async def _optimize(self) -> OptimizeStats:
        """In two steps: old files may be removed only when the new ones are synced and no reader needs the old ones."""
        handle = await self._opened()
        clock = asyncio.get_running_loop().time
        started = clock()
        self._writes = 0
        try:
            with engine_errors(self.name):
                compaction = (await handle.optimize(cleanup_older_than=_KEEP_ALL)).compaction
            await self._sync()
            removed = None
            if await self._readers_of_old_versions_end():
                with engine_errors(self.name):
                    removed = (await handle.optimize(cleanup_older_than=_KEEP_LATEST)).prune
            return OptimizeStats(
                fragments_removed=compaction.fragments_removed,
                fragments_added=compaction.fragments_added,
                bytes_removed=0 if removed is None else removed.bytes_removed,
                versions_removed=0 if removed is None else removed.old_versions_removed,
            )
        finally:
            self._next_maintenance = clock() + (clock() - started) * (1 / self._maintenance.max_time_share - 1)

    async def _readers_of_old_versions_end(self) -> bool:
        """Wait for current readers; later ones read the newest version, which is kept."""
        if not self._readers:
            return True
        _, reading = await asyncio.wait(self._readers, timeout=self._maintenance.reader_timeout)
        return not reading

    async def _opened(self) -> AsyncTable:
        async with self._opening:
            if self._handle is None:
                versions = await self._on_disk(lambda: recover(self._folder, self._disk))
                if not versions:
                    raise no_such_table(self.name)
                with engine_errors(self.name):
                    handle = await self._connection.open_table(self.name)
                    await remove_scratch_columns(handle)
                self._handle = handle
                self._writes = versions
            return self._handle

    def _adopt(self, handle: AsyncTable | None) -> None:
        """Replace the handle, or remove it; the old one is released with its last reader."""
        self._handle = handle
        self._forget_schema()

    def _forget_schema(self) -> None:
        self._row_reader = None
        self._changes += 1

    async def _sync(self) -> None:
        await self._on_disk(self._files.sync)

    async def _on_disk(self, function: Callable[[], T]) -> T:
        try:
            result = await asyncio.to_thread(function)
        except OSError as error:
            self._health.report_failure(COMPONENT, error)
            raise StoreFailedError(f"disk error: {error.strerror or type(error).__name__}") from error
        self._health.report_success(COMPONENT)
        return result

    def _check_room_for_another(self) -> None:
        if len(table_names(self._folder.parent)) >= self._max_tables:
            raise LimitExceededError(f"a room has at most {self._max_tables} tables", limit=self._max_tables)

    def _move_folder(self, target: Table) -> None:
        if not self._files.exists():
            raise no_such_table(self.name)
        if target._files.exists():
            raise table_exists(target.name)
        with contextlib.suppress(FileNotFoundError):  # leftovers of an interrupted creation
            shutil.rmtree(target._folder)
        os.rename(self._folder, target._folder)
        if self._disk is not None:
            self._disk.sync_folder(self._folder.parent)

    def _remove_folder(self) -> bool:
        """Rename, sync, then delete: a crash leaves the complete table or nothing."""
        existed = self._files.exists()
        aside = self._folder.with_name(DROPPED_PREFIX + secrets.token_hex(8))
        try:
            os.rename(self._folder, aside)
        except FileNotFoundError:
            return False
        if self._disk is not None:
            self._disk.sync_folder(self._folder.parent)
        with contextlib.suppress(OSError):  # leftovers are removed at the next start
            shutil.rmtree(aside)
        return existed


async def _off_loop_if_many(convert: Callable[[Sequence[Row]], T], rows: Sequence[Row]) -> T:
    """Convert many rows in a thread, to keep the loop responsive; for few rows a thread switch would cost more."""
    if len(rows) * len(rows[0] if rows else ()) < _MANY_VALUES:
        return convert(rows)
    return await asyncio.to_thread(convert, rows)
