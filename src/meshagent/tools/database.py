"""The room's tables as tools."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal

from pydantic import Field

from meshagent.api.contracts.data_types import DataType, FloatDataType, IntDataType, TextDataType, TimestampDataType
from meshagent.api.errors import PermissionDeniedError
from meshagent.api.room.database import DatabaseClient
from meshagent.tools.context import ToolContext
from meshagent.tools.function_tool import Function, function_tools
from meshagent.tools.toolkit import Toolkit

__all__ = ["DatabaseToolkit"]

MAX_ROWS = 200

_COLUMN_TYPES: dict[str, Callable[[], DataType]] = {
    "text": TextDataType,
    "int": IntDataType,
    "float": FloatDataType,
    "timestamp": TimestampDataType,
}


class DatabaseToolkit(Toolkit):
    """Tools for tables: `list_tables`, `search_table`, and unless it is read-only `create_table`, `insert_rows`,
    `update_rows`, `delete_rows`.

    Args:
        tables: Names of the tables that may be used; all by default.
        read_only: Leave out what writes.
    """

    def __init__(self, *, tables: Collection[str] | None = None, read_only: bool = False) -> None:
        self._tables = None if tables is None else frozenset(tables)
        reading: list[Function] = [self._list_tables, self._search_table]
        writing: list[Function] = [self._create_table, self._insert_rows, self._update_rows, self._delete_rows]
        super().__init__(
            name="database",
            title="Database",
            description="The tables of the room.",
            tools=function_tools(*reading, *([] if read_only else writing)),
        )

    def _database(self, context: ToolContext, table: str | None = None) -> DatabaseClient:
        if table is not None and self._tables is not None and table not in self._tables:
            raise PermissionDeniedError(f"this tool may not use the table {table!r}")
        return context.room.database

    async def _list_tables(self, context: ToolContext) -> list[str]:
        """List the tables."""
        found = await self._database(context).list_tables()
        return [name for name in found if self._tables is None or name in self._tables]

    async def _search_table(
        self,
        context: ToolContext,
        table: str,
        where: str | None = None,
        text: str | None = None,
        select: list[str] | None = None,
        limit: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 20,
    ) -> dict[str, Any]:
        """Find rows of a table.

        Args:
            table: The table.
            where: An SQL condition such as `age > 30 AND name = 'Ann'`; none for all rows.
            text: Words to look for, where the table has a full-text index.
            select: The columns to return; none for all.
            limit: How many rows to return at most.
        """
        rows = await self._database(context, table).search(
            table=table, where=where, text=text, select=select, limit=limit
        )
        return {"rows": rows}

    async def _create_table(
        self, context: ToolContext, table: str, columns: dict[str, Literal["text", "int", "float", "timestamp"]]
    ) -> str:
        """Make a table; one that exists stays as it is.

        Args:
            table: Its name.
            columns: The type of each column by its name.
        """
        await self._database(context, table).create_table_with_schema(
            name=table,
            schema={name: _COLUMN_TYPES[kind]() for name, kind in columns.items()},
            mode="create_if_not_exists",
        )
        return f"made the table {table}"

    async def _insert_rows(self, context: ToolContext, table: str, rows: list[dict[str, Any]]) -> str:
        """Add rows to a table.

        Args:
            table: The table.
            rows: The value of each column by its name; columns that are left out stay empty.
        """
        await self._database(context, table).insert(table=table, records=rows)
        return f"added {len(rows)} rows"

    async def _update_rows(self, context: ToolContext, table: str, where: str, values: dict[str, Any]) -> str:
        """Change rows of a table.

        Args:
            table: The table.
            where: An SQL condition that says which rows; `true` for all.
            values: The new value of each column to change, by its name.
        """
        await self._database(context, table).update(table=table, where=where, values=values)
        return "updated"

    async def _delete_rows(self, context: ToolContext, table: str, where: str) -> str:
        """Delete rows of a table.

        Args:
            table: The table.
            where: An SQL condition that says which rows; `true` for all.
        """
        await self._database(context, table).delete(table=table, where=where)
        return "deleted"
