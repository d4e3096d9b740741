"""`DatabaseService`: the `database.*` operations of one room (protocol 11)."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from meshagent.api.contracts import database as api
from meshagent.api.contracts.operation import Empty
from meshagent.api.errors import InvalidRequestError, InvalidStateError
from meshagent.server.kernel.operations import ServedOperation, serve
from meshagent.server.kernel.participant import Participant
from meshagent.server.stores.tables.durable_files import table_names
from meshagent.server.stores.tables.errors import no_such_table
from meshagent.server.stores.tables.table_engine import TableEngine

if TYPE_CHECKING:
    from meshagent.server.stores.tables.indexes import IndexKind
    from meshagent.server.stores.tables.room_tables import RoomTables

__all__ = ["DatabaseService"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


class DatabaseService:
    """The tables of one room. The engine is loaded, and the folder made, when the room first makes a table.

    Errors of all methods: `NotFoundError` for a table that does not exist, `InvalidRequestError` for what does not
    fit it or is not understood, `StoreFailedError` when the disk refuses: the write is not known to be durable.

    Args:
        engine: Shared by the rooms of a server.
        folder: Where the tables of this room are; it need not exist.
    """

    def __init__(self, engine: TableEngine, folder: Path) -> None:
        self._engine = engine
        self._folder = folder
        self._opening = asyncio.Lock()
        self._tables: RoomTables | None = None
        self._closed = False

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.LIST_TABLES, self.list_tables, grant=lambda scope, _: scope.require_table_list()),
            serve(api.CREATE_TABLE, self.create_table, grant=lambda scope, r: scope.require_table(r.name, "alter")),
            serve(api.DROP_TABLE, self.drop_table, grant=lambda scope, r: scope.require_table(r.name, "alter")),
            serve(api.ADD_COLUMNS, self.add_columns, grant=lambda scope, r: scope.require_table(r.table, "alter")),
            serve(api.DROP_COLUMNS, self.drop_columns, grant=lambda scope, r: scope.require_table(r.table, "alter")),
            serve(api.INSERT, self.insert, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(api.UPDATE, self.update, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(api.DELETE, self.delete, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(api.MERGE, self.merge, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(api.SEARCH, self.search, grant=lambda scope, r: scope.require_table(r.table, "read")),
            serve(api.OPTIMIZE, self.optimize, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(
                api.CREATE_VECTOR_INDEX,
                self.create_vector_index,
                grant=lambda scope, r: scope.require_table(r.table, "alter"),
            ),
            serve(
                api.CREATE_SCALAR_INDEX,
                self.create_scalar_index,
                grant=lambda scope, r: scope.require_table(r.table, "alter"),
            ),
            serve(
                api.CREATE_FULL_TEXT_SEARCH_INDEX,
                self.create_full_text_search_index,
                grant=lambda scope, r: scope.require_table(r.table, "alter"),
            ),
            serve(api.LIST_INDEXES, self.list_indexes, grant=lambda scope, r: scope.require_table(r.table, "read")),
        ]

    def left(self, participant: Participant) -> None:
        """A participant holds nothing here."""

    async def close(self) -> None:
        """Finish the writes that were taken in; they are durable when this returns."""
        self._closed = True
        async with self._opening:
            if self._tables is not None:
                await self._tables.close()
                self._tables = None

    # --- tables and columns ----------------------------------------------------------------------------

    async def list_tables(self, caller: Participant, request: Empty) -> api.ListTablesResult:
        """The names of the room's tables; none in a new room."""
        return api.ListTablesResult(tables=await asyncio.to_thread(table_names, self._folder))

    async def create_table(self, caller: Participant, request: api.CreateTableRequest) -> api.TableResult:
        """Make a table from a schema, from rows, or from both.

        Raises:
            InvalidRequestError: Neither is given, they do not fit, or the name is not one for a table.
            AlreadyExistsError: The table exists, and the mode is `create`.
            LimitExceededError: The room has as many tables as it may have.
        """
        check_name(request.name)
        rows = None if request.data is None else _as_rows(request.data)
        tables = await self.opened(make=True)
        assert tables is not None
        await tables.create(request.name, rows=rows, types=request.schema or None, mode=request.mode)
        return api.TableResult(table=request.name)

    async def drop_table(self, caller: Participant, request: api.DropTableRequest) -> api.TableResult:
        """Remove a table with its rows.

        Raises:
            NotFoundError: There is none, and `ignore_missing` is false.
        """
        check_name(request.name)
        ignore_missing = request.ignore_missing or request.ignore_missing_in_camel_case
        tables = await self.opened(make=False)
        existed = tables is not None and await tables.drop(request.name)
        if not existed and not ignore_missing:
            raise no_such_table(request.name)
        return api.TableResult(table=request.name)

    async def add_columns(self, caller: Participant, request: api.AddColumnsRequest) -> api.TableResult:
        """Add columns whose values are computed for each row; other rows may leave them null."""
        await (await self.tables_with(request.table)).add_columns(request.table, request.new_columns)
        return api.TableResult(table=request.table)

    async def drop_columns(self, caller: Participant, request: api.DropColumnsRequest) -> api.DropColumnsResult:
        """Remove columns, all or none."""
        await (await self.tables_with(request.table)).drop_columns(request.table, request.columns)
        return api.DropColumnsResult(table=request.table, dropped_columns=request.columns)

    # --- rows ------------------------------------------------------------------------------------------

    async def insert(self, caller: Participant, request: api.InsertRequest) -> api.InsertResult:
        """Add rows, all of the request or none, in the order in which requests come."""
        rows = _as_rows(request.records)
        await (await self.tables_with(request.table)).insert(request.table, rows)
        return api.InsertResult(table=request.table, result=api.InsertCounts(inserted=len(rows)))

    async def update(self, caller: Participant, request: api.UpdateRequest) -> api.WhereResult:
        """Change the rows that a filter selects, by values, by expressions, or by both at once."""
        await (await self.tables_with(request.table)).update(
            request.table, request.where, values=request.values or {}, expressions=request.values_sql or {}
        )
        return api.WhereResult(table=request.table, where=request.where)

    async def delete(self, caller: Participant, request: api.DeleteRequest) -> api.WhereResult:
        """Delete the rows that a filter selects."""
        await (await self.tables_with(request.table)).delete(request.table, request.where)
        return api.WhereResult(table=request.table, where=request.where)

    async def merge(self, caller: Participant, request: api.MergeRequest) -> api.MergeResult:
        """Update rows by the value of a column, and insert the records that match none."""
        await (await self.tables_with(request.table)).merge(request.table, request.on, _as_rows(request.records))
        return api.MergeResult(table=request.table, on=request.on)

    async def search(self, caller: Participant, request: api.SearchRequest) -> api.SearchResult:
        """Rows by filter, text, vector, or text and vector.

        Raises:
            InvalidStateError: A search for text in a table without a full-text index.
            LimitExceededError: The rows found take more memory than one answer may.
        """
        tables = await self.tables_with(request.table)
        rows = await tables.search(
            request.table,
            where=request.where,
            text=request.text,
            vector=request.vector or None,
            limit=request.limit,
            offset=request.offset,
            select=request.select or None,
        )
        return api.SearchResult(results=rows)

    # --- indexes ---------------------------------------------------------------------------------------

    async def optimize(self, caller: Participant, request: api.TableRequest) -> api.TableResult:
        """Put small files together, bring indexes up to date, remove old versions."""
        await (await self.tables_with(request.table)).optimize(request.table)
        return api.TableResult(table=request.table)

    async def create_vector_index(self, caller: Participant, request: api.IndexRequest) -> api.TableResult:
        """Index vectors; InvalidStateError with fewer than 256 of them."""
        return await self._create_index("vector", request)

    async def create_scalar_index(self, caller: Participant, request: api.IndexRequest) -> api.TableResult:
        """Index a column for filters."""
        return await self._create_index("scalar", request)

    async def create_full_text_search_index(self, caller: Participant, request: api.IndexRequest) -> api.TableResult:
        """Index the words of a text column."""
        return await self._create_index("text", request)

    async def list_indexes(self, caller: Participant, request: api.TableRequest) -> api.ListIndexesResult:
        """The indexes of a table."""
        tables = await self.tables_with(request.table)
        return api.ListIndexesResult(indexes=await tables.list_indexes(request.table))

    async def _create_index(self, kind: IndexKind, request: api.IndexRequest) -> api.TableResult:
        tables = await self.tables_with(request.table)
        await tables.create_index(request.table, kind, request.column, replace=request.replace)
        return api.TableResult(table=request.table)

    # --- opening ---------------------------------------------------------------------------------------

    async def tables_with(self, table: str) -> RoomTables:
        """The tables of the room, for an operation on one of them."""
        check_name(table)
        tables = await self.opened(make=False)
        if tables is None:
            raise no_such_table(table)
        return tables

    async def opened(self, *, make: bool) -> RoomTables | None:
        """The tables of the room, in the order of the calls; None without `make` if it never had any."""
        async with self._opening:
            if self._closed:
                raise InvalidStateError("the room has ended")
            if self._tables is None and (make or await asyncio.to_thread(self._folder.is_dir)):
                self._tables = await self._engine.open(self._folder)
            return self._tables


def check_name(name: str) -> None:
    """Raise InvalidRequestError unless `name` can be that of a table, and so of a folder."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequestError(
            "a table name must have 1 to 200 letters, digits, '_', '-' or '.', and must not start with a dot"
        )


def _as_rows(records: api.Rows) -> list[api.Row]:
    """A single record is a list of one."""
    return [records] if isinstance(records, dict) else records
