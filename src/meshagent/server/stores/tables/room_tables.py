"""The tables of one room on LanceDB: protocol 11.

Importing this module imports LanceDB and Arrow, which takes a second or more: `TableEngine` does it in a thread at the
first use of a table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import lancedb
import pyarrow as pa
from lancedb import AsyncConnection, AsyncTable, Session

from meshagent.api.contracts.database import CreateMode, IndexResult, Row
from meshagent.api.errors import InvalidRequestError, InvalidStateError
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.tables.columns import (
    check_column_name,
    column_kinds,
    infer_schema,
    schema_from_types,
)
from meshagent.server.stores.tables.errors import engine_errors, table_exists
from meshagent.server.stores.tables.filters import translate_expression, translate_filter
from meshagent.server.stores.tables.grammar import ColumnKind
from meshagent.server.stores.tables.indexes import index_creation, list_indexes
from meshagent.server.stores.tables.literals import sql_literal
from meshagent.server.stores.tables.rows import RowReader, fold_by_key, rows_from_table, table_from_rows
from meshagent.server.stores.tables.search import Search, run_search
from meshagent.server.stores.tables.settings import DatabaseLimits, MaintenanceSettings
from meshagent.server.stores.tables.table import Table
from meshagent.server.stores.tables.table_store import IndexKind, OptimizeStats
from meshagent.server.stores.tables.updates import apply_update

__all__ = ["RoomTables"]

T = TypeVar("T")

Select = Callable[[AsyncTable], Awaitable[str | None]]
"""Finds rows of a table within a write: a filter in the engine's dialect, or None for no rows."""

CheckUpdate = Callable[[AsyncTable, str, Mapping[str, str]], Awaitable[None]]
"""Judges an update before it is written: the table, the filter and the expressions in the engine's dialect."""

_MANY_ROWS = 200


