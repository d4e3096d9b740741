"""Searches: by filter, by vector, by text, or by vector and text (protocol 11.7)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from lancedb import AsyncTable

from meshagent.api.errors import InvalidRequestError, InvalidStateError, LimitExceededError
from meshagent.server.stores.tables.columns import vector_columns

__all__ = ["MAX_RANKED_LIMIT", "SearchStream", "Search", "open_search", "run_search"]

DEFAULT_RANKED_LIMIT = 10
MAX_RANKED_LIMIT = 10_000
REFINE_FACTOR = 10
"""Rerank ten times as many candidates of a compressed index by their full vectors."""

_RANK_COLUMNS = ("_distance", "_score", "_relevance_score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search; `where` is in the engine's dialect."""

    where: str | None
    text: str | None
    vector: list[float] | None
    limit: int | None
    offset: int | None
    select: list[str] | None
    text_columns: list[str] | None = None

    @property
    def ranked(self) -> bool:
        return self.text is not None or self.vector is not None


class SearchStream:
    """A stream of found rows: columns in the order of the table, then the rank in ranked searches."""

    def __init__(self, batches: Any, columns: list[str]) -> None:
        self._batches = batches
        self._columns = columns
        self.schema: pa.Schema = pa.schema([batches.schema.field(name) for name in columns])

    async def __aiter__(self) -> AsyncIterator[pa.RecordBatch]:
        async for batch in self._batches:
            yield batch.select(self._columns)


async def open_search(table: AsyncTable, schema: pa.Schema, search: Search) -> SearchStream:
    """Start a search.

    A filter applies before the ranking. Vectors are compared by L2 distance; text and vector together are ranked
    by reciprocal-rank fusion.

    Raises:
        InvalidRequestError: An invalid limit, column or vector.
        InvalidStateError: A search for text in a table without a full-text index.
    """
    _check(search, schema)
    query = _narrowed(table.query(), search)
    if search.vector is not None:
        query = query.nearest_to(search.vector).column(_vector_column(schema, search.vector))
        query = query.refine_factor(REFINE_FACTOR)
    if search.text is not None:
        query = query.nearest_to_text(search.text, columns=await _text_columns(table, search.text_columns))
    batches = await query.to_batches()
    return SearchStream(batches, _columns_in_order(batches.schema.names, schema, search))


async def run_search(table: AsyncTable, schema: pa.Schema, search: Search, *, max_bytes: int) -> pa.Table:
    """All rows of a search; errors as `open_search`.

    Raises:
        LimitExceededError: The rows are larger than `max_bytes`.
    """
    if search.limit == 0:
        _check(search, schema)
        return pa.table({})
    return await _collected(await open_search(table, schema, search), max_bytes)


def _check(search: Search, schema: pa.Schema) -> None:
    for what, number in (("limit", search.limit), ("offset", search.offset)):
        if number is not None and not 0 <= number < 2**63:
            raise InvalidRequestError(f"{what} must be from 0 to 2^63 - 1, not {number}")
    if search.ranked and (search.limit or 0) + (search.offset or 0) > MAX_RANKED_LIMIT:
        raise LimitExceededError(
            f"limit plus offset of a ranked search must not exceed {MAX_RANKED_LIMIT}", limit=MAX_RANKED_LIMIT
        )
    for name in search.select or ():
        if name not in schema.names and name not in _RANK_COLUMNS:
            raise InvalidRequestError(f"column {name!r} not found")


def _narrowed(query: Any, search: Search) -> Any:
    """Apply filter, columns and range; a ranked search always selects its rank, or the engine logs a warning."""
    if search.where is not None:
        query = query.where(search.where)
    limit = search.limit if search.limit is not None or not search.ranked else DEFAULT_RANKED_LIMIT
    if limit is not None:
        query = query.limit(limit)
    if search.offset:
        query = query.offset(search.offset)
    if search.select:
        columns = [name for name in dict.fromkeys(search.select) if name not in _RANK_COLUMNS]
        if search.vector is not None and search.text is None:
            columns.append("_distance")
        elif search.text is not None and search.vector is None:
            columns.append("_score")
        query = query.select(columns)
    return query


def _vector_column(schema: pa.Schema, vector: list[float]) -> str:
    """The first vector column of that dimension."""
    columns = vector_columns(schema)
    for name, size in columns.items():
        if size == len(vector):
            return name
    if not columns:
        raise InvalidRequestError("the table has no vector column to search")
    known = ", ".join(f"{name!r} of {size}" for name, size in columns.items())
    raise InvalidRequestError(f"the vector has {len(vector)} elements, the table has {known}")


async def _text_columns(table: AsyncTable, wanted: list[str] | None) -> list[str]:
    columns = [column for index in await table.list_indices() if index.index_type == "FTS" for column in index.columns]
    if not columns:
        raise InvalidStateError("the table has no full-text search index: create one to search for text")
    for name in wanted or ():
        if name not in columns:
            raise InvalidStateError(f"column {name!r} has no full-text search index: create one to search it for text")
    return wanted or columns


async def _collected(found: SearchStream, max_bytes: int) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    size = 0
    async for batch in found:
        size += batch.nbytes
        if size > max_bytes:
            raise LimitExceededError(
                f"the result is larger than {max_bytes} bytes: select fewer columns or set a limit",
                limit=max_bytes,
            )
        batches.append(batch)
    return pa.Table.from_batches(batches, found.schema)


def _columns_in_order(found: list[str], schema: pa.Schema, search: Search) -> list[str]:
    wanted = set(search.select) if search.select else set(schema.names)
    names = [name for name in schema.names if name in wanted and name in found]
    return names + [name for name in _RANK_COLUMNS if name in found]
