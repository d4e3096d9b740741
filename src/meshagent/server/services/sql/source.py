"""A table as an Arrow dataset for DuckDB: streams only the columns that a query needs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.dataset as ds
from lancedb import AsyncTable

__all__ = ["TableSource"]

T = TypeVar("T")


class TableSource(ds.Dataset):  # type: ignore[misc]  # Arrow has no annotations
    """One table for the length of one query.

    DuckDB asks the dataset for a scanner, in a DuckDB thread; rows are read on the room's event loop.

    Args:
        table: Open for reading while the query is.
        schema: Its columns.
        loop: The room's.
    """

    def __init__(self, table: AsyncTable, schema: pa.Schema, loop: asyncio.AbstractEventLoop) -> None:
        self._table = table
        self._columns = schema
        self._loop = loop

    @property
    def schema(self) -> pa.Schema:
        """The columns of the table."""
        return self._columns

    def scanner(
        self, columns: Sequence[str] | None = None, filter: ds.Expression | None = None, **_options: Any
    ) -> ds.Scanner:
        """The rows that match `filter`, with `columns` or all columns; called by DuckDB, never on the loop."""
        wanted = self._columns.names if columns is None else list(columns)
        read = wanted if filter is None else [*wanted, *self._named_in(str(filter), wanted)]
        read = read or self._columns.names[:1]  # a query such as count(*) needs rows but no columns

        async def begin() -> Any:
            return await self._table.query().select(read).to_batches()

        batches = self._wait(begin())
        return ds.Scanner.from_batches(
            self._rows(batches), schema=batches.schema, columns=wanted or read, filter=filter, batch_readahead=2
        )

    def _named_in(self, expression: str, already: Sequence[str]) -> list[str]:
        """A superset of the columns that a filter reads: those whose name occurs in its text."""
        return [
            name
            for name in self._columns.names
            if name not in already and (name in expression or not name.isidentifier())
        ]

    def _rows(self, batches: Any) -> Iterator[pa.RecordBatch]:
        async def following() -> pa.RecordBatch | None:
            return await anext(batches, None)

        while (batch := self._wait(following())) is not None:
            yield batch

    def _wait(self, step: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(step, self._loop).result()
