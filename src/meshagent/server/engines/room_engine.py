"""The tables of one room with the engines in this process: what the port's calls do (`stores.tables.table_store`).

Importing this imports LanceDB, Arrow and DuckDB, which takes seconds: only engine processes and tests do.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import dataset as api
from meshagent.api.contracts.database import CreateMode, IndexResult, Row, Rows
from meshagent.api.contracts.dataset import IndexDescription
from meshagent.api.errors import InvalidStateError, NotFoundError, PermissionDeniedError
from meshagent.server.services.dataset import streams
from meshagent.server.services.dataset.typed_values import Expression, decode_value, to_json_value
from meshagent.server.services.sql.changes import change_rows
from meshagent.server.services.sql.inserts import insert_rows
from meshagent.server.services.sql.queries import SqlQueries, decode_parameters
from meshagent.server.services.sql.statements import Delete, Insert, Query, Update
from meshagent.server.stores.tables.arrow_data import ipc_stream, read_schema
from meshagent.server.stores.tables.arrow_tables import ArrowTables
from meshagent.server.stores.tables.durable_files import table_names
from meshagent.server.stores.tables.errors import no_such_table
from meshagent.server.stores.tables.index_configs import index_by_config
from meshagent.server.stores.tables.room_tables import RoomTables
from meshagent.server.stores.tables.search import Search
from meshagent.server.stores.tables.table_engine import TableEngine
from meshagent.server.stores.tables.table_store import (
    IndexKind,
    OpenedQuery,
    OptimizeStats,
    ParsedSql,
    RoomTableStore,
    TableSearch,
    UploadStart,
)

__all__ = ["RoomEngine"]

T = TypeVar("T")

_MANY_ROWS = 200
_MANY_BYTES = 64 * 1024
_ROWS_AT_A_TIME = 1_000


def _nothing() -> None:
    """Nothing has to be prepared."""


class _Records(msgspec.Struct, frozen=True):
    STRICT_NUMBERS: ClassVar[bool] = True

    records: Rows


class _Data(msgspec.Struct, frozen=True):
    STRICT_NUMBERS: ClassVar[bool] = True

    data: Rows | None
    schema: dict[str, dict[str, Any]] | None


class _Values(msgspec.Struct, frozen=True):
    STRICT_NUMBERS: ClassVar[bool] = True

    values: dict[str, Any] | None


class _Numbered(dict[int, T]):
    """Open streams and uploads by number; a number of another process or run is never one of these."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what
        self._last = secrets.randbits(48)

    def add(self, item: T) -> int:
        self._last += 1
        self[self._last] = item
        return self._last

    def __missing__(self, number: int) -> T:
        raise NotFoundError(f"the {self._what} is not open any more")


