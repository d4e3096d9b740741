"""The open SQL queries of one room."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pyarrow as pa
from lancedb import AsyncTable

from meshagent.api.errors import InvalidRequestError, LimitExceededError, NotFoundError, RequestTimeoutError
from meshagent.server.services.sql.engine import Cursor, SqlEngine
from meshagent.server.services.sql.source import TableSource
from meshagent.server.services.sql.statements import ROW_ID, Query, Statement, parse
from meshagent.server.stores.tables.arrow_data import batch_slices, ipc_stream, read_stream
from meshagent.server.stores.tables.arrow_tables import ArrowTables
from meshagent.server.stores.tables.settings import DatabaseLimits

__all__ = ["OpenQuery", "SqlQueries", "decode_parameters"]

_ROWS_PER_STEP = 4096

Resolve = Callable[[str], str]
"""Resolves a name in a query to a table; raises if the caller may not read it."""


class OpenQuery:
    """A query whose rows are fetched in batches.

    Attributes:
        query_id: Id of the query.
        owner: The id of the participant who opened it.
        schema: The columns of its rows.
        idle_timer: Closes the query after a time without reads.
    """

    def __init__(self, query_id: str, owner: str, engine: SqlEngine) -> None:
        self.query_id = query_id
        self.owner = owner
        self.schema: pa.Schema = pa.schema([])
        self.idle_timer: asyncio.TimerHandle | None = None
        self._engine = engine
        self._cursor: Cursor = engine.cursor()
        self._resources = AsyncExitStack()
        self._reader: pa.RecordBatchReader | None = None
        self._step = asyncio.Lock()
        self._closed = False

    async def begin(
        self,
        tables: ArrowTables,
        resolve: Resolve,
        query: Query,
        parameters: Mapping[str, Any],
        changing: Mapping[str, AsyncTable] | None = None,
    ) -> None:
        """Register the tables and start the query.

        Args:
            changing: A table that is being changed, by its name in the query, which may read the ids of its rows.
        """
        _check_names(query.tables)
        if missing := query.parameters - parameters.keys():
            raise InvalidRequestError(f"missing query parameter {min(missing)!r}")
        used = {name: parameters[name] for name in query.parameters}
        async with self._step:
            sources = {
                name: await _changing_source(changing[name])
                if changing and name in changing
                else await self._source(tables, resolve(name))
                for name in sorted(query.tables)
            }

            def begin() -> pa.RecordBatchReader:
                for name, source in sources.items():
                    self._cursor.register(name, source)
                relation = self._cursor.sql(query.text, params=used) if used else self._cursor.sql(query.text)
                return relation.to_arrow_reader(_ROWS_PER_STEP)

            self._check_open()
            reader = await self._engine.run(self._cursor, begin)
            self._reader, self.schema = reader, reader.schema

    async def _source(self, tables: ArrowTables, name: str) -> TableSource:
        table = self._resources.enter_context(tables.tables.using(name))
        schema = (await table.reader()).schema
        handle = await self._resources.enter_async_context(table.reading())
        return TableSource(handle, schema, asyncio.get_running_loop())

    def _check_open(self) -> None:
        if self._closed:
            raise NotFoundError(f"the query {self.query_id!r} was closed")

    async def batches(self) -> AsyncIterator[pa.RecordBatch]:
        """The remaining rows."""
        while True:
            async with self._step:
                self._check_open()
                batch = await self._engine.run(self._cursor, self._next)
            if batch is None:
                return
            if batch.num_rows:
                yield batch

    def _next(self) -> pa.RecordBatch | None:
        assert self._reader is not None
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            return None

    async def close(self) -> None:
        """Stop the query and release its tables; idempotent."""
        self._closed = True
        if self.idle_timer is not None:
            self.idle_timer.cancel()
        self._cursor.interrupt()
        async with self._step:
            cursor, self._cursor = self._cursor, _ClosedCursor()
            reader, self._reader = self._reader, None
            await self._engine.release(*(() if reader is None else (reader,)), cursor)
            await self._resources.aclose()


async def _changing_source(table: AsyncTable) -> TableSource:
    """A table with the ids of its rows, for as long as its write queue is held."""
    schema = (await table.schema()).append(pa.field(ROW_ID, pa.uint64()))
    return TableSource(table, schema, asyncio.get_running_loop())


def _check_names(names: Iterable[str]) -> None:
    """Raise InvalidRequestError for names of tables that SQL cannot tell apart."""
    spelled: dict[str, str] = {}
    for name in names:
        if (other := spelled.setdefault(name.lower(), name)) != name:
            both = f"{min(name, other)!r} and {max(name, other)!r}"
            raise InvalidRequestError(f"the tables {both} differ only in case: give one an alias")


class _ClosedCursor:
    """Stands in for a closed cursor."""

    def interrupt(self) -> None:
        """Do nothing: no query is running."""

    def close(self) -> None:
        """Do nothing."""


class SqlQueries:
    """Opens queries, and closes idle ones. For one event loop."""

    def __init__(self, tables: ArrowTables, limits: DatabaseLimits) -> None:
        self._tables = tables
        self._limits = limits
        self._engine = SqlEngine(memory_bytes=limits.sql_memory_bytes, timeout=limits.sql_timeout)
        self._open: dict[str, OpenQuery] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def has_open(self) -> bool:
        """Whether any query is open."""
        return bool(self._open)

    async def parse(self, text: str, parameters: Mapping[str, Any]) -> Statement:
        """Parse a statement; see `statements.parse`."""
        cursor = self._engine.cursor()
        try:
            return await self._engine.run(cursor, lambda: parse(cursor, text, parameters))
        finally:
            await self._engine.release(cursor)

    async def open(self, owner: str, query: Query, resolve: Resolve, parameters: Mapping[str, Any]) -> OpenQuery:
        """Start a query; `read` it until it is closed, idle for too long, or its owner leaves.

        Raises:
            LimitExceededError: The owner has the maximum number of open queries.
        """
        limit = self._limits.max_open_reads
        if sum(opened.owner == owner for opened in self._open.values()) >= limit:
            raise LimitExceededError(f"this participant has {limit} open queries", limit=limit)
        opened = OpenQuery(secrets.token_hex(16), owner, self._engine)
        self._open[opened.query_id] = opened
        try:
            await opened.begin(self._tables, resolve, query, parameters)
        except BaseException:
            await self.close_query(owner, opened.query_id)
            raise
        self._set_timer(opened)
        return opened

    def find(self, owner: str, query_id: str) -> OpenQuery:
        """An open query of that participant.

        Raises:
            NotFoundError: There is none, or it belongs to another participant.
        """
        opened = self._open.get(query_id)
        if opened is None or opened.owner != owner:
            raise NotFoundError(f"open query {query_id!r} not found")
        return opened

    def is_open(self, owner: str, query_id: str) -> bool:
        """Whether that participant has such a query open."""
        opened = self._open.get(query_id)
        return opened is not None and opened.owner == owner

    async def read(self, owner: str, query_id: str) -> AsyncGenerator[bytes, None]:
        """The rows of a query as IPC streams, at least one; then the query is closed."""
        opened = self.find(owner, query_id)
        yielded = False
        async for batch in opened.batches():
            for piece in batch_slices(batch):
                self._set_timer(opened)
                yield ipc_stream(opened.schema, piece)
                yielded = True
        if not yielded:
            yield ipc_stream(opened.schema, pa.RecordBatch.from_pylist([], opened.schema))
        await self.close_query(owner, query_id)

    async def rows(
        self,
        owner: str,
        query: Query,
        resolve: Resolve,
        parameters: Mapping[str, Any],
        each: Callable[[pa.RecordBatch], Awaitable[None]],
    ) -> None:
        """Run a query to its end, and give its rows away batch by batch."""
        opened = await self.open(owner, query, resolve, parameters)
        try:
            async for batch in opened.batches():
                self._set_timer(opened)
                await each(batch)
        finally:
            await self.close_query(owner, opened.query_id)

    async def collect(
        self,
        query: Query,
        resolve: Resolve,
        parameters: Mapping[str, Any],
        changing: Mapping[str, AsyncTable],
        *,
        max_rows: int | None = None,
    ) -> pa.Table:
        """All rows of a query; see `OpenQuery.begin` for `changing`.

        Raises:
            LimitExceededError: There are more than `max_rows`.
            RequestTimeoutError: It takes longer than a step of a query may.
        """
        opened = OpenQuery(secrets.token_hex(16), "", self._engine)
        batches: list[pa.RecordBatch] = []
        count = 0
        try:
            async with asyncio.timeout(self._limits.sql_timeout):
                await opened.begin(self._tables, resolve, query, parameters, changing)
                async for batch in opened.batches():
                    batches.append(batch)
                    count += batch.num_rows
                    if max_rows is not None and count > max_rows:
                        raise LimitExceededError(
                            f"the condition selects more than {max_rows} rows: change them in several steps",
                            limit=max_rows,
                        )
        except TimeoutError:
            raise RequestTimeoutError(f"finding the rows took longer than {self._limits.sql_timeout:g} s") from None
        finally:
            await opened.close()
        return pa.Table.from_batches(batches, opened.schema)

    async def close_query(self, owner: str, query_id: str) -> None:
        """Close a query; harmless if there is none of that participant's."""
        opened = self._open.get(query_id)
        if opened is not None and opened.owner == owner:
            await self._end(opened)

    def left(self, owner: str) -> None:
        """A participant is gone, and so are its queries."""
        for opened in [opened for opened in self._open.values() if opened.owner == owner]:
            self._end(opened)

    async def close(self) -> None:
        """Close all queries, and the engine."""
        for opened in list(self._open.values()):
            self._end(opened)
        while self._closing:
            await asyncio.wait(self._closing)
        await self._engine.close()

    def _set_timer(self, opened: OpenQuery) -> None:
        if opened.idle_timer is not None:
            opened.idle_timer.cancel()
        if opened.query_id in self._open:
            loop = asyncio.get_running_loop()
            opened.idle_timer = loop.call_later(self._limits.sql_idle_timeout, self._end, opened)

    def _end(self, opened: OpenQuery) -> asyncio.Future[None]:
        """Close a query in a task that this object waits for; cancelling the waiter changes nothing."""
        self._open.pop(opened.query_id, None)
        task = asyncio.get_running_loop().create_task(opened.close(), name="close a query")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return asyncio.shield(task)


def decode_parameters(data: bytes) -> dict[str, Any]:
    """The parameters in an Arrow table of one row: by name, and by position counted from 1; none in no data.

    Raises:
        InvalidRequestError: The data is no such table.
    """
    if not data:
        return {}
    schema, batches = read_stream(data)
    table = pa.Table.from_batches(batches, schema)
    if table.num_rows != 1:
        raise InvalidRequestError(f"query parameters must be a table of one row, not {table.num_rows}")
    try:
        values = [column[0].as_py() for column in table.columns]
    except (ValueError, OverflowError, pa.ArrowException) as error:  # a date after 9999, or text that is not UTF-8
        raise InvalidRequestError(f"a query parameter has a value that cannot be used: {error}") from None
    by_position = {str(number): value for number, value in enumerate(values, 1)}
    return {**by_position, **dict(zip(table.column_names, values, strict=True))}
