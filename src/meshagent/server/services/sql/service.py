"""`SqlService`: SQL queries and statements over the tables of one room (protocol 12.5)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from meshagent.api.contracts import dataset as api
from meshagent.api.contracts.content import BinaryBody
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.operations import ServedOperation, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.database import check_name
from meshagent.server.services.dataset.service import ARROW_STREAM, check_dataset_ref, read_pieces
from meshagent.server.stores.tables.table_store import RoomTableStore

__all__ = ["SqlService"]


class SqlService:
    """Runs SQL over the tables of one room.

    Args:
        tables: The room's.
    """

    def __init__(self, tables: RoomTableStore) -> None:
        self._tables = tables

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
        self._tables.owner_left(participant.id)

    async def close(self) -> None:
        """Nothing to finish: open queries end with the tables, which are the `DatabaseService`'s."""

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
        await self._tables.close_query(caller.id, request.query_id)
        return EMPTY

    async def cancel_sql_query(self, caller: Participant, request: api.QueryRequest) -> api.CancelResult:
        """Stop a query of the caller's, if it is open."""
        was_open = await self._tables.close_query(caller.id, request.query_id)
        return api.CancelResult(status="cancelled" if was_open else "not_cancellable")

    async def read(self, caller: Participant, query_id: str) -> AsyncGenerator[bytes, None]:
        """The rows of an open query as IPC streams, at least one."""
        stream = await self._tables.open_query_rows(caller.id, query_id)
        async for piece in read_pieces(self._tables, stream):
            yield piece

    # --- inside ----------------------------------------------------------------------------------------

    async def _run(self, caller: Participant, request: api.SqlRequest, data: bytes, only: str | None = None) -> Any:
        check_dataset_ref(request)
        names = _names(request)
        parsed = await self._tables.parse_sql(request.query, data)
        if parsed.is_query:
            if only == "statement":
                raise InvalidRequestError("this is a query: open it with open_sql_query or execute_sql")
        elif only == "query":
            raise InvalidRequestError("this is not a query: run it with execute_sql or execute_sql_statement")
        resolve = _readable_by(caller, names)
        tables = {name: resolve(name) for name in parsed.reads}
        if parsed.changes is not None:
            changed = tables[parsed.changes] = names.get(parsed.changes, parsed.changes)
            check_name(changed)
            caller.scope.require_table(changed, "write")
            rows = await self._tables.run_statement(caller.id, request.query, data, tables)
            return api.ExecutedStatement(rows_affected=rows)
        opened = await self._tables.open_query(caller.id, request.query, data, tables)
        headers = {"kind": "query", "query_id": opened.query_id, "content_type": ARROW_STREAM}
        return BinaryBody(headers=headers, data=opened.schema)


def _use(scope: ApiScope, request: Any) -> None:
    scope.require_section("dataset")


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
