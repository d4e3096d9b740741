"""`SqlService`: SQL queries and statements over the tables of one room (protocol 12.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshagent.api.contracts import dataset as api
from meshagent.api.contracts.content import BinaryBody
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError, InvalidStateError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.operations import ServedOperation, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.database import check_name
from meshagent.server.services.dataset.service import ARROW_STREAM, DatasetService, check_dataset_ref

if TYPE_CHECKING:
    from meshagent.server.services.sql.queries import SqlQueries
    from meshagent.server.services.sql.statements import Delete, Insert, Update
    from meshagent.server.stores.tables.arrow_tables import ArrowTables

__all__ = ["SqlService"]

Loaded = tuple["ArrowTables", "SqlQueries"]


class SqlService:
    """Runs SQL. The engine is loaded at the first query of a room."""

    def __init__(self, dataset: DatasetService) -> None:
        self._dataset = dataset
        self._queries: SqlQueries | None = None
        self._loading = asyncio.Lock()
        self._closed = False

    def operations(self) -> list[ServedOperation]:
        return [
            # Which tables a text names is known when it is parsed: their grants are checked then.
            serve_payload(api.OPEN_SQL_QUERY, self.open_sql_query, grant=_use),
            serve_payload(api.EXECUTE_SQL, self.execute_sql, grant=_use),
            serve_payload(api.EXECUTE_SQL_STATEMENT, self.execute_sql_statement, grant=_use),
            serve(api.CLOSE_SQL_QUERY, self.close_sql_query, grant=_use),
            serve(api.CANCEL_SQL_QUERY, self.cancel_sql_query, grant=_use),
        ]

    def left(self, participant: Participant) -> None:
        """Close what a participant left open."""
        if self._queries is not None:
            self._queries.left(participant.id)

    async def close(self) -> None:
        """Close all queries."""
        self._closed = True
        async with self._loading:
            if self._queries is not None:
                await self._queries.close()
                self._queries = None

    # --- operations ------------------------------------------------------------------------------------

    async def open_sql_query(self, caller: Participant, request: api.SqlRequest, data: bytes) -> BinaryBody:
        """Begin a query, to be read by its id.

        Raises:
            InvalidRequestError: It is not one SELECT, or the engine refuses it.
            PermissionDeniedError: The caller may not read a table that it names.
            RequestTimeoutError: It takes too long.
        """
        opened: BinaryBody = await self._run(caller, request, data, only="query")
        return opened

    async def execute_sql(
        self, caller: Participant, request: api.SqlRequest, data: bytes
    ) -> BinaryBody | api.ExecutedStatement:
        """A query as `open_sql_query`, anything else as `execute_sql_statement`."""
        executed: BinaryBody | api.ExecutedStatement = await self._run(caller, request, data)
        return executed

    async def execute_sql_statement(
        self, caller: Participant, request: api.SqlRequest, data: bytes
    ) -> api.StatementResult:
        """Insert, update or delete; durable when this returns.

        Raises:
            InvalidRequestError: The statement is a query, or wrong.
            UnavailableError: A statement that this server does not run.
        """
        executed = await self._run(caller, request, data, only="statement")
        return api.StatementResult(rows_affected=executed.rows_affected)

    async def close_sql_query(self, caller: Participant, request: api.QueryRequest) -> Empty:
        """Close a query of the caller's; harmless if there is none."""
        if self._queries is not None:
            await self._queries.close_query(caller.id, request.query_id)
        return EMPTY

    async def cancel_sql_query(self, caller: Participant, request: api.QueryRequest) -> api.CancelResult:
        """Stop a query of the caller's, if it is open."""
        if self._queries is None or not self._queries.is_open(caller.id, request.query_id):
            return api.CancelResult(status="not_cancellable")
        await self._queries.close_query(caller.id, request.query_id)
        return api.CancelResult(status="cancelled")

    async def read(self, caller: Participant, query_id: str) -> AsyncGenerator[bytes, None]:
        """The rows of an open query as IPC streams, at least one."""
        if self._queries is None:
            raise InvalidRequestError(f"open query {query_id!r} not found")
        async for piece in self._queries.read(caller.id, query_id):
            yield piece

    # --- inside ----------------------------------------------------------------------------------------

    async def _run(self, caller: Participant, request: api.SqlRequest, data: bytes, only: str | None = None) -> Any:
        check_dataset_ref(request)
        tables, queries = await self._loaded(request)

        from meshagent.server.services.sql.queries import decode_parameters
        from meshagent.server.services.sql.statements import Query
        from meshagent.server.stores.tables.arrow_data import ipc_stream

        parameters = decode_parameters(data)
        names = _names(request)
        statement = await queries.parse(request.query, parameters)
        if isinstance(statement, Query):
            if only == "statement":
                raise InvalidRequestError("this is a query: open it with open_sql_query or execute_sql")
            opened = await queries.open(caller.id, statement, _readable_by(caller, names), parameters)
            headers = {"kind": "query", "query_id": opened.query_id, "content_type": ARROW_STREAM}
            return BinaryBody(headers=headers, data=ipc_stream(opened.schema))
        if only == "query":
            raise InvalidRequestError("this is not a query: run it with execute_sql or execute_sql_statement")
        table = names.get(statement.table, statement.table)
        check_name(table)
        caller.scope.require_table(table, "write")
        changed = await self._change(caller, tables, queries, replace(statement, table=table), names, parameters)
        return api.ExecutedStatement(rows_affected=changed)

    async def _change(
        self,
        caller: Participant,
        tables: ArrowTables,
        queries: SqlQueries,
        statement: Insert | Update | Delete,
        names: Mapping[str, str],
        parameters: Mapping[str, Any],
    ) -> int:
        from meshagent.server.services.sql.inserts import insert_rows
        from meshagent.server.services.sql.statements import Delete, Update

        if isinstance(statement, Delete):
            return await tables.tables.delete(statement.table, statement.where, quoted_names=True)
        if isinstance(statement, Update):
            return await tables.tables.update(
                statement.table, statement.where, values={}, expressions=statement.assigned, quoted_names=True
            )
        return await insert_rows(tables, queries, statement, caller.id, _readable_by(caller, names), parameters)

    async def _loaded(self, request: api.SqlRequest) -> Loaded:
        tables = await self._dataset.tables(request)
        async with self._loading:
            if self._closed:
                raise InvalidStateError("the room has ended")
            if self._queries is None:
                self._queries = await asyncio.to_thread(_load, tables)
        return tables, self._queries


def _use(scope: ApiScope, request: Any) -> None:
    scope.require_section("dataset")


def _load(tables: ArrowTables) -> SqlQueries:
    """Import the engine and make the room's own: a tenth of a second, so not on the loop."""
    from meshagent.server.services.sql.queries import SqlQueries

    return SqlQueries(tables, tables.tables.limits)


def _names(request: api.SqlRequest) -> dict[str, str]:
    """The tables of a request by the names that its text uses.

    Raises:
        InvalidRequestError: Two tables have the same name there.
    """
    names: dict[str, str] = {}
    for table in request.tables or ():
        check_dataset_ref(table)
        check_name(table.name)
        alias = table.alias or table.name
        if names.setdefault(alias, table.name) != table.name:
            raise InvalidRequestError(f"the name {alias!r} is used for two tables")
    return names


def _readable_by(caller: Participant, names: Mapping[str, str]) -> Callable[[str], str]:
    def resolve(name: str) -> str:
        table = names.get(name, name)
        check_name(table)
        caller.scope.require_table(table, "read")
        return table

    return resolve
