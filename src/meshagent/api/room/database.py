"""Tables of a room: `room.database` (protocol 11)."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, TypeVar

import msgspec

from meshagent.api.contracts import database as api
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.data_types import DataType
from meshagent.api.contracts.database import CreateMode, Row
from meshagent.api.contracts.operation import EMPTY, Empty, Operation
from meshagent.api.errors import InvalidRequestError
from meshagent.api.room.core import RoomCalls
from meshagent.api.room.json_values import check_json_values

__all__ = ["CreateMode", "DatabaseClient", "Filter", "sql_filter"]

RequestT = TypeVar("RequestT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound="msgspec.Struct | Body")

Filter = str | Mapping[str, Any]
"""SQL text, or a mapping of column names to the values that they must have."""


class DatabaseClient:
    """Tables of the room; use it as `room.database`. A write is durable when its call returns.

    Rows are dicts of JSON values. Dates and times go in as `date`, `datetime` or ISO 8601 text and come back as
    text; vectors are lists of numbers.

    Errors of all methods: as `RoomClient.call`; `NotFoundError` for a table that does not exist,
    `InvalidRequestError` for what does not fit the table. Cancelling a write leaves its outcome unknown.
    """

    def __init__(self, room: RoomCalls) -> None:
        self._room = room

    async def list_tables(self) -> list[str]:
        """The names of all tables."""
        return (await self._room.call(api.LIST_TABLES, EMPTY)).tables

    async def create_table_with_schema(
        self,
        *,
        name: str,
        schema: Mapping[str, DataType] | None = None,
        data: Sequence[Row] | None = None,
        mode: CreateMode = "create",
    ) -> None:
        """Create a table with the given columns, and `data` as its first rows.

        Args:
            name: Letters, digits, `_`, `-` and `.`.
            schema: Column name to type.
            data: Rows that fit the schema; without a schema the types are inferred from them.
            mode: What if the table exists: `create` refuses, `overwrite` replaces it, `create_if_not_exists`
                leaves it as it is and does not insert `data`.

        Raises:
            AlreadyExistsError: The table exists, and the mode is `create`.
        """
        types = None if schema is None else {column: data_type.to_json() for column, data_type in schema.items()}
        rows = None if data is None else list(data)
        check_json_values(rows)
        await self._do(api.CREATE_TABLE, api.CreateTableRequest(name=name, schema=types, data=rows, mode=mode))

    async def create_table_from_data(
        self, *, name: str, data: Sequence[Row] | None = None, mode: CreateMode = "create"
    ) -> None:
        """Create a table from `data`. Types are inferred; a string stays a string, even if it looks like a date."""
        await self.create_table_with_schema(name=name, data=data, mode=mode)

    async def drop_table(self, *, name: str, ignore_missing: bool = False) -> None:
        """Delete a table with its rows."""
        await self._do(api.DROP_TABLE, api.DropTableRequest(name=name, ignore_missing=ignore_missing))

    async def add_columns(self, *, table: str, new_columns: Mapping[str, str]) -> None:
        """Add columns: name to the SQL expression that gives its value for each row, such as `"id + 1"`."""
        await self._do(api.ADD_COLUMNS, api.AddColumnsRequest(table=table, new_columns=dict(new_columns)))

    async def drop_columns(self, *, table: str, columns: Sequence[str]) -> None:
        """Remove columns, all of them or none."""
        await self._do(api.DROP_COLUMNS, api.DropColumnsRequest(table=table, columns=list(columns)))

    async def insert(self, *, table: str, records: Sequence[Row] | Row) -> None:
        """Add rows, all of them or none. Missing columns become null."""
        await self._do(api.INSERT, api.InsertRequest(table=table, records=_rows(records)))

    async def update(
        self,
        *,
        table: str,
        where: Filter,
        values: Mapping[str, Any] | None = None,
        values_sql: Mapping[str, str] | None = None,
    ) -> None:
        """Change the rows that `where` selects, `"true"` for all.

        Args:
            table: The table.
            where: Which rows.
            values: Column name to its new value.
            values_sql: Column name to an SQL expression over the row as it was. Both may be given.
        """
        check_json_values(values)
        request = api.UpdateRequest(
            table=table,
            where=sql_filter(where),
            values=None if values is None else dict(values),
            values_sql=None if values_sql is None else dict(values_sql),
        )
        await self._do(api.UPDATE, request)

    async def delete(self, *, table: str, where: Filter) -> None:
        """Delete the rows that `where` selects, `"true"` for all."""
        await self._do(api.DELETE, api.DeleteRequest(table=table, where=sql_filter(where)))

    async def merge(self, *, table: str, on: str, records: Sequence[Row] | Row) -> None:
        """Update the rows whose column `on` equals that of a record, in the columns it has; insert the others."""
        await self._do(api.MERGE, api.MergeRequest(table=table, on=on, records=_rows(records)))

    async def search(
        self,
        *,
        table: str,
        text: str | None = None,
        vector: Sequence[float] | None = None,
        where: Filter | None = None,
        limit: int | None = None,
        select: Sequence[str] | None = None,
        offset: int | None = None,
    ) -> builtins.list[dict[str, Any]]:
        """Find rows by filter, full text, vector, or by full text and vector together.

        Args:
            table: The table.
            text: Words to find in columns with a full-text index, the best first.
            vector: Find the rows whose vector is nearest. With `text` both rankings are joined.
            where: Only rows that match; applied before the ranking.
            limit: Most rows; by default all for a filter alone, 10 for a ranked search.
            select: Columns wanted, by default all.
            offset: Rows to leave out first.

        Returns:
            Rows; ranked ones with `_distance`, `_score` or, for both, `_relevance_score`.
        """
        request = api.SearchRequest(
            table=table,
            text=text,
            vector=None if vector is None else list(vector),
            where=None if where is None else sql_filter(where) or None,
            limit=limit,
            offset=offset,
            select=None if select is None else list(select),
        )
        return (await self._room.call(api.SEARCH, request)).results

    async def optimize(self, table: str) -> None:
        """Merge small files and update indexes. The room also does this by itself from time to time."""
        await self._do(api.OPTIMIZE, api.TableRequest(table=table))

    async def create_vector_index(self, *, table: str, column: str, replace: bool | None = None) -> None:
        """Index a vector column; `InvalidStateError` while it has fewer than 256 vectors.

        Args:
            table: The table.
            column: The column.
            replace: False is an error if there is such an index; otherwise it is made anew.
        """
        await self._do(api.CREATE_VECTOR_INDEX, api.IndexRequest(table=table, column=column, replace=replace))

    async def create_scalar_index(self, *, table: str, column: str, replace: bool | None = None) -> None:
        """Index a column for filters; otherwise as `create_vector_index`."""
        await self._do(api.CREATE_SCALAR_INDEX, api.IndexRequest(table=table, column=column, replace=replace))

    async def create_full_text_search_index(self, *, table: str, column: str, replace: bool | None = None) -> None:
        """Index the words of a text column, which `search` by text needs; otherwise as `create_vector_index`."""
        request = api.IndexRequest(table=table, column=column, replace=replace)
        await self._do(api.CREATE_FULL_TEXT_SEARCH_INDEX, request)

    async def list_indexes(self, *, table: str) -> builtins.list[dict[str, Any]]:
        """The indexes of a table, each with `name`, `columns` and `type`."""
        result = await self._room.call(api.LIST_INDEXES, api.TableRequest(table=table))
        return [{"name": index.name, "columns": index.columns, "type": index.type} for index in result.indexes]

    async def _do(self, operation: Operation[RequestT, Any], request: RequestT) -> None:
        """Call and ignore the result: what a server answers to a write is not fixed (protocol 11.1)."""
        await self._room.call(Operation(operation.name, operation.request, Empty, operation.kind), request)


def sql_filter(where: Filter) -> str:
    """SQL text of a filter: `{"name": "O'Neil", "age": None}` is `` `name` = 'O''Neil' AND `age` IS NULL ``.

    A dot in a name goes into an object. A list of values means one of them.

    Raises:
        InvalidRequestError: A value that no column can equal, such as a dict.
    """
    if isinstance(where, str):
        return where
    return " AND ".join(_condition(name, value) for name, value in where.items())


_NAME_PART = re.compile(r"[^.]+")


def _condition(name: str, value: Any) -> str:
    column = _NAME_PART.sub(lambda part: "`" + part.group().replace("`", "``") + "`", name)
    if value is None:
        return f"{column} IS NULL"
    if isinstance(value, (list, tuple, set, frozenset)):
        if not value:
            return "false"
        return f"{column} IN ({', '.join(_literal(item) for item in value)})"
    return f"{column} = {_literal(value)}"


def _literal(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            text = value
        case datetime() | date():
            text = value.isoformat()
        case _:
            raise InvalidRequestError(f"a filter cannot compare with a value of type {type(value).__name__}")
    return "'" + text.replace("'", "''") + "'"


def _rows(records: Sequence[Row] | Row) -> api.Rows:
    rows = dict(records) if isinstance(records, Mapping) else list(records)
    check_json_values(rows)
    return rows
