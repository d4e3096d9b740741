"""The tables of one room, with Arrow data as input and output (protocol 12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pyarrow as pa
from lancedb import AsyncTable

from meshagent.api.contracts.database import CreateMode
from meshagent.api.contracts.dataset import IndexDescription
from meshagent.api.errors import InternalError, InvalidRequestError, NotFoundError
from meshagent.server.stores.tables.arrow_data import check_schema
from meshagent.server.stores.tables.arrow_spool import ArrowSpool
from meshagent.server.stores.tables.columns import column_kinds
from meshagent.server.stores.tables.filters import translate_filter
from meshagent.server.stores.tables.index_configs import described_indexes
from meshagent.server.stores.tables.room_tables import RoomTables, check_merge_column
from meshagent.server.stores.tables.row_counts import adding_rows, check_rows
from meshagent.server.stores.tables.search import MAX_RANKED_LIMIT, Search, SearchStream, open_search

__all__ = ["ArrowTables"]


class ArrowTables:
    """`RoomTables` for Arrow data instead of JSON rows; same errors."""

    def __init__(self, tables: RoomTables) -> None:
        self.tables = tables

    async def schema(self, name: str) -> pa.Schema:
        """The columns of a table, with the schema metadata given at its creation."""
        with self.tables.using(name) as table:
            columns = (await table.reader()).schema
            async with table.reading() as handle:
                return columns.with_metadata((await handle.schema()).metadata)

    def spool(self, schema: pa.Schema, *, fill: bool = True) -> ArrowSpool:
        """Temporary storage for the rows of an upload."""
        return ArrowSpool(schema, max_bytes=self.tables.limits.max_upload_bytes, fill=fill)

    async def create(self, name: str, spool: ArrowSpool, mode: CreateMode) -> None:
        """Create a table from an upload."""
        reader = await asyncio.to_thread(spool.reader)
        with self.tables.using(name) as table:
            await table.create(reader, mode, rows=spool.rows)

    async def insert(self, name: str, spool: ArrowSpool) -> None:
        """Insert an upload, atomically."""

        async def add(table: AsyncTable) -> None:
            async with adding_rows(table, spool.rows):
                await table.add(await asyncio.to_thread(spool.reader))

        await self.tables.change(name, add)

    async def merge(self, name: str, on: Sequence[str], spool: ArrowSpool) -> None:
        """Upsert an upload by the key columns `on`, atomically.

        If several uploaded rows have the same key, the last one wins.
        """
        for column in on:
            check_merge_column(column)
        rows = await asyncio.to_thread(lambda: _last_of_each(spool.reader().read_all(), on))

        async def merge(table: AsyncTable) -> None:
            upsert = table.merge_insert(list(on)).when_matched_update_all().when_not_matched_insert_all()
            before, version = await table.count_rows(), await table.version()
            merged = await upsert.execute(rows)
            try:
                if merged.num_inserted_rows + merged.num_updated_rows != rows.num_rows:
                    raise InternalError("the table engine did not merge all rows: the write was undone")
                await check_rows(table, before + merged.num_inserted_rows)
            except InternalError:
                await table.checkout(version)
                await table.restore()
                raise

        await self.tables.change(name, merge)

    async def add_fields(self, name: str, schema: pa.Schema) -> None:
        """Add columns of these types, null in all rows."""
        check_schema(schema)
        nullable = pa.schema([field.with_nullable(True) for field in schema])

        async def add(table: AsyncTable) -> None:
            for column in (await table.schema()).names:
                if column in nullable.names:
                    raise InvalidRequestError(f"column {column!r} already exists")
            await table.add_columns(nullable)

        await self.tables.change(name, add)

    @asynccontextmanager
    async def searching(self, name: str, search: Search) -> AsyncIterator[SearchStream]:
        """Stream the rows of a search; the table version that they belong to is kept until the block ends."""
        with self.tables.using(name) as table:
            schema = (await table.reader()).schema
            async with table.reading() as handle:
                yield await open_search(handle, schema, _translated(search, schema))

    async def count(self, name: str, search: Search) -> int:
        """The number of matching rows; a ranked search counts at most `MAX_RANKED_LIMIT`."""
        if not search.ranked:
            with self.tables.using(name) as table:
                schema = (await table.reader()).schema
                async with table.reading() as handle:
                    return await handle.count_rows(_translated(search, schema).where)
        key = (await self.schema(name)).names[:1]
        ranked = replace(search, limit=MAX_RANKED_LIMIT, offset=None, select=key)
        async with self.searching(name, ranked) as found:
            return sum([batch.num_rows async for batch in found])

    async def drop_index(self, name: str, index: str) -> None:
        """Remove an index.

        Raises:
            NotFoundError: There is none of that name.
        """

        async def drop(table: AsyncTable) -> None:
            if index not in [existing.name for existing in await table.list_indices()]:
                raise NotFoundError(f"index {index!r} not found")
            await table.drop_index(index)

        await self.tables.change(name, drop)

    async def list_indexes(self, name: str) -> list[IndexDescription]:
        """The indexes of a table, with their statistics."""
        with self.tables.using(name) as table:
            async with table.reading() as handle:
                return await described_indexes(handle)


def _translated(search: Search, schema: pa.Schema) -> Search:
    return replace(search, where=translate_filter(search.where, column_kinds(schema), quoted_names=True))


def _last_of_each(rows: pa.Table, on: Sequence[str]) -> pa.Table:
    """The last of `rows` for each value of the key columns.

    Raises:
        InvalidRequestError: The rows lack a key column, have null there, or its type cannot be compared.
    """
    for column in on:
        if column not in rows.column_names:
            raise InvalidRequestError(f"merge column {column!r} is missing from the rows")
        if rows.column(column).null_count:
            raise InvalidRequestError(f"merge column {column!r} must not contain null")
    number = "_updating_number"
    numbered = rows.append_column(number, pa.array(range(rows.num_rows), pa.int64()))
    try:
        last = numbered.select([*on, number]).group_by(list(on)).aggregate([(number, "max")])
    except pa.ArrowException:
        raise InvalidRequestError(f"cannot merge on columns of these types: {', '.join(on)}") from None
    if last.num_rows == rows.num_rows:
        return rows
    return rows.take(last.column(f"{number}_max").sort())
