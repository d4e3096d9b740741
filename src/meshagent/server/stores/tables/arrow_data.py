"""Arrow IPC streams from and to clients; incoming data is validated first."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pyarrow as pa

from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.stores.tables.arrow_messages import unpacked_bytes
from meshagent.server.stores.tables.columns import MAX_COLUMNS, check_column_name

__all__ = ["check_schema", "fit_batch", "ipc_stream", "batch_slices", "read_schema", "read_stream"]

SLICE_BYTES = 256 * 1024
"""Approximate size of the slices in which rows are sent."""

_MAX_UNPACKED_BYTES = 256 * 1024 * 1024


def read_schema(data: bytes) -> pa.Schema:
    """The schema at the start of an IPC stream.

    Raises:
        InvalidRequestError: The data is not an Arrow IPC stream.
    """
    try:
        with pa.ipc.open_stream(data) as stream:
            return _with_readable_names(stream.schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _no_arrow(error) from None


def read_stream(data: bytes) -> tuple[pa.Schema, list[pa.RecordBatch]]:
    """Read a complete IPC stream. Offsets and strings are validated, since the data is untrusted.

    Raises:
        InvalidRequestError: The data is not an Arrow IPC stream, is truncated, or is inconsistent.
        LimitExceededError: It is too large when decompressed.
    """
    try:
        if unpacked_bytes(data) > _MAX_UNPACKED_BYTES:
            raise LimitExceededError("the chunk is too large when decompressed", limit=_MAX_UNPACKED_BYTES)
        with pa.ipc.open_stream(data) as stream:
            schema = _with_readable_names(stream.schema)
            batches = list(stream)
        for batch in batches:
            batch.validate(full=True)
        return schema, batches
    except (pa.ArrowException, OSError, ValueError, MemoryError, struct.error) as error:
        raise _no_arrow(error) from None


def _with_readable_names(schema: pa.Schema) -> pa.Schema:
    """Check that the column names are valid UTF-8 and unique; Arrow fails only when a name is read."""
    for field in schema:
        _read_names(field)
    if len(set(schema.names)) != len(schema):
        raise ValueError("two columns have the same name")
    return schema


def _read_names(field: pa.Field) -> None:
    """Raise UnicodeDecodeError if the name of a field or of a nested field is not valid UTF-8."""
    assert isinstance(field.name, str)
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    for number in range(kind.num_fields):
        _read_names(kind.field(number))


def ipc_stream(schema: pa.Schema, *batches: pa.RecordBatch) -> bytes:
    """A complete IPC stream: the schema, then batches."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as stream:
        for batch in batches:
            stream.write_batch(batch)
    return bytes(sink.getvalue())


def batch_slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """A batch in slices of about `SLICE_BYTES`, none of them empty."""
    rows = max(1, batch.num_rows * SLICE_BYTES // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def check_schema(schema: pa.Schema) -> None:
    """Raise InvalidRequestError for columns that a table of a room cannot have."""
    if not len(schema):
        raise InvalidRequestError("a table needs at least one column")
    if len(schema) > MAX_COLUMNS:
        raise LimitExceededError(f"a table has at most {MAX_COLUMNS} columns", limit=MAX_COLUMNS)
    for field in schema:
        check_column_name(field.name)
        if pa.types.is_null(field.type):
            raise InvalidRequestError(f"column {field.name!r} cannot have the type null")


def fit_batch(batch: pa.RecordBatch, schema: pa.Schema, *, fill: bool = True) -> pa.RecordBatch:
    """Convert `batch` to `schema`: its order of columns and its types.

    Args:
        fill: Whether missing columns become null; otherwise they are omitted.

    Raises:
        InvalidRequestError: An unknown column, or values that cannot be converted.
    """
    if batch.schema.equals(schema):
        return batch
    for name in batch.schema.names:
        if name not in schema.names:
            raise InvalidRequestError(f"column {name!r} not found in the table")
    fields, arrays = [], []
    for field in schema:
        if field.name in batch.schema.names:
            arrays.append(_cast(batch.column(field.name), field))
        elif fill:
            arrays.append(pa.nulls(batch.num_rows, field.type))
        else:
            continue
        fields.append(field)
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=schema.metadata))


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    if column.type.equals(field.type):
        return column
    try:
        return column.cast(field.type)
    except (pa.ArrowException, ValueError) as error:
        text = str(error).partition("\n")[0][:200]
        raise InvalidRequestError(
            f"column {field.name!r} has type {field.type}, cannot convert {column.type}: {text}"
        ) from None


def _no_arrow(error: BaseException) -> InvalidRequestError:
    return InvalidRequestError(f"the data is not an Arrow IPC stream: {str(error).partition(chr(10))[0][:200]}")
