"""`UPDATE` and `DELETE`: the SQL engine says which rows, the table engine writes.

So a change takes the rows that a `SELECT` with the same condition shows: the engines divide integers, match patterns
and read times in different ways. Ids of rows are true for one version of a table, and so both steps are one write in
the table's queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshagent.api.errors import InvalidRequestError
from meshagent.server.services.sql.statements import ROW_ID, Delete, Update

if TYPE_CHECKING:  # they load the table engine, which takes seconds
    from lancedb import AsyncTable

    from meshagent.server.services.sql.queries import Resolve, SqlQueries
    from meshagent.server.stores.tables.room_tables import RoomTables

__all__ = ["MAX_CHANGED_ROWS", "change_rows", "filter_of_ids"]

MAX_CHANGED_ROWS = 500_000
"""Most rows that one statement with a condition changes: the engine takes up to 1 KB for each while it runs."""

_LONG_RUN = 8
_MOST_RUNS = 2_000


async def change_rows(
    tables: RoomTables,
    queries: SqlQueries,
    statement: Update | Delete,
    resolve: Resolve,
    parameters: Mapping[str, Any],
) -> int:
    """Run the statement, atomically; returns the number of rows it changed.

    Args:
        resolve: Finds the tables that the condition names.

    Raises:
        InvalidRequestError: A column or an expression is wrong.
        LimitExceededError: It would change more than `MAX_CHANGED_ROWS` rows.
        RequestTimeoutError: Finding the rows takes too long.
    """
    name = resolve(statement.table)

    async def rows(handle: AsyncTable) -> str | None:
        """The filter for the table engine; None if no row is selected."""
        if statement.rows is None:
            return "true"
        source = {statement.table: handle}
        found = await queries.collect(statement.rows, resolve, parameters, source, max_rows=MAX_CHANGED_ROWS)
        return filter_of_ids(found.column(0).to_pylist())

    async def check(handle: AsyncTable, where: str, assigned: Mapping[str, str]) -> None:
        from meshagent.server.services.sql.assignments import check_assignment, needs_check

        assert isinstance(statement, Update)
        schema = await handle.schema()
        for column, expression in statement.assigned.items():
            if needs_check(expression, schema.field(column).type):
                source = {statement.table: handle}
                try:
                    values = await queries.collect(statement.values[column], resolve, parameters, source)
                except InvalidRequestError as error:
                    raise InvalidRequestError(f"column {column!r}: {error}") from None
                await check_assignment(handle, where, schema.field(column), assigned[column], values)

    if isinstance(statement, Update):
        return await tables.update_selected(name, rows, statement.assigned, check)
    return await tables.delete_selected(name, rows)


def filter_of_ids(ids: list[int]) -> str | None:
    """The table engine's filter for rows by their ids; None for no rows. Neighbours are written as ranges."""
    runs: list[tuple[int, int]] = []
    single: list[int] = []
    start = previous = -1
    for row in [*sorted(ids), -1]:
        if row == previous + 1 and start >= 0:
            previous = row
            continue
        if start >= 0:
            if previous - start >= _LONG_RUN and len(runs) < _MOST_RUNS:
                runs.append((start, previous))
            else:
                single.extend(range(start, previous + 1))
        start = previous = row
    parts = [f"({ROW_ID} >= {first} AND {ROW_ID} <= {last})" for first, last in runs]
    if single:
        parts.append(f"{ROW_ID} IN ({', '.join(map(str, single))})")
    return " OR ".join(parts) or None
