"""`DatabaseToolkit`: tools for the room's tables."""

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
    """Tools for tables: `list_tables` and `search_table`; unless read-only, also `create_table`, `insert_rows`,
    `update_rows` and `delete_rows`.

    Args:
        tables: Names of the tables that the tools may use. Default: all.
        read_only: Exclude the tools that write.
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
            raise PermissionDeniedError(f"this tool has no access to table {table!r}")
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
        """Search rows of a table.

        Args:
            table: Name of the table.
            where: SQL condition such as `age > 30 AND name = 'Ann'`. Omit for all rows.
            text: Words to search for. Requires a full-text index on the table.
            select: Columns to return. Omit for all.
            limit: Maximum number of rows.
        """
        rows = await self._database(context, table).search(
            table=table, where=where, text=text, select=select, limit=limit
        )
        return {"rows": rows}

    async def _create_table(
        self, context: ToolContext, table: str, columns: dict[str, Literal["text", "int", "float", "timestamp"]]
    ) -> str:
        """Create a table. An existing table is left unchanged.

        Args:
            table: Name of the table.
            columns: Column names with their types.
        """
        await self._database(context, table).create_table_with_schema(
            name=table,
            schema={name: _COLUMN_TYPES[kind]() for name, kind in columns.items()},
            mode="create_if_not_exists",
        )
        return f"created table {table}"

    async def _insert_rows(self, context: ToolContext, table: str, rows: list[dict[str, Any]]) -> str:
        """Insert rows into a table.

        Args:
            table: Name of the table.
            rows: Objects that map column names to values. Omitted columns are null.
        """
        await self._database(context, table).insert(table=table, records=rows)
        return f"inserted {len(rows)} rows"

    async def _update_rows(self, context: ToolContext, table: str, where: str, values: dict[str, Any]) -> str:
        """Update rows of a table.

        Args:
            table: Name of the table.
            where: SQL condition that selects the rows; `true` for all.
            values: New values by column name.
        """
        await self._database(context, table).update(table=table, where=where, values=values)
        return "updated"

    async def _delete_rows(self, context: ToolContext, table: str, where: str) -> str:
        """Delete rows of a table.

        Args:
            table: Name of the table.
            where: SQL condition that selects the rows; `true` for all.
        """
        await self._database(context, table).delete(table=table, where=where)
        return "deleted"
