"""Indexes as clients of the current generation ask for them and see them (protocol 12.4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import fields
from typing import Any

from lancedb import AsyncTable
from lancedb.index import FTS, Bitmap, BTree, Fm, HnswFlat, HnswPq, HnswSq, IvfFlat, IvfPq, IvfRq, IvfSq, LabelList

from meshagent.api import jsontext
from meshagent.api.contracts.dataset import IndexDescription
from meshagent.api.errors import InvalidRequestError, UnavailableError

__all__ = ["described_indexes", "index_by_config"]

_TYPES: Mapping[str, Any] = {
    "IVF_FLAT": IvfFlat,
    "IVF_PQ": IvfPq,
    "IVF_SQ": IvfSq,
    "IVF_RQ": IvfRq,
    "IVF_HNSW_FLAT": HnswFlat,
    "IVF_HNSW_PQ": HnswPq,
    "IVF_HNSW_SQ": HnswSq,
    "BTREE": BTree,
    "BITMAP": Bitmap,
    "LABEL_LIST": LabelList,
    "INVERTED": FTS,
    "FTS": FTS,
    "FM": Fm,
}

_OTHER_NAMES = {"metric": "distance_type", "metric_type": "distance_type", "max_iters": "max_iterations"}
_NOT_FOR_CLIENTS = frozenset({"accelerator", "memory_limit", "num_workers", "document_granularity"})


def index_by_config(config: Mapping[str, Any]) -> Callable[[AsyncTable], Awaitable[None]]:
    """A function for `RoomTables.change` that creates the index that `config` describes.

    Parameters that the engine does not have for that index type are ignored.

    Raises:
        InvalidRequestError: The column or type is missing, or a value is invalid.
        UnavailableError: The engine does not support that index type.
    """
    column, kind = config.get("column"), config.get("index_type")
    if not isinstance(column, str) or not isinstance(kind, str):
        raise InvalidRequestError("an index needs a column and an index_type")
    engine_type = _TYPES.get(kind.upper())
    if engine_type is None:
        raise UnavailableError(f"unsupported index type {kind!r}; supported: {', '.join(_TYPES)}")
    settings = _settings(engine_type, config)
    name, replace = config.get("name"), config.get("replace")

    async def create(table: AsyncTable) -> None:
        if column not in (await table.schema()).names:
            raise InvalidRequestError(f"column {column!r} not found")
        try:
            made = engine_type(**settings)
        except TypeError as error:
            raise InvalidRequestError(f"invalid index configuration: {error}") from None
        await table.create_index(column, config=made, replace=replace is not False, name=name)

    return create


async def described_indexes(table: AsyncTable) -> list[IndexDescription]:
    """All indexes of a table, by name."""
    names = (await table.schema()).names
    return sorted((_described(index, names) for index in await table.list_indices()), key=lambda index: index.name)


def _settings(engine_type: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in fields(engine_type)} - _NOT_FOR_CLIENTS
    given = {_OTHER_NAMES.get(key, key): value for key, value in config.items() if value is not None}
    settings = {key: value for key, value in given.items() if key in known}
    if isinstance(settings.get("distance_type"), str):
        settings["distance_type"] = settings["distance_type"].lower()
    return settings


def _described(index: Any, columns: list[str]) -> IndexDescription:
    statistics = {
        "num_indexed_rows": index.num_indexed_rows,
        "num_unindexed_rows": index.num_unindexed_rows,
        "index_version": index.index_version,
    }
    return IndexDescription(
        name=index.name,
        columns=list(index.columns),
        type=index.index_type,
        fields=[columns.index(name) for name in index.columns if name in columns],
        type_url=index.type_url or "",
        num_rows_indexed=index.num_indexed_rows or 0,
        num_segments=index.num_segments or 0,
        total_size_bytes=index.size_bytes or 0,
        details_json=jsontext.dumps(index.index_details or {}).decode(),
        statistics_json=jsontext.dumps(statistics).decode(),
    )
