"""Rows between JSON and Arrow (protocol 11.3)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from meshagent.api.contracts.database import Row
from meshagent.api.errors import InvalidRequestError
from meshagent.server.stores.tables.columns import column_reader

__all__ = ["RowReader", "fold_by_key", "rows_from_table", "table_from_rows"]


class RowReader:
    """Converts JSON rows to rows of one table; create a new one when the schema changes."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._readers = {field.name: column_reader(field.type) for field in schema}

    def read(self, rows: Sequence[Row]) -> list[Row]:
        """Convert values for Arrow; missing keys stay missing.

        Raises:
            InvalidRequestError: An unknown column, or a value that does not match its column's type.
        """
        return [{name: self._value(number, name, row[name]) for name in row} for number, row in enumerate(rows)]

    def read_value(self, name: str, value: Any) -> Any:
        """Convert one value of column `name`, like `read`."""
        return self._value(0, name, value)

    def _value(self, number: int, name: str, value: Any) -> Any:
        reader = self._readers.get(name)
        if reader is None:
            raise InvalidRequestError(f"column {name!r} not found in the table, which has {_listed(self._readers)}")
        if value is None:
            return None
        try:
            return reader(value)
        except ValueError as error:
            raise InvalidRequestError(
                f"row {number + 1}: column {name!r} takes {error}, not {_excerpt(value)}"
            ) from None


def table_from_rows(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows from a `RowReader` as Arrow data; missing values are null."""
    arrays = [pa.array([row.get(field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def fold_by_key(rows: Iterable[Row], key: str) -> list[Row]:
    """Merge rows from a `RowReader` that have the same value in column `key`; later rows override earlier ones.

    Raises:
        InvalidRequestError: A row has no key, or one that cannot be compared.
    """
    folded: dict[Any, Row] = {}
    for number, row in enumerate(rows):
        value = row.get(key)
        if value is None:
            raise InvalidRequestError(f"row {number + 1} has no value in merge column {key!r}")
        if isinstance(value, (list, dict)):
            raise InvalidRequestError(f"cannot merge on column {key!r}: it contains lists or objects")
        folded[value] = folded.get(value, {}) | row
    return list(folded.values())


def rows_from_table(table: pa.Table) -> list[Row]:
    """Arrow data as JSON rows: dates and times in ISO 8601, vectors as lists, bytes in base64."""
    columns = {name: _values(table.column(index)) for index, name in enumerate(table.column_names)}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _values(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)
    values: list[Any] = column.to_pylist()
    write = _writer(kind)
    return values if write is None else [None if value is None else write(value) for value in values]


def _writer(kind: pa.DataType) -> Callable[[Any], Any] | None:
    """The converter from a non-null value to JSON; None if none is needed."""
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return _write_iso
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _write_base64
    if pa.types.is_decimal(kind):
        return float
    if pa.types.is_nested(kind):
        return _write_nested if _has_unwritable(kind) else None
    return None


def _has_unwritable(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_unwritable(kind.field(index).type) for index in range(kind.num_fields))
    return _writer(kind) is not None


def _write_iso(value: Any) -> str:
    return str(value.isoformat())


def _write_base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _write_nested(value: Any) -> Any:
    """Nested values by their Python type; only columns created by SQL expressions contain them."""
    if isinstance(value, Mapping):
        return {key: _write_nested(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_write_nested(item) for item in value]
    if isinstance(value, bytes):
        return _write_base64(value)
    return _write_iso(value) if hasattr(value, "isoformat") else value


def _excerpt(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 50 else text[:50] + "…"


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
