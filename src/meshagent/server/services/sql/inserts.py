"""`INSERT INTO … SELECT`: inserts the rows of a query into a table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from meshagent.api.errors import InvalidRequestError
from meshagent.server.services.sql.queries import Resolve, SqlQueries
from meshagent.server.services.sql.statements import Insert
from meshagent.server.stores.tables.arrow_tables import ArrowTables

__all__ = ["insert_rows"]


async def insert_rows(
    tables: ArrowTables,
    queries: SqlQueries,
    statement: Insert,
    owner: str,
    resolve: Resolve,
    parameters: Mapping[str, Any],
) -> int:
    """Insert the rows of the statement's query, atomically; returns their number.

    Raises:
        InvalidRequestError: The number of columns differs, or values do not match the schema.
    """
    schema = await tables.schema(statement.table)
    columns = statement.columns or schema.names
    spool = tables.spool(schema)

    async def keep(batch: pa.RecordBatch) -> None:
        await asyncio.to_thread(spool.add, [_named(batch, columns)])

    async def insert() -> None:
        try:
            await tables.insert(statement.table, spool)
        finally:
            spool.close()

    try:
        await queries.rows(owner, statement.rows, resolve, parameters, keep)
    except BaseException:
        spool.close()
        raise
    rows = spool.rows
    if rows:
        await asyncio.shield(asyncio.create_task(insert(), name="insert the rows of a query"))
    return rows


def _named(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.RecordBatch:
    """Rename the columns of a batch by position."""
    if batch.num_columns != len(columns):
        raise InvalidRequestError(f"INSERT has {len(columns)} columns, the query returns {batch.num_columns}")
    if len(set(columns)) != len(columns):
        raise InvalidRequestError("a column is listed twice")
    return batch.rename_columns(list(columns))
