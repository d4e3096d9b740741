"""`DatabaseService`: the `database.*` operations of one room (protocol 11)."""

from __future__ import annotations

import re
from typing import ClassVar

import msgspec

from meshagent.api.contracts import database as api
from meshagent.api.contracts.operation import Empty, Operation
from meshagent.api.errors import InvalidRequestError
from meshagent.server.kernel.operations import ServedOperation, serve
from meshagent.server.kernel.participant import Participant
from meshagent.server.stores.tables.errors import no_such_table
from meshagent.server.stores.tables.table_store import IndexKind, RoomTableStore, TableSearch

__all__ = ["DatabaseService"]

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


_NULL = msgspec.Raw(b"null")


class _CreateTable(msgspec.Struct, frozen=True, kw_only=True):
    """As `CreateTableRequest`; rows and types are for the engine to read."""

    STRICT_NUMBERS: ClassVar[bool] = True

    name: str
    data: msgspec.Raw = _NULL
    schema: msgspec.Raw = _NULL
    mode: api.CreateMode = "create"


class _Insert(msgspec.Struct, frozen=True, kw_only=True):
    STRICT_NUMBERS: ClassVar[bool] = True

    table: str
    records: msgspec.Raw


class _Merge(msgspec.Struct, frozen=True, kw_only=True):
    STRICT_NUMBERS: ClassVar[bool] = True

    table: str
    on: str
    records: msgspec.Raw


class _Update(msgspec.Struct, frozen=True, kw_only=True):
    STRICT_NUMBERS: ClassVar[bool] = True

    table: str
    where: str
    values: msgspec.Raw = _NULL
    values_sql: dict[str, str] | None = None


class _SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    results: msgspec.Raw


# The operations of the contract with their rows left as JSON text: the room's loop never reads a row.
_CREATE_TABLE = Operation(api.CREATE_TABLE.name, _CreateTable, api.TableResult)
_INSERT = Operation(api.INSERT.name, _Insert, api.InsertResult)
_UPDATE = Operation(api.UPDATE.name, _Update, api.WhereResult)
_MERGE = Operation(api.MERGE.name, _Merge, api.MergeResult)
_SEARCH = Operation(api.SEARCH.name, api.SearchRequest, _SearchResult)