class RoomTables:
    """The tables below one existing folder. Callers validate names. For one event loop.

    Errors of all methods: `NotFoundError` for a missing table, `InvalidRequestError` for invalid values, columns or
    SQL, `StoreFailedError` when the disk fails: the write may not be durable.
    """

    def __init__(
        self,
        root: Path,
        connection: AsyncConnection,
        *,
        disk: Disk | None,
        health: HealthMonitor,
        maintenance: MaintenanceSettings,
        limits: DatabaseLimits,
    ) -> None:
        self._root = root
        self._connection = connection
        self._disk = disk
        self._health = health
        self._maintenance = maintenance
        self.limits = limits
        self._renaming = asyncio.Lock()
        self._tables: dict[str, Table] = {}
        self._users: dict[str, int] = {}
        self._closed = False

    @staticmethod
    def make_session(*, index_cache_bytes: int, metadata_cache_bytes: int) -> Session:
        """The caches shared by all rooms of a server."""
        return Session(index_cache_bytes, metadata_cache_bytes)

    @classmethod
    async def open(
        cls,
        root: Path,
        session: Session,
        *,
        disk: Disk | None,
        health: HealthMonitor,
        maintenance: MaintenanceSettings,
        limits: DatabaseLimits,
    ) -> RoomTables:
        """Open the tables below `root`."""
        with engine_errors(""):
            connection = await lancedb.connect_async(str(root), session=session)
        return cls(root, connection, disk=disk, health=health, maintenance=maintenance, limits=limits)

    # --- tables and columns ----------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        *,
        rows: Sequence[Row] | None,
        types: Mapping[str, Mapping[str, Any]] | None,
        mode: CreateMode,
    ) -> None:
        """Create a table; `mode` says what happens if it exists. `overwrite` is atomic.

        Raises:
            AlreadyExistsError: It exists, and the mode is `create`.
        """
        if types is None and not rows:
            raise InvalidRequestError("a table needs a schema, or rows to infer it from")

        def content() -> pa.Table:
            schema = infer_schema(rows or ()) if types is None else schema_from_types(types)
            return table_from_rows(RowReader(schema).read(rows or ()), schema)

        first = await asyncio.to_thread(content) if rows and len(rows) > _MANY_ROWS else content()
        with self.using(name) as table:
            await table.create(first, mode)

    async def drop(self, name: str) -> bool:
        """Drop a table; returns whether it existed."""
        with self.using(name) as table:
            return await table.drop()

    async def rename(self, name: str, new_name: str) -> None:
        """Rename a table, atomically and durably.

        Raises:
            NotFoundError: There is no table `name`.
            AlreadyExistsError: There is a table `new_name`.
        """
        if name == new_name:  # else it would wait for itself
            with self.using(name) as table:
                async with table.reading():
                    raise table_exists(name)
        async with self._renaming:  # renaming a to b and b to a in parallel would deadlock
            with self.using(name) as table, self.using(new_name) as target:
                await table.rename(target)

    async def add_columns(self, name: str, expressions: Mapping[str, str], *, quoted_names: bool = False) -> None:
        """Add columns computed by an expression for each row; all are nullable, those of literals too."""
        if not expressions:
            raise InvalidRequestError("name at least one column to add")
        for column in expressions:
            check_column_name(column)

        async def add(table: AsyncTable) -> None:
            columns = column_kinds(await table.schema())
            await table.add_columns(
                {
                    column: translate_expression(sql, columns, quoted_names=quoted_names)
                    for column, sql in expressions.items()
                }
            )
            await _adapt_new_columns(table, set(expressions))

        await self.change(name, add)

    async def drop_columns(self, name: str, columns: Sequence[str]) -> None:
        """Drop columns, atomically."""
        if not columns:
            raise InvalidRequestError("name at least one column to drop")

        async def drop(table: AsyncTable) -> None:
            schema = await table.schema()
            for column in columns:
                if column not in schema.names:
                    raise InvalidRequestError(f"column {column!r} not found")
            if set(columns) == set(schema.names):
                raise InvalidRequestError("cannot drop the last column: drop the table instead")
            await table.drop_columns(list(dict.fromkeys(columns)))

        await self.change(name, drop)

    # --- rows ------------------------------------------------------------------------------------------

    async def insert(self, name: str, rows: Sequence[Row]) -> None:
        """Insert rows, atomically; missing values are null."""
        with self.using(name) as table:
            await table.insert(rows)

    async def update(
        self,
        name: str,
        where: str,
        *,
        values: Mapping[str, Any],
        expressions: Mapping[str, str],
        quoted_names: bool = False,
    ) -> int:
        """Assign values and expressions to the rows that `where` selects; returns their number."""
        if not values and not expressions:
            raise InvalidRequestError("an update needs values or values_sql")
        if twice := values.keys() & expressions.keys():
            raise InvalidRequestError(f"column {min(twice)!r} is in both values and values_sql")

        async def update(table: AsyncTable) -> int:
            schema = await table.schema()
            assigned = _assignments(schema, values, expressions, quoted_names)
            return await apply_update(table, required_filter(where, column_kinds(schema), quoted_names), assigned)

        return await self.change(name, update)

    async def update_selected(
        self, name: str, select: Select, expressions: Mapping[str, str], check: CheckUpdate | None = None
    ) -> int:
        """Assign expressions, in standard SQL, to the rows that `select` finds; returns their number.

        Args:
            check: Judges what is about to be assigned.
        """

        async def update(table: AsyncTable) -> int:
            assigned = _assignments(await table.schema(), {}, expressions, True)
            where = await select(table)
            if where is None:
                return 0
            if check is not None:
                await check(table, where, assigned)
            return await apply_update(table, where, assigned)

        return await self.change(name, update)

    async def delete_selected(self, name: str, select: Select) -> int:
        """Delete the rows that `select` finds; returns their number."""

        async def delete(table: AsyncTable) -> int:
            where = await select(table)
            return 0 if where is None else await _delete(table, where)

        return await self.change(name, delete)

    async def delete(self, name: str, where: str, *, quoted_names: bool = False) -> int:
        """Delete the rows that `where` selects; returns their number."""

        async def delete(table: AsyncTable) -> int:
            columns = column_kinds(await table.schema())
            return await _delete(table, required_filter(where, columns, quoted_names))

        return await self.change(name, delete)

    async def merge(self, name: str, on: str, rows: Sequence[Row]) -> None:
        """Upsert rows by the key column `on`.

        A row changes only the columns that it has. Several rows of one key are applied in order. Rows with different
        sets of columns are stored in separate groups; if the disk fails in between, some groups are stored.
        """

        async def merge(table: AsyncTable) -> None:
            reader = RowReader(await table.schema())
            reader.read_value(on, None)
            check_merge_column(on)
            groups: dict[frozenset[str], list[Row]] = {}
            for row in fold_by_key(reader.read(rows), on):
                groups.setdefault(frozenset(row), []).append(row)
            for columns, group in groups.items():
                schema = pa.schema([field for field in reader.schema if field.name in columns])
                upsert = table.merge_insert(on).when_matched_update_all().when_not_matched_insert_all()
                await upsert.execute(table_from_rows(group, schema))

        await self.change(name, merge)

    async def search(
        self,
        name: str,
        *,
        where: str | None = None,
        text: str | None = None,
        vector: list[float] | None = None,
        limit: int | None = None,
        offset: int | None = None,
        select: list[str] | None = None,
    ) -> list[Row]:
        """Search by filter, text, vector, or text and vector; see `search.run_search`."""
        with self.using(name) as table:
            schema = (await table.reader()).schema
            search = Search(
                where=translate_filter(where, column_kinds(schema)),
                text=text,
                vector=vector,
                limit=limit,
                offset=offset,
                select=select,
            )
            async with table.reading() as handle:
                found = await run_search(handle, schema, search, max_bytes=self.limits.max_result_bytes)
        return (
            await asyncio.to_thread(rows_from_table, found) if found.num_rows > _MANY_ROWS else rows_from_table(found)
        )

    # --- maintenance -----------------------------------------------------------------------------------

    async def optimize(self, name: str) -> OptimizeStats:
        """Merge small files, update indexes, remove old versions."""
        with self.using(name) as table:
            return await table.optimize()

    async def create_index(self, name: str, kind: IndexKind, column: str, *, replace: bool | None) -> None:
        """Index a column; see `indexes.index_creation`."""
        await self.change(name, index_creation(kind, column, replace=replace))

    async def list_indexes(self, name: str) -> list[IndexResult]:
        with self.using(name) as table:
            async with table.reading() as handle:
                return await list_indexes(handle)

    async def close(self) -> None:
        """Finish accepted writes, and accept no more."""
        self._closed = True
        tables = list(self._tables.values())
        await asyncio.gather(*(table.close() for table in tables))
        self._tables.clear()
        self._connection.close()  # type: ignore[no-untyped-call]  # the engine does not annotate it

    async def change(self, name: str, work: Callable[[AsyncTable], Awaitable[T]]) -> T:
        """Run any write in the table's queue."""
        with self.using(name) as table:
            return await table.change(work)

    @contextmanager
    def using(self, name: str) -> Iterator[Table]:
        """The table of that name, kept while it is open or in use."""
        if self._closed:
            raise InvalidStateError("the room has ended")
        table = self._tables.get(name)
        if table is None:
            table = self._tables[name] = Table(
                name,
                self._root,
                self._connection,
                disk=self._disk,
                health=self._health,
                maintenance=self._maintenance,
                max_tables=self.limits.max_tables,
            )
        self._users[name] = self._users.get(name, 0) + 1
        try:
            yield table
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name]
                if not table.in_use:
                    self._tables.pop(name, None)