class _RowStream:
    """Pieces of rows, for which the reader asks one by one."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces
        self._turn = asyncio.Lock()

    async def next(self) -> bytes | None:
        async with self._turn:
            return await anext(self._pieces, None)

    async def close(self) -> None:
        async with self._turn:
            await self._pieces.aclose()


class RoomEngine(RoomTableStore):
    """The tables below `folder`. For one event loop; what its calls promise is said in the port."""

    def __init__(self, engine: TableEngine, folder: Path) -> None:
        self.limits = engine.limits
        self._engine = engine
        self._folder = folder
        self._opening = asyncio.Lock()
        self._tables: RoomTables | None = None
        self._queries: SqlQueries | None = None
        self._streams: _Numbered[_RowStream] = _Numbered("search or query")
        self._uploads: _Numbered[streams.ArrowUpload] = _Numbered("upload")
        self._closed = False

    @property
    def is_in_use(self) -> bool:
        """Whether somebody has a query, a stream or an upload open."""
        return bool(self._streams or self._uploads or (self._queries is not None and self._queries.has_open))

    async def close(self) -> None:
        async with self._opening:  # calls that came before are on their way
            self._closed = True
        for stream in list(self._streams.values()):
            await stream.close()
        for upload in list(self._uploads.values()):
            await upload.discard()
        if self._queries is not None:
            await self._queries.close()
            self._queries = None
        if self._tables is not None:
            await self._tables.close()
            self._tables = None

    # --- tables and columns ----------------------------------------------------------------------------

    async def table_names(self) -> list[str]:
        return await asyncio.to_thread(table_names, self._folder)

    async def create_table(self, name: str, rows: bytes, types: bytes, mode: CreateMode) -> None:
        def read() -> _Data:
            return jsontext.decode(b'{"data":%b,"schema":%b}' % (rows, types), _Data)

        async with self._opening:
            request = await asyncio.to_thread(read) if len(rows) > _MANY_BYTES else read()
            tables = await self._open()
        data = None if request.data is None else _as_list(request.data)
        await tables.create(name, rows=data, types=request.schema or None, mode=mode)

    async def drop_table(self, name: str) -> bool:
        tables, _ = await self._existing(_nothing)
        return tables is not None and await tables.drop(name)

    async def rename_table(self, name: str, new_name: str) -> None:
        await (await self._having(name)).rename(name, new_name)

    async def add_columns(self, name: str, expressions: dict[str, str], quoted_names: bool) -> None:
        await (await self._having(name)).add_columns(name, expressions, quoted_names=quoted_names)

    async def add_empty_columns(self, name: str, schema: bytes) -> None:
        await (await self._arrow(name)).add_fields(name, read_schema(schema))

    async def drop_columns(self, name: str, columns: list[str]) -> None:
        await (await self._having(name)).drop_columns(name, columns)

    # --- rows ------------------------------------------------------------------------------------------

    async def insert(self, name: str, rows: bytes) -> int:
        tables, records = await self._with_rows(name, rows)
        await tables.insert(name, records)
        return len(records)

    async def update(self, name: str, where: str, values: bytes, expressions: dict[str, str]) -> int:
        assigned = jsontext.decode(b'{"values":%b}' % values, _Values).values or {}
        return await (await self._having(name)).update(name, where, values=assigned, expressions=expressions)

    async def update_typed(self, name: str, where: str, assignments: list[tuple[str, str]]) -> int:
        values, expressions = {}, {}
        for column, text in assignments:
            value = decode_value(jsontext.loads_strict_numbers(text))
            if isinstance(value, Expression):
                expressions[column] = value.sql
            else:
                values[column] = to_json_value(value)
        tables = await self._having(name)
        return await tables.update(name, where, values=values, expressions=expressions, quoted_names=True)

    async def delete(self, name: str, where: str, quoted_names: bool) -> int:
        return await (await self._having(name)).delete(name, where, quoted_names=quoted_names)

    async def merge(self, name: str, on: str, rows: bytes) -> None:
        tables, records = await self._with_rows(name, rows)
        await tables.merge(name, on, records)

    async def search(self, name: str, search: TableSearch) -> bytes:
        tables = await self._having(name)
        rows = await tables.search(
            name,
            where=search.where,
            text=search.text,
            vector=search.vector or None,
            limit=search.limit,
            offset=search.offset,
            select=search.select or None,
        )
        return await asyncio.to_thread(_json_rows, rows) if len(rows) > _MANY_ROWS else jsontext.dumps(rows)

    async def count(self, name: str, search: TableSearch) -> int:
        return await (await self._arrow(name)).count(name, _search(search))

    async def schema(self, name: str) -> bytes:
        return ipc_stream(await (await self._arrow(name)).schema(name))

    # --- indexes ---------------------------------------------------------------------------------------

    async def optimize(self, name: str) -> OptimizeStats:
        return await (await self._having(name)).optimize(name)

    async def create_index(self, name: str, kind: IndexKind, column: str, replace: bool | None) -> None:
        await (await self._having(name)).create_index(name, kind, column, replace=replace)

    async def create_configured_index(self, name: str, config: bytes) -> None:
        tables = await self._having(name)
        await tables.change(name, index_by_config(jsontext.loads(config)))

    async def drop_index(self, name: str, index: str) -> None:
        await (await self._arrow(name)).drop_index(name, index)

    async def list_indexes(self, name: str) -> list[IndexResult]:
        return await (await self._having(name)).list_indexes(name)

    async def describe_indexes(self, name: str) -> list[IndexDescription]:
        return await (await self._arrow(name)).list_indexes(name)

    # --- piece by piece --------------------------------------------------------------------------------

    async def open_search(self, name: str, search: TableSearch) -> int:
        return self._streams.add(_RowStream(streams.search_chunks(await self._arrow(name), name, _search(search))))

    async def open_query_rows(self, owner: str, query_id: str) -> int:
        if self._queries is None:
            raise NotFoundError(f"there is no open query {query_id!r}")
        self._queries.find(owner, query_id)
        return self._streams.add(_RowStream(self._queries.read(owner, query_id)))

    async def next_piece(self, stream: int) -> bytes | None:
        return await self._streams[stream].next()

    async def close_stream(self, stream: int) -> None:
        if (opened := self._streams.pop(stream, None)) is not None:
            await opened.close()

    async def open_upload(self, start: UploadStart) -> int:
        if start.kind == "create":
            return self._uploads.add(self._start_create(ArrowTables(await self._opened()), start))
        tables = await self._arrow(start.table)
        if start.kind == "insert":
            return self._uploads.add(await streams.start_insert(tables, start.table))
        return self._uploads.add(await streams.start_merge(tables, start.table, start.on))

    async def upload(self, upload: int, data: bytes) -> None:
        await self._uploads[upload].write(data)

    async def upload_rows(self, upload: int, rows: bytes) -> None:
        await self._uploads[upload].write_rows(jsontext.loads(rows))

    async def finish_upload(self, upload: int) -> None:
        await self._uploads[upload].finish()

    async def discard_upload(self, upload: int) -> None:
        if (opened := self._uploads.pop(upload, None)) is not None:
            await opened.discard()

    @staticmethod
    def _start_create(tables: ArrowTables, start: UploadStart) -> streams.ArrowUpload:
        metadata = [api.KeyValue(key=key, value=value) for key, value in start.metadata]
        request = api.CreateTableStart(name=start.table, mode=start.mode, metadata=metadata or None)
        return streams.start_create(tables, request, start.schema)

    # --- SQL -------------------------------------------------------------------------------------------

    async def parse_sql(self, text: str, parameters: bytes) -> ParsedSql:
        _, queries = await self._sql()
        statement = await queries.parse(text, decode_parameters(parameters))
        if isinstance(statement, Query):
            return ParsedSql(is_query=True, reads=sorted(statement.tables))
        reads = set() if statement.rows is None else set(statement.rows.tables)
        if isinstance(statement, Update):
            reads.update(*(query.tables for query in statement.values.values()))
        if not isinstance(statement, Insert):
            reads.discard(statement.table)  # who may change its rows may say which
        return ParsedSql(is_query=False, reads=sorted(reads), changes=statement.table)

    async def open_query(self, owner: str, text: str, parameters: bytes, tables: dict[str, str]) -> OpenedQuery:
        _, queries = await self._sql()
        values = decode_parameters(parameters)
        statement = await queries.parse(text, values)
        assert isinstance(statement, Query)
        opened = await queries.open(owner, statement, _only(tables), values)
        return OpenedQuery(query_id=opened.query_id, schema=ipc_stream(opened.schema))

    async def run_statement(self, owner: str, text: str, parameters: bytes, tables: dict[str, str]) -> int:
        arrow, queries = await self._sql()
        values = decode_parameters(parameters)
        parsed = await queries.parse(text, values)
        assert not isinstance(parsed, Query)
        if isinstance(parsed, (Delete, Update)):
            return await change_rows(arrow.tables, queries, parsed, _only(tables), values)
        statement = replace(parsed, table=_only(tables)(parsed.table))
        return await insert_rows(arrow, queries, statement, owner, _only(tables), values)

    async def close_query(self, owner: str, query_id: str) -> bool:
        if self._queries is None or not self._queries.is_open(owner, query_id):
            return False
        await self._queries.close_query(owner, query_id)
        return True

    def owner_left(self, owner: str) -> None:
        if self._queries is not None:
            self._queries.left(owner)

    # --- opening ---------------------------------------------------------------------------------------

    async def _opened(self) -> RoomTables:
        """The tables of the room, made if need be."""
        async with self._opening:
            return await self._open()

    async def _existing(self, prepare: Callable[[], T], *, off_loop: bool = False) -> tuple[RoomTables | None, T]:
        """The tables of the room, None if it never had any; and what `prepare` gives.

        Calls come out of here in the order in which they went in, also when one takes long to prepare: until its
        next `await`, which is when it has queued its write, nobody else is on.
        """
        async with self._opening:
            self._check_open()
            prepared = await asyncio.to_thread(prepare) if off_loop else prepare()
            if self._tables is None and not await asyncio.to_thread(self._folder.is_dir):
                return None, prepared
            return await self._open(), prepared

    async def _having(self, table: str) -> RoomTables:
        """The tables of the room, for a call about one of them."""
        return (await self._having_with(table, _nothing))[0]

    async def _having_with(
        self, table: str, prepare: Callable[[], T], *, off_loop: bool = False
    ) -> tuple[RoomTables, T]:
        tables, prepared = await self._existing(prepare, off_loop=off_loop)
        if tables is None:
            raise no_such_table(table)
        return tables, prepared

    async def _with_rows(self, table: str, rows: bytes) -> tuple[RoomTables, list[Row]]:
        """The tables of the room, and the rows of a request, read in a thread if there are many."""

        def read() -> list[Row]:
            return _as_list(jsontext.decode(b'{"records":%b}' % rows, _Records).records)

        return await self._having_with(table, read, off_loop=len(rows) > _MANY_BYTES)

    async def _arrow(self, table: str) -> ArrowTables:
        return ArrowTables(await self._having(table))

    async def _sql(self) -> tuple[ArrowTables, SqlQueries]:
        tables = ArrowTables(await self._opened())
        if self._queries is None:
            self._queries = SqlQueries(tables, tables.tables.limits)
        return tables, self._queries

    async def _open(self) -> RoomTables:
        self._check_open()
        if self._tables is None:
            self._tables = await self._engine.open(self._folder)
        return self._tables

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidStateError("the room has ended")


def _search(search: TableSearch) -> Search:
    return Search(
        where=search.where,
        text=search.text,
        vector=search.vector or None,
        limit=search.limit,
        offset=search.offset,
        select=search.select or None,
        text_columns=search.text_columns or None,
    )


def _only(tables: dict[str, str]) -> Callable[[str], str]:
    """What finds the tables that a text may name, as the caller's grants were checked for them and no others."""

    def resolve(name: str) -> str:
        if name not in tables:
            raise PermissionDeniedError(f"the table {name!r} is not open to this query")
        return tables[name]

    return resolve


def _json_rows(rows: list[Row]) -> bytes:
    """A JSON array, some rows at a time: the encoder holds the interpreter's lock while it works."""
    parts = (
        jsontext.dumps(rows[start : start + _ROWS_AT_A_TIME])[1:-1] for start in range(0, len(rows), _ROWS_AT_A_TIME)
    )
    return b"[" + b",".join(parts) + b"]"


def _as_list(rows: Rows) -> list[Row]:
    """A single record is a list of one."""
    return [rows] if isinstance(rows, dict) else rows