class DatabaseService:
    """The tables of one room.

    Errors of all methods: `NotFoundError` for a table that does not exist, `InvalidRequestError` for what does not
    fit it or is not understood, and what `RoomTableStore` says of engines and disks.

    Args:
        tables: The room's.
    """

    def __init__(self, tables: RoomTableStore) -> None:
        self._tables = tables

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.LIST_TABLES, self.list_tables, grant=lambda scope, _: scope.require_table_list()),
            serve(_CREATE_TABLE, self.create_table, grant=lambda scope, r: scope.require_table(r.name, "alter")),
            serve(api.DROP_TABLE, self.drop_table, grant=lambda scope, r: scope.require_table(r.name, "alter")),
            serve(api.ADD_COLUMNS, self.add_columns, grant=lambda scope, r: scope.require_table(r.table, "alter")),
            serve(api.DROP_COLUMNS, self.drop_columns, grant=lambda scope, r: scope.require_table(r.table, "alter")),
            serve(_INSERT, self.insert, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(_UPDATE, self.update, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(api.DELETE, self.delete, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(_MERGE, self.merge, grant=lambda scope, r: scope.require_table(r.table, "write")),
            serve(_SEARCH, self.search, grant=lambda scope, r: scope.require_table(r.table, "read")),
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
        await self._tables.close()

    # --- tables and columns ----------------------------------------------------------------------------

    async def list_tables(self, caller: Participant, request: Empty) -> api.ListTablesResult:
        """The names of the room's tables; none in a new room."""
        return api.ListTablesResult(tables=await self._tables.table_names())

    async def create_table(self, caller: Participant, request: _CreateTable) -> api.TableResult:
        """Make a table from a schema, from rows, or from both.

        Raises:
            InvalidRequestError: Neither is given, they do not fit, or the name is not one for a table.
            AlreadyExistsError: The table exists, and the mode is `create`.
            LimitExceededError: The room has as many tables as it may have.
        """
        check_name(request.name)
        await self._tables.create_table(request.name, bytes(request.data), bytes(request.schema), request.mode)
        return api.TableResult(table=request.name)

    async def drop_table(self, caller: Participant, request: api.DropTableRequest) -> api.TableResult:
        """Remove a table with its rows.

        Raises:
            NotFoundError: There is none, and `ignore_missing` is false.
        """
        check_name(request.name)
        ignore_missing = request.ignore_missing or request.ignore_missing_in_camel_case
        if not await self._tables.drop_table(request.name) and not ignore_missing:
            raise no_such_table(request.name)
        return api.TableResult(table=request.name)

    async def add_columns(self, caller: Participant, request: api.AddColumnsRequest) -> api.TableResult:
        """Add columns whose values are computed for each row; other rows may leave them null."""
        check_name(request.table)
        await self._tables.add_columns(request.table, request.new_columns, False)
        return api.TableResult(table=request.table)

    async def drop_columns(self, caller: Participant, request: api.DropColumnsRequest) -> api.DropColumnsResult:
        """Remove columns, all or none."""
        check_name(request.table)
        await self._tables.drop_columns(request.table, request.columns)
        return api.DropColumnsResult(table=request.table, dropped_columns=request.columns)

    # --- rows ------------------------------------------------------------------------------------------

    async def insert(self, caller: Participant, request: _Insert) -> api.InsertResult:
        """Add rows, all of the request or none, in the order in which requests come."""
        check_name(request.table)
        inserted = await self._tables.insert(request.table, bytes(request.records))
        return api.InsertResult(table=request.table, result=api.InsertCounts(inserted=inserted))

    async def update(self, caller: Participant, request: _Update) -> api.WhereResult:
        """Change the rows that a filter selects, by values, by expressions, or by both at once."""
        check_name(request.table)
        await self._tables.update(request.table, request.where, bytes(request.values), request.values_sql or {})
        return api.WhereResult(table=request.table, where=request.where)

    async def delete(self, caller: Participant, request: api.DeleteRequest) -> api.WhereResult:
        """Delete the rows that a filter selects."""
        check_name(request.table)
        await self._tables.delete(request.table, request.where, False)
        return api.WhereResult(table=request.table, where=request.where)

    async def merge(self, caller: Participant, request: _Merge) -> api.MergeResult:
        """Update rows by the value of a column, and insert the records that match none."""
        check_name(request.table)
        await self._tables.merge(request.table, request.on, bytes(request.records))
        return api.MergeResult(table=request.table, on=request.on)

    async def search(self, caller: Participant, request: api.SearchRequest) -> _SearchResult:
        """Rows by filter, text, vector, or text and vector.

        Raises:
            InvalidStateError: A search for text in a table without a full-text index.
            LimitExceededError: The rows found take more memory than one answer may.
        """
        check_name(request.table)
        search = TableSearch(
            where=request.where,
            text=request.text,
            vector=request.vector,
            limit=request.limit,
            offset=request.offset,
            select=request.select,
        )
        return _SearchResult(results=msgspec.Raw(await self._tables.search(request.table, search)))

    # --- indexes ---------------------------------------------------------------------------------------

    async def optimize(self, caller: Participant, request: api.TableRequest) -> api.TableResult:
        """Put small files together, bring indexes up to date, remove old versions."""
        check_name(request.table)
        await self._tables.optimize(request.table)
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
        check_name(request.table)
        return api.ListIndexesResult(indexes=await self._tables.list_indexes(request.table))

    async def _create_index(self, kind: IndexKind, request: api.IndexRequest) -> api.TableResult:
        check_name(request.table)
        await self._tables.create_index(request.table, kind, request.column, request.replace)
        return api.TableResult(table=request.table)


def check_name(name: str) -> None:
    """Raise InvalidRequestError unless `name` can be that of a table, and so of a folder."""
    if _NAME.fullmatch(name) is None:
        raise InvalidRequestError(
            "a table name must have 1 to 200 letters, digits, '_', '-' or '.', and must not start with a dot"
        )