def _assignments(
    schema: pa.Schema, values: Mapping[str, Any], expressions: Mapping[str, str], quoted_names: bool
) -> dict[str, str]:
    """The engine's expressions by column, for values and the expressions of clients."""
    reader, columns = RowReader(schema), column_kinds(schema)
    assigned = {column: sql_literal(reader.read_value(column, value)) for column, value in values.items()}
    for column, expression in expressions.items():
        reader.read_value(column, None)  # does it exist?
        assigned[column] = translate_expression(expression, columns, quoted_names=quoted_names)
    return assigned


async def _delete(table: AsyncTable, where: str) -> int:
    deleted: Any = await table.delete(where)
    return int(deleted.num_deleted_rows)  # the engine's annotations lack it


def check_merge_column(name: str) -> None:
    """Raise InvalidRequestError for a column that the engine (LanceDB 0.40) cannot merge on."""
    if '"' in name:
        raise InvalidRequestError(f"cannot merge on column {name!r}: its name has a double quote")


def required_filter(where: str, columns: Mapping[str, ColumnKind], quoted_names: bool = False) -> str:
    """A filter that must not be blank: forgetting it must not change every row."""
    translated = translate_filter(where, columns, quoted_names=quoted_names)
    if translated is None:
        raise InvalidRequestError("a filter is required; use 'true' to select all rows")
    return translated


async def _adapt_new_columns(table: AsyncTable, names: set[str]) -> None:
    """Make new columns nullable, and their timestamps microseconds, as values from JSON need it."""
    fields = [field for field in await table.schema() if field.name in names]
    empty = [field.name for field in fields if pa.types.is_null(field.type)]
    if empty:
        await table.drop_columns(list(names))
        raise InvalidRequestError(f"NULL gives column {empty[0]!r} no type: use, for example, CAST(NULL AS STRING)")
    for field in fields:
        changes: dict[str, Any] = {} if field.nullable else {"nullable": True}
        if pa.types.is_timestamp(field.type) and field.type.unit != "us":
            changes["data_type"] = pa.timestamp("us", field.type.tz)
        if changes:
            changes["path"] = field.name
            await table.alter_columns(changes)  # type: ignore[arg-type]  # annotated as if it took one list
