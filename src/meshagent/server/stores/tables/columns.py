"""Column types: from a schema, inferred from rows, and conversion of JSON values (protocol 11.3).

Importing this module imports Arrow, so it happens at the first use of a table (see `table_engine`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from meshagent.api.contracts.data_types import (
    MAX_VECTOR_SIZE,
    DataType,
    DateDataType,
    FloatDataType,
    IntDataType,
    TextDataType,
    TimestampDataType,
    VectorDataType,
)
from meshagent.api.contracts.database import Row
from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.stores.tables.grammar import ColumnKind
from meshagent.server.stores.tables.nested_values import Reader, fits_float, nested_reader
from meshagent.server.stores.tables.temporal import parse_date, parse_timestamp

__all__ = ["MAX_COLUMNS", "column_reader", "infer_schema", "schema_from_types", "column_kinds", "vector_columns"]

MAX_COLUMNS = 1_000
MAX_NAME_LENGTH = 255

SCRATCH_PREFIX = "_updating_"
"""Prefix of temporary columns that exist only during an update."""

_RESERVED = frozenset({"_distance", "_score", "_relevance_score", "_rowid", "_rowaddr", "_rowoffset"})
_INT64 = range(-(2**63), 2**63)

_PLAIN: Mapping[type[DataType], pa.DataType] = {
    IntDataType: pa.int64(),
    FloatDataType: pa.float64(),
    TextDataType: pa.string(),
    DateDataType: pa.date32(),
    TimestampDataType: pa.timestamp("us"),
}


def schema_from_types(types: Mapping[str, Mapping[str, Any]]) -> pa.Schema:
    """The Arrow schema for a request's `schema`; all columns may hold null.

    Raises:
        InvalidRequestError: An unknown type, an invalid column name, or no column.
        LimitExceededError: Too many columns.
    """
    _check_names(types)
    return pa.schema([pa.field(name, _arrow_type(DataType.from_json(given))) for name, given in types.items()])


def infer_schema(rows: Sequence[Row]) -> pa.Schema:
    """The Arrow schema that fits all of `rows`: their keys in order of appearance, and by values

        true, false                     bool
        whole numbers                   int64
        numbers                         float64
        texts, or only nulls            text (dates in texts stay text)
        lists of numbers of one length  vector of float32, if one has a fraction or the name contains vector or
        embedding other lists, objects            Arrow's list and struct types

    Raises:
        InvalidRequestError: A column mixes types, or has a name that a column cannot have; no rows.
        LimitExceededError: Too many columns.
    """
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            column = values.setdefault(name, [])
            if value is not None:
                column.append(value)
    _check_names(values)
    return pa.schema([pa.field(name, _inferred_type(name, column)) for name, column in values.items()])


def column_kinds(schema: pa.Schema) -> dict[str, ColumnKind]:
    """The columns of dates, times and integers, for which filters are judged and rewritten."""
    found: dict[str, ColumnKind] = {}
    for field in schema:
        if pa.types.is_date(field.type):
            found[field.name] = "date"
        elif pa.types.is_timestamp(field.type):
            found[field.name] = "timestamp"
        elif pa.types.is_integer(field.type):
            found[field.name] = "integer"
    return found


def vector_columns(schema: pa.Schema) -> dict[str, int]:
    """The columns that support vector search, with their dimensions."""
    return {
        field.name: field.type.list_size
        for field in schema
        if pa.types.is_fixed_size_list(field.type) and pa.types.is_floating(field.type.value_type)
    }


def column_reader(column_type: pa.DataType) -> Reader:
    """The converter from JSON values to values of that type."""
    if pa.types.is_fixed_size_list(column_type):
        return _vector_reader(column_type)
    if (nested := nested_reader(column_type, column_reader)) is not None:
        return nested
    if pa.types.is_floating(column_type):
        return _float_reader(column_type)
    for is_kind, reader in _READERS:
        if is_kind(column_type):
            return reader

    def read_by_arrow(value: Any) -> Any:
        try:
            pa.array([value], column_type)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            raise ValueError(f"a value that fits {column_type}") from None
        return value

    return read_by_arrow


def _arrow_type(data_type: DataType) -> pa.DataType:
    if not isinstance(data_type, VectorDataType):
        return _PLAIN[type(data_type)]
    match data_type.element_type:
        case FloatDataType():
            return pa.list_(pa.float32(), data_type.size)
        case IntDataType():
            return pa.list_(pa.int64(), data_type.size)
    raise InvalidRequestError("vector elements must have type float or int")


def _check_names(names: Iterable[str]) -> None:
    names = list(names)
    if not names:
        raise InvalidRequestError("a table needs at least one column")
    if len(names) > MAX_COLUMNS:
        raise LimitExceededError(f"a table has at most {MAX_COLUMNS} columns", limit=MAX_COLUMNS)
    for name in names:
        check_column_name(name)


def check_column_name(name: str) -> None:
    """Raise InvalidRequestError for an invalid column name, or one that a filter could not refer to."""
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise InvalidRequestError(f"a column name must have 1 to {MAX_NAME_LENGTH} characters")
    if "." in name or "`" in name or not name.isprintable():
        raise InvalidRequestError(f"a column name must not contain dots, backticks or control characters: {name!r}")
    if name in _RESERVED or name.startswith(SCRATCH_PREFIX):
        raise InvalidRequestError(f"the column name {name!r} is reserved")


# --- inference ---------------------------------------------------------------------------------------


def _inferred_type(name: str, values: Sequence[Any]) -> pa.DataType:
    kinds = {type(value) for value in values}
    if kinds <= {str}:
        return pa.string()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        if not all(value in _INT64 for value in values):
            raise InvalidRequestError(f"column {name!r} contains an integer of more than 64 bits")
        return pa.int64()
    if kinds <= {int, float}:
        return pa.float64()
    if kinds == {list}:
        size = _vector_size(name, values)
        if size is not None:
            return pa.list_(pa.float32(), size)
    if kinds not in ({list}, {dict}):
        mixed = ", ".join(sorted(_JSON_NAMES.get(kind, kind.__name__) for kind in kinds))
        raise InvalidRequestError(f"column {name!r} mixes {mixed}")
    try:
        return _without_nulls(pa.infer_type(values))
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        raise InvalidRequestError(f"the values of column {name!r} have no common type: {error}") from None


_JSON_NAMES = {str: "texts", bool: "booleans", int: "numbers", float: "numbers", list: "lists", dict: "objects"}


def _vector_size(name: str, lists: Sequence[list[Any]]) -> int | None:
    """The length of all `lists`, if they look like vectors."""
    sizes = {len(items) for items in lists}
    kinds = {type(item) for items in lists for item in items}
    if len(sizes) != 1 or not kinds or not kinds <= {int, float}:
        return None
    named_so = any(word in name.lower() for word in ("vector", "embedding"))
    size = sizes.pop()
    return size if (float in kinds or named_so) and size <= MAX_VECTOR_SIZE else None


def _without_nulls(found: pa.DataType) -> pa.DataType:
    """`found` with string in place of null, a type that the engine cannot store."""
    if pa.types.is_null(found):
        return pa.string()
    if pa.types.is_list(found):
        return pa.list_(_without_nulls(found.value_type))
    if pa.types.is_struct(found):
        return pa.struct([pa.field(field.name, _without_nulls(field.type)) for field in found])
    return found


# --- values ------------------------------------------------------------------------------------------


def _read_int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise ValueError("a whole number")
    if value not in _INT64:
        raise ValueError("a whole number of at most 64 bits")
    return value


def _read_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("a number that fits 64 bits") from None


def _read_bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def _read_text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("a text")
    return value.encode("utf-8", "replace").decode()


def _read_date(value: Any) -> date:
    try:
        return parse_date(_read_text(value))
    except ValueError:
        raise ValueError("a date such as 2025-01-31") from None


def _read_timestamp(value: Any) -> datetime:
    try:
        return parse_timestamp(_read_text(value))
    except ValueError:
        raise ValueError("a time such as 2025-01-31T12:00:00") from None


def _vector_reader(column_type: pa.DataType) -> Reader:
    size = column_type.list_size
    element = column_type.value_type
    whole = not pa.types.is_floating(element)
    read_element = _read_int if whole else _float_reader(element)

    def read_vector(value: Any) -> list[Any]:
        if type(value) is not list or len(value) != size:
            raise ValueError(f"a list of {size} numbers")
        if not whole and set(map(type, value)) <= {int, float}:
            # The largest decides: one check instead of one for each element.
            fits = all(map(math.isfinite, value)) and fits_float(max(map(abs, value), default=0.0), element)
            return value if fits else _raise(f"a list of {size} finite numbers that fit {element}")
        return [read_element(item) for item in value]

    return read_vector


def _float_reader(column_type: pa.DataType) -> Reader:
    def read_float(value: Any) -> float:
        number = _read_float(value)
        return number if fits_float(number, column_type) else _raise(f"a finite number that fits {column_type}")

    return read_float


def _raise(wanted: str) -> Any:
    raise ValueError(wanted)


_READERS: Sequence[tuple[Callable[[pa.DataType], bool], Reader]] = (
    (pa.types.is_int64, _read_int),
    (pa.types.is_boolean, _read_bool),
    (pa.types.is_string, _read_text),
    (pa.types.is_large_string, _read_text),
    (pa.types.is_date, _read_date),
    (pa.types.is_timestamp, _read_timestamp),
)
