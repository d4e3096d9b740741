"""`database.*`: the tables of a room (protocol 11).

Rows are JSON objects, columns have the types of `meshagent.api.contracts.data_types`, filters are SQL text. What
programs of the time send is accepted: one row where a list is meant, `ignoreMissing`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from meshagent.api.contracts.operation import Empty, Operation

Row = dict[str, Any]
Rows = list[Row] | Row
"""Rows, or a single one."""

CreateMode = Literal["create", "overwrite", "create_if_not_exists"]


class ListTablesResult(msgspec.Struct, frozen=True, kw_only=True):
    """Names in alphabetical order."""

    tables: list[str]


class CreateTableRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Make a table from a schema, from rows whose types are inferred, or from both.

    Attributes:
        schema: Column name to type, such as `{"type": "int"}`.
        mode: What if the table exists: `create` refuses, `overwrite` replaces it, `create_if_not_exists` leaves it
            as it is and does not insert `data`.
    """

    name: str
    data: Rows | None = None
    schema: dict[str, dict[str, Any]] | None = None
    mode: CreateMode = "create"


class DropTableRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    ignore_missing: bool = False
    ignore_missing_in_camel_case: bool = msgspec.field(name="ignoreMissing", default=False)


class AddColumnsRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`new_columns`: column name to the SQL expression that gives its value for each row that is there."""

    table: str
    new_columns: dict[str, str]


class DropColumnsRequest(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    columns: list[str]


class InsertRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Columns that a record lacks become null; one that the table lacks is an error."""

    table: str
    records: Rows


class UpdateRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Change the rows that `where` selects, `"true"` for all.

    Attributes:
        values: Column name to its new value.
        values_sql: Column name to an SQL expression over the row as it was. Both may be given.
    """

    table: str
    where: str
    values: dict[str, Any] | None = None
    values_sql: dict[str, str] | None = None


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Delete the rows that `where` selects, `"true"` for all."""

    table: str
    where: str


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Update the rows whose column `on` equals that of a record, insert the records that match none."""

    table: str
    on: str
    records: Rows


class SearchRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Find rows by filter, by text, by nearness to a vector, or by both text and vector.

    Attributes:
        limit: Most rows wanted; by default all for a filter alone, 10 for the ranked searches.
        offset: Rows to leave out first.
        select: Columns wanted, by default all.
    """

    table: str
    where: str | None = None
    text: str | None = None
    vector: list[float] | None = None
    limit: int | None = None
    offset: int | None = None
    select: list[str] | None = None


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    """Ranked rows carry `_distance` (vector), `_score` (text) or `_relevance_score` (both)."""

    results: list[Row]


class TableRequest(msgspec.Struct, frozen=True, kw_only=True):
    table: str


class IndexRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`replace`: whether an index of the same name gives way, by default yes; with false it is an error."""

    table: str
    column: str
    replace: bool | None = None


class IndexResult(msgspec.Struct, frozen=True, kw_only=True):
    """One index; `type` is `IVF_PQ`, `IVF_FLAT`, `BTree`, `FTS` …"""

    name: str
    columns: list[str]
    type: str


class ListIndexesResult(msgspec.Struct, frozen=True, kw_only=True):
    indexes: list[IndexResult]


class TableResult(msgspec.Struct, frozen=True, kw_only=True):
    """It is done, and durable."""

    table: str
    status: str = "ok"


class DropColumnsResult(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    dropped_columns: list[str]
    status: str = "ok"


class InsertCounts(msgspec.Struct, frozen=True, kw_only=True):
    inserted: int


class InsertResult(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    result: InsertCounts
    status: str = "ok"


class WhereResult(msgspec.Struct, frozen=True, kw_only=True):
    """Rows were changed or deleted; `where` is the filter as it was given."""

    table: str
    where: str
    status: str = "ok"


class MergeResult(msgspec.Struct, frozen=True, kw_only=True):
    table: str
    on: str
    status: str = "ok"


LIST_TABLES = Operation("database.list_tables", Empty, ListTablesResult)
CREATE_TABLE = Operation("database.create_table", CreateTableRequest, TableResult)
DROP_TABLE = Operation("database.drop_table", DropTableRequest, TableResult)
ADD_COLUMNS = Operation("database.add_columns", AddColumnsRequest, TableResult)
DROP_COLUMNS = Operation("database.drop_columns", DropColumnsRequest, DropColumnsResult)
INSERT = Operation("database.insert", InsertRequest, InsertResult)
UPDATE = Operation("database.update", UpdateRequest, WhereResult)
DELETE = Operation("database.delete", DeleteRequest, WhereResult)
MERGE = Operation("database.merge", MergeRequest, MergeResult)
SEARCH = Operation("database.search", SearchRequest, SearchResult)
OPTIMIZE = Operation("database.optimize", TableRequest, TableResult)
CREATE_VECTOR_INDEX = Operation("database.create_vector_index", IndexRequest, TableResult)
CREATE_SCALAR_INDEX = Operation("database.create_scalar_index", IndexRequest, TableResult)
CREATE_FULL_TEXT_SEARCH_INDEX = Operation("database.create_full_text_search_index", IndexRequest, TableResult)
LIST_INDEXES = Operation("database.list_indexes", TableRequest, ListIndexesResult)
