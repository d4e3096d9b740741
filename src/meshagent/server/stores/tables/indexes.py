"""Indexes of tables (protocol 11.8)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pyarrow as pa
from lancedb import AsyncTable
from lancedb.index import FTS, BTree, IvfFlat, IvfPq

from meshagent.api.contracts.database import IndexResult
from meshagent.api.errors import AlreadyExistsError, InvalidRequestError, InvalidStateError
from meshagent.server.stores.tables.columns import vector_columns
from meshagent.server.stores.tables.table_store import IndexKind

__all__ = ["index_creation", "list_indexes"]

MIN_VECTORS = 256
"""Fewer cannot train a compressed index; clients expect the error and try again later."""

_VECTORS_PER_SUBVECTOR = 8


def index_creation(kind: IndexKind, column: str, *, replace: bool | None) -> Callable[[AsyncTable], Awaitable[None]]:
    """A function for `Table.change` that creates the index of a column.

    Raises (when called):
        InvalidRequestError: There is no such column, or it has another type.
        InvalidStateError: A vector index on fewer than `MIN_VECTORS` vectors.
        AlreadyExistsError: There is such an index, and `replace` is false.
    """

    async def create(table: AsyncTable) -> None:
        schema = await table.schema()
        if column not in schema.names:
            raise InvalidRequestError(f"column {column!r} not found")
        config = await _config(table, kind, column, schema)
        existing = [index.name for index in await table.list_indices() if _is_same(index, column, kind)]
        if existing and replace is False:
            raise AlreadyExistsError(f"column {column!r} already has a {kind} index")
        name = existing[0] if existing else None
        await table.create_index(column, config=config, replace=replace is not False, name=name)

    return create


async def list_indexes(table: AsyncTable) -> list[IndexResult]:
    """All indexes of a table, by name."""
    found = [
        IndexResult(name=index.name, columns=list(index.columns), type=_type_name(index.index_type))
        for index in await table.list_indices()
    ]
    return sorted(found, key=lambda index: index.name)


async def _config(table: AsyncTable, kind: IndexKind, column: str, schema: pa.Schema) -> BTree | FTS | IvfFlat | IvfPq:
    if kind == "scalar":
        return BTree()
    if kind == "text":
        return FTS(with_position=True)  # without positions a phrase in double quotes cannot be searched
    size = vector_columns(schema).get(column)
    if size is None:
        raise InvalidRequestError(f"column {column!r} does not contain float vectors")
    vectors = await table.count_rows(f"`{column}` IS NOT NULL")
    if vectors < MIN_VECTORS:
        raise InvalidStateError(f"a vector index needs at least {MIN_VECTORS} vectors, column {column!r} has {vectors}")
    if size % _VECTORS_PER_SUBVECTOR:
        return IvfFlat()  # product quantization would encode the whole vector as one code, with useless results
    return IvfPq()


def _is_same(index: object, column: str, kind: IndexKind) -> bool:
    columns, engine_type = getattr(index, "columns", []), str(getattr(index, "index_type", ""))
    engine_kind: IndexKind = "text" if engine_type == "FTS" else "vector" if "Ivf" in engine_type else "scalar"
    return list(columns) == [column] and engine_kind == kind


def _type_name(engine_type: str) -> str:
    """`IvfPq` as `IVF_PQ`, as programs know it; other names stay."""
    if not engine_type.startswith("Ivf"):
        return engine_type
    return "_".join(part.upper() for part in re.findall(r"[A-Z][a-z]*", engine_type))
