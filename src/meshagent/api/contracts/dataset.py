"""`dataset.*`: the tables of a room in Arrow, for clients of the current generation (protocol 12).

Every request may name a namespace, a branch and a version. Data is an Arrow IPC stream.
"""

from __future__ import annotations

from typing import Any

import msgspec

from meshagent.api.contracts.content import BinaryBody
from meshagent.api.contracts.database import CreateMode, ListTablesResult
from meshagent.api.contracts.operation import Empty, Operation


class DatasetRef(msgspec.Struct, frozen=True, kw_only=True):
    """Names a set of tables; a reference without members means the room's own tables, as they are now."""

    namespace: list[str] | None = None
    branch: str | None = None
    version: int | str | None = None


class TableRef(DatasetRef, frozen=True, kw_only=True):
    table: str


class KeyValue(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    value: str


class CreateTableStart(DatasetRef, frozen=True, kw_only=True):
    """Starts an upload that creates a table; its data is the schema, or empty to infer it from the rows."""

    name: str
    mode: CreateMode = "create"
    metadata: list[KeyValue] | None = None


class MergeStart(TableRef, frozen=True, kw_only=True):
    """Starts an upload that upserts rows by the key columns `on`."""

    on: str | list[str]


class DropTableRequest(DatasetRef, frozen=True, kw_only=True):
    name: str
    ignore_missing: bool = False


class RenameTableRequest(DatasetRef, frozen=True, kw_only=True):
    name: str
    new_name: str


class NewColumn(msgspec.Struct, frozen=True, kw_only=True):
    """A column with the SQL expression that computes its value for existing rows."""

    name: str
    value_sql: str


class AddColumnsRequest(TableRef, frozen=True, kw_only=True):
    """Columns by expression; or, with an Arrow schema as data, null columns of those types."""

    columns: list[NewColumn] = msgspec.field(default_factory=list)


class DropColumnsRequest(TableRef, frozen=True, kw_only=True):
    columns: list[str]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A column's new value as JSON text; types that JSON lacks are written like `{"date": "2025-01-02"}`."""

    column: str
    value_json: str


class UpdateRequest(TableRef, frozen=True, kw_only=True):
    where: str
    values: list[Assignment]


class DeleteRequest(TableRef, frozen=True, kw_only=True):
    where: str


class SearchRequest(TableRef, frozen=True, kw_only=True):
    """As `database.SearchRequest`; `text_columns` narrows a search for text to some of the indexed columns."""

    text: str | None = None
    vector: list[float] | None = None
    text_columns: list[str] | None = None
    where: str | None = None
    offset: int | None = None
    limit: int | None = None
    select: list[str] | None = None


class CountResult(msgspec.Struct, frozen=True, kw_only=True):
    count: int


class CreateIndexRequest(TableRef, frozen=True, kw_only=True):
    """`config` has a `column`, an `index_type` and what tunes an index of that type."""

    config: dict[str, Any]


class DropIndexRequest(TableRef, frozen=True, kw_only=True):
    name: str


class IndexDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One index. `fields` are the positions of its columns; the last two members are JSON text."""

    name: str
    columns: list[str]
    type: str
    fields: list[int]
    type_url: str
    num_rows_indexed: int
    num_segments: int
    total_size_bytes: int
    details_json: str
    statistics_json: str


class ListIndexesResult(msgspec.Struct, frozen=True, kw_only=True):
    indexes: list[IndexDescription]


class OptimizeRequest(TableRef, frozen=True, kw_only=True):
    """`config` is accepted and ignored."""

    config: Any = None


class OptimizeResult(msgspec.Struct, frozen=True, kw_only=True):
    compaction: dict[str, int]
    optimized_indices: list[str]
    cleanup: dict[str, int]


class SqlTable(DatasetRef, frozen=True, kw_only=True):
    """A table that a query can use, under its alias if it has one."""

    name: str
    alias: str | None = None


class SqlRequest(DatasetRef, frozen=True, kw_only=True):
    """An SQL statement; the data is an Arrow table with one row of parameters, or empty."""

    query: str
    tables: list[SqlTable] | None = None


class StatementResult(msgspec.Struct, frozen=True, kw_only=True):
    rows_affected: int


class ExecutedStatement(StatementResult, frozen=True, kw_only=True):
    kind: str = "statement"


class QueryRequest(msgspec.Struct, frozen=True, kw_only=True):
    query_id: str


class CancelResult(msgspec.Struct, frozen=True, kw_only=True):
    """`cancelled`, `cancelling` or `not_cancellable`."""

    status: str


LIST_TABLES = Operation("dataset.list_tables", DatasetRef, ListTablesResult)
INSPECT = Operation("dataset.inspect", TableRef, BinaryBody)
DROP_TABLE = Operation("dataset.drop_table", DropTableRequest, Empty)
RENAME_TABLE = Operation("dataset.rename_table", RenameTableRequest, Empty)
ADD_COLUMNS = Operation("dataset.add_columns", AddColumnsRequest, Empty)
DROP_COLUMNS = Operation("dataset.drop_columns", DropColumnsRequest, Empty)
UPDATE = Operation("dataset.update", UpdateRequest, Empty)
DELETE = Operation("dataset.delete", DeleteRequest, Empty)
COUNT = Operation("dataset.count", SearchRequest, CountResult)
CREATE_INDEX = Operation("dataset.create_index", CreateIndexRequest, Empty)
DROP_INDEX = Operation("dataset.drop_index", DropIndexRequest, Empty)
LIST_INDEXES = Operation("dataset.list_indexes", TableRef, ListIndexesResult)
OPTIMIZE = Operation("dataset.optimize", OptimizeRequest, OptimizeResult)
OPEN_SQL_QUERY = Operation("dataset.open_sql_query", SqlRequest, BinaryBody)
EXECUTE_SQL = Operation("dataset.execute_sql", SqlRequest, BinaryBody)
"""Answers like `OPEN_SQL_QUERY`, or with an `ExecutedStatement`."""
EXECUTE_SQL_STATEMENT = Operation("dataset.execute_sql_statement", SqlRequest, StatementResult)
CLOSE_SQL_QUERY = Operation("dataset.close_sql_query", QueryRequest, Empty)
CANCEL_SQL_QUERY = Operation("dataset.cancel_sql_query", QueryRequest, CancelResult)
