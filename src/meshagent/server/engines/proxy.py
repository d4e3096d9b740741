"""A room's tables as calls to an engine, wherever it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Protocol, cast

from meshagent.api.contracts.database import CreateMode, IndexResult
from meshagent.api.contracts.dataset import IndexDescription
from meshagent.api.errors import InvalidStateError
from meshagent.server.engines.errors import OutcomeUnknownError
from meshagent.server.engines.health import TableHealth
from meshagent.server.engines.methods import METHODS
from meshagent.server.stores.errors import CorruptDataError, StoreFailedError
from meshagent.server.stores.tables.durable_files import table_names
from meshagent.server.stores.tables.errors import no_such_table
from meshagent.server.stores.tables.settings import DatabaseLimits
from meshagent.server.stores.tables.table_store import (
    IndexKind,
    OpenedQuery,
    OptimizeStats,
    ParsedSql,
    RoomTableStore,
    TableSearch,
    UploadStart,
)

__all__ = ["EngineCalls", "RoomTablesProxy"]


class EngineCalls(Protocol):
    """Where calls go. `room` is the relative folder of the room's tables, which names it."""

    async def call(self, room: str, method: str, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the room's `RoomTableStore`. Errors as there."""
        ...

    def notify(self, room: str, method: str, arguments: tuple[Any, ...]) -> None:
        """Call a method that gives nothing, without waiting; nothing happens where no engine runs."""
        ...

    async def close_room(self, room: str) -> None:
        """Finish the room's writes, and let go of its tables."""
        ...


class RoomTablesProxy(RoomTableStore):
    """The tables of one room.

    Args:
        calls: Where the calls go.
        root: The folder of all rooms' tables.
        room: The room's folder below it.
        limits: Bounds of the room.
        health: Told of tables that fail, and of those that work again.
    """

    def __init__(self, calls: EngineCalls, root: Path, room: str, limits: DatabaseLimits, health: TableHealth) -> None:
        self.limits = limits
        self._calls = calls
        self._folder = root / room
        self._room = room
        self._health = health
        self._closed = False
        self._has_folder = False
        self._looking = asyncio.Lock()
        self._was_used = False

    async def table_names(self) -> list[str]:
        return await asyncio.to_thread(table_names, self._folder)

    async def create_table(self, name: str, rows: bytes, types: bytes, mode: CreateMode) -> None:
        await self._call("create_table", name, rows, types, mode, table=name)

    async def drop_table(self, name: str) -> bool:
        return await self._has_tables() and cast(bool, await self._call("drop_table", name, table=name))

    async def rename_table(self, name: str, new_name: str) -> None:
        await self._call_on("rename_table", name, new_name)

    async def add_columns(self, name: str, expressions: dict[str, str], quoted_names: bool) -> None:
        await self._call_on("add_columns", name, expressions, quoted_names)

    async def add_empty_columns(self, name: str, schema: bytes) -> None:
        await self._call_on("add_empty_columns", name, schema)

    async def drop_columns(self, name: str, columns: list[str]) -> None:
        await self._call_on("drop_columns", name, columns)

    async def insert(self, name: str, rows: bytes) -> int:
        return cast(int, await self._call_on("insert", name, rows))

    async def update(self, name: str, where: str, values: bytes, expressions: dict[str, str]) -> int:
        return cast(int, await self._call_on("update", name, where, values, expressions))

    async def update_typed(self, name: str, where: str, assignments: list[tuple[str, str]]) -> int:
        return cast(int, await self._call_on("update_typed", name, where, assignments))

    async def delete(self, name: str, where: str, quoted_names: bool) -> int:
        return cast(int, await self._call_on("delete", name, where, quoted_names))

    async def merge(self, name: str, on: str, rows: bytes) -> None:
        await self._call_on("merge", name, on, rows)

    async def search(self, name: str, search: TableSearch) -> bytes:
        return cast(bytes, await self._call_on("search", name, search))

    async def count(self, name: str, search: TableSearch) -> int:
        return cast(int, await self._call_on("count", name, search))

    async def schema(self, name: str) -> bytes:
        return cast(bytes, await self._call_on("schema", name))

    async def optimize(self, name: str) -> OptimizeStats:
        return cast(OptimizeStats, await self._call_on("optimize", name))

    async def create_index(self, name: str, kind: IndexKind, column: str, replace: bool | None) -> None:
        await self._call_on("create_index", name, kind, column, replace)

    async def create_configured_index(self, name: str, config: bytes) -> None:
        await self._call_on("create_configured_index", name, config)

    async def drop_index(self, name: str, index: str) -> None:
        await self._call_on("drop_index", name, index)

    async def list_indexes(self, name: str) -> list[IndexResult]:
        return cast(list[IndexResult], await self._call_on("list_indexes", name))

    async def describe_indexes(self, name: str) -> list[IndexDescription]:
        return cast(list[IndexDescription], await self._call_on("describe_indexes", name))

    async def open_search(self, name: str, search: TableSearch) -> int:
        return cast(int, await self._call_on("open_search", name, search))

    async def open_query_rows(self, owner: str, query_id: str) -> int:
        return cast(int, await self._call("open_query_rows", owner, query_id))

    async def next_piece(self, stream: int) -> bytes | None:
        return cast("bytes | None", await self._call("next_piece", stream))

    async def close_stream(self, stream: int) -> None:
        self._calls.notify(self._room, "close_stream", (stream,))

    async def open_upload(self, start: UploadStart) -> int:
        if start.kind == "create":
            return cast(int, await self._call("open_upload", start))
        if not await self._has_tables():
            raise no_such_table(start.table)
        return cast(int, await self._call("open_upload", start))

    async def upload(self, upload: int, data: bytes) -> None:
        await self._call("upload", upload, data)

    async def upload_rows(self, upload: int, rows: bytes) -> None:
        await self._call("upload_rows", upload, rows)

    async def finish_upload(self, upload: int) -> None:
        await self._call("finish_upload", upload)

    async def discard_upload(self, upload: int) -> None:
        self._calls.notify(self._room, "discard_upload", (upload,))

    async def parse_sql(self, text: str, parameters: bytes) -> ParsedSql:
        return cast(ParsedSql, await self._call("parse_sql", text, parameters))

    async def open_query(self, owner: str, text: str, parameters: bytes, tables: dict[str, str]) -> OpenedQuery:
        return cast(OpenedQuery, await self._call("open_query", owner, text, parameters, tables))

    async def run_statement(self, owner: str, text: str, parameters: bytes, tables: dict[str, str]) -> int:
        return cast(int, await self._call("run_statement", owner, text, parameters, tables))

    async def close_query(self, owner: str, query_id: str) -> bool:
        return self._was_used and cast(bool, await self._call("close_query", owner, query_id))

    def owner_left(self, owner: str) -> None:
        if self._was_used and not self._closed:
            self._calls.notify(self._room, "owner_left", (owner,))

    async def close(self) -> None:
        self._closed = True
        if self._was_used:
            await self._calls.close_room(self._room)

    # --- inside ----------------------------------------------------------------------------------------

    async def _call_on(self, method: str, table: str, *arguments: Any) -> Any:
        """A call on a table, which needs a room that has some: no engine is started to say that it has none."""
        if not self._has_folder and not await self._has_tables():
            raise no_such_table(table)
        return await self._call(method, table, *arguments, table=table)

    async def _call(self, method: str, *arguments: Any, table: str = "") -> Any:
        self._check_open()
        self._was_used = True
        writing = METHODS[method].is_write
        try:
            result = await self._calls.call(self._room, method, arguments)
        except OutcomeUnknownError:
            raise
        except (StoreFailedError, CorruptDataError) as error:
            self._health.failed(self._room, table, error, writing=writing)
            raise
        self._health.works(self._room, table, writing=writing)
        return result

    async def _has_tables(self) -> bool:
        if not self._has_folder:
            async with self._looking:  # those who wait go on in the order in which they came
                if not self._has_folder:
                    self._has_folder = await asyncio.to_thread(self._folder.is_dir)
        self._check_open()
        return self._has_folder

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidStateError("the room has ended")
