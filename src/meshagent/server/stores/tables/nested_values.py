"""Converters for lists and objects in JSON rows: what a column cannot hold is refused, never dropped."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa

__all__ = ["Reader", "fits_float", "nested_reader"]

Reader = Callable[[Any], Any]
"""Converts a non-null JSON value to what Arrow takes; raises ValueError with the expected form."""


def nested_reader(column_type: pa.DataType, reader_of: Callable[[pa.DataType], Reader]) -> Reader | None:
    """The converter for a list or object type, by those of its items; None for other types."""
    if pa.types.is_struct(column_type):
        return _object_reader(column_type, reader_of)
    if pa.types.is_list(column_type) or pa.types.is_large_list(column_type):
        return _list_reader(reader_of(column_type.value_type))
    return None


def fits_float(value: float, column_type: pa.DataType) -> bool:
    """Whether a column of that float type holds `value` as a finite number, up to rounding."""
    if not math.isfinite(value):
        return False
    if pa.types.is_float64(column_type):
        return True
    try:
        struct.pack("<e" if pa.types.is_float16(column_type) else "<f", value)
    except OverflowError:
        return False
    return True


def _object_reader(column_type: pa.StructType, reader_of: Callable[[pa.DataType], Reader]) -> Reader:
    readers = {field.name: reader_of(field.type) for field in column_type}

    def read_object(value: Any) -> dict[str, Any]:
        if type(value) is not dict or not value.keys() <= readers.keys():
            known = ", ".join(list(readers)[:20])
            raise ValueError(f"an object with no other members than {known}")
        return {name: None if item is None else readers[name](item) for name, item in value.items()}

    return read_object


def _list_reader(reader: Reader) -> Reader:
    def read_list(value: Any) -> list[Any]:
        if type(value) is not list:
            raise ValueError("a list")
        return [None if item is None else reader(item) for item in value]

    return read_list
