"""Streaming uploads into tables, and streaming searches (protocol 14.10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pyarrow as pa

from meshagent.api.contracts import dataset as api
from meshagent.api.errors import InvalidRequestError
from meshagent.server.services.dataset.typed_values import table_from_typed_rows
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.tables.arrow_data import (
    batch_slices,
    check_schema,
    ipc_stream,
    read_schema,
    read_stream,
)
from meshagent.server.stores.tables.arrow_spool import ArrowSpool
from meshagent.server.stores.tables.arrow_tables import ArrowTables
from meshagent.server.stores.tables.search import Search

__all__ = ["ArrowUpload", "start_create", "search_chunks", "start_insert", "start_merge"]

Commit = Callable[[ArrowSpool], Awaitable[None]]


class ArrowUpload:
    """An upload of rows: they become visible all at once, by `finish`.

    Args:
        tables: The tables of the room.
        schema: Schema of the rows; None infers it from the first ones.
        commit: Writes all rows to the table.
        fill: See `ArrowSpool`.
        always: Whether to commit even without rows.
    """

    def __init__(
        self, tables: ArrowTables, schema: pa.Schema | None, commit: Commit, *, fill: bool = True, always: bool = False
    ) -> None:
        self._tables = tables
        self._commit = commit
        self._fill = fill
        self._always = always
        self._spool = None if schema is None else tables.spool(schema, fill=fill)
        self._committing: asyncio.Task[None] | None = None
        self.metadata: dict[str, str] = {}

    async def write(self, data: bytes) -> None:
        """Add rows from an IPC stream. Errors as in `read_stream` and `ArrowSpool.add`."""
        await self._add(lambda: read_stream(data))

    async def write_rows(self, rows: list[Any]) -> None:
        """Add rows of typed JSON values."""

        def read() -> tuple[pa.Schema, list[pa.RecordBatch]]:
            table = table_from_typed_rows(rows)
            return table.schema, table.to_batches()

        await self._add(read)

    async def finish(self) -> None:
        """Commit the rows; once started this completes, even if the caller is cancelled."""
        if self._spool is None:
            raise InvalidRequestError("a table needs a schema, or rows to infer it from")
        if self._spool.rows or self._always:
            self._committing = asyncio.create_task(self._commit_and_close(self._spool), name="commit an upload")
            await asyncio.shield(self._committing)

    async def discard(self) -> None:
        """Discard the rows; does nothing after `finish`."""
        if self._spool is not None and self._committing is None:
            self._spool.close()

    async def _add(self, read: Callable[[], tuple[pa.Schema, list[pa.RecordBatch]]]) -> None:
        def add() -> None:
            schema, batches = read()
            if self._spool is None:
                check_schema(schema)
                metadata = self.metadata or schema.metadata
                self._spool = self._tables.spool(schema.with_metadata(metadata), fill=self._fill)
            self._spool.add(batches)

        adding = asyncio.ensure_future(asyncio.to_thread(add))
        try:
            await asyncio.shield(adding)
        except OSError as error:
            raise StoreFailedError(f"disk error: {error.strerror or type(error).__name__}") from error
        except asyncio.CancelledError:
            await asyncio.wait([adding])  # the thread still uses the spool, which must not be closed
            raise

    async def _commit_and_close(self, spool: ArrowSpool) -> None:
        try:
            await self._commit(spool)
        finally:
            spool.close()


def start_create(tables: ArrowTables, start: api.CreateTableStart, schema_data: bytes) -> ArrowUpload:
    """Start an upload that creates a table."""
    schema = read_schema(schema_data) if schema_data else None
    metadata = {item.key: item.value for item in start.metadata or ()}
    if schema is not None:
        check_schema(schema)
        schema = schema.with_metadata(metadata or schema.metadata)
    upload = ArrowUpload(tables, schema, lambda spool: tables.create(start.name, spool, start.mode), always=True)
    upload.metadata = metadata
    return upload


async def start_insert(tables: ArrowTables, table: str) -> ArrowUpload:
    """Start an upload that inserts rows."""
    return ArrowUpload(tables, await tables.schema(table), lambda spool: tables.insert(table, spool))


async def start_merge(tables: ArrowTables, table: str, on: list[str]) -> ArrowUpload:
    """Start an upload that upserts rows by the key columns `on`; columns that are not sent keep their values."""
    schema = await tables.schema(table)
    for column in on:
        if column not in schema.names:
            raise InvalidRequestError(f"merge column {column!r} not found")
    return ArrowUpload(tables, schema, lambda spool: tables.merge(table, on, spool), fill=False)


async def search_chunks(tables: ArrowTables, table: str, search: Search) -> AsyncGenerator[bytes, None]:
    """The rows of a search as IPC streams of moderate size, at least one."""
    nothing_wanted = search.limit == 0
    async with tables.searching(table, search) as found:
        sent = False
        if not nothing_wanted:
            async for batch in found:
                for piece in batch_slices(batch):
                    yield ipc_stream(found.schema, piece)
                    sent = True
        if not sent:
            yield ipc_stream(found.schema, pa.RecordBatch.from_pylist([], found.schema))
