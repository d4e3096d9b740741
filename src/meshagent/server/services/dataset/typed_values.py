"""Typed values of clients of the current generation (protocol 12.3).

JSON scalars are plain; other values are objects with one member, named after the type.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import pyarrow as pa

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError
from meshagent.server.stores.tables.columns import infer_schema
from meshagent.server.stores.tables.temporal import parse_date, parse_timestamp

__all__ = ["Expression", "to_json_value", "table_from_typed_rows", "decode_value"]


@dataclass(frozen=True, slots=True)
class Expression:
    """An SQL expression instead of a value."""

    sql: str


def decode_value(given: Any) -> Any:
    """Decode a typed value: None, bool, int, float, str, bytes, date, datetime, list, dict or Expression.

    Raises:
        InvalidRequestError: Unknown or invalid form.
    """
    if isinstance(given, list):
        raise InvalidRequestError("write a list as an object with the member 'list'")
    if not isinstance(given, dict):
        return given
    if len(given) != 1:
        raise InvalidRequestError("a typed value must be an object with one member, named after its type")
    ((kind, content),) = given.items()
    read = _READERS.get(kind)
    if read is None:
        raise InvalidRequestError(f"unknown value type {kind[:50]!r}")
    try:
        return read(content)
    except (ValueError, TypeError, AttributeError, binascii.Error):
        raise InvalidRequestError(f"invalid value of type {kind}: {str(content)[:50]!r}") from None


def to_json_value(value: Any) -> Any:
    """A value as in JSON rows: dates and times as text."""
    return value.isoformat() if isinstance(value, date) else value


def table_from_typed_rows(rows: Sequence[Any]) -> pa.Table:
    """Rows of the form `{"columns": [{"name", "value"}]}` as Arrow data with inferred types.

    Raises:
        InvalidRequestError: A row is not of that form, or a column mixes types.
    """
    plain = [_row(row) for row in rows]
    columns: dict[str, list[Any]] = {name: [] for row in plain for name in row}
    for row in plain:
        for name, values in columns.items():
            values.append(row.get(name))
    schema = infer_schema([{name: _example(value) for name, value in row.items()} for row in plain])
    fields = [_field(field, columns[field.name]) for field in schema]
    try:
        arrays = [pa.array(columns[field.name], field.type) for field in fields]
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise InvalidRequestError(f"the values of a column have no common type: {error}") from None
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _row(row: Any) -> dict[str, Any]:
    cells = row.get("columns") if isinstance(row, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "name" in cell for cell in cells):
        raise InvalidRequestError("a row must be an object with 'columns', a list of objects with 'name' and 'value'")
    values = {str(cell["name"]): decode_value(cell.get("value")) for cell in cells}
    if any(isinstance(value, Expression) for value in values.values()):
        raise InvalidRequestError("the rows of a new table cannot be expressions")
    return values


def _example(value: Any) -> Any:
    """A stand-in for type inference by `infer_schema`; `_field` sets the real type."""
    return value.isoformat() if isinstance(value, date) else value.hex() if isinstance(value, bytes) else value


def _field(field: pa.Field, values: Sequence[Any]) -> pa.Field:
    kinds = {type(value) for value in values if value is not None}
    if kinds.isdisjoint(_ARROW):
        return field
    if len(kinds) > 1:
        raise InvalidRequestError(f"column {field.name!r} mixes types")
    return field.with_type(_ARROW[kinds.pop()])


def _read_list(content: Any) -> list[Any]:
    if not isinstance(content, list):
        raise TypeError
    return [decode_value(item) for item in content]


def _read_struct(content: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): decode_value(item) for key, item in content.items()}


def _read_text(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError
    return content


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "binary": lambda content: base64.b64decode(_read_text(content), validate=True),
    "uuid": lambda content: UUID(_read_text(content)).bytes,
    "date": lambda content: parse_date(_read_text(content)),
    "timestamp": lambda content: parse_timestamp(_read_text(content)),
    "list": _read_list,
    "struct": _read_struct,
    "json": lambda content: jsontext.dumps(content).decode(),
    "expression": lambda content: Expression(_read_text(content)),
}

_ARROW: Mapping[type, pa.DataType] = {
    bytes: pa.binary(),
    date: pa.date32(),
    datetime: pa.timestamp("us"),
}
