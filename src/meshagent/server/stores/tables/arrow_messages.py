"""The decompressed size of an Arrow IPC stream, without decompressing it.

Buffers of a stream may be compressed; each states its decompressed length (Arrow Columnar Format, "Compression"). A few
kilobytes can state gigabytes, and Arrow has no limit, so the lengths are added up first. Message headers are
FlatBuffers, which Arrow has verified at this point.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

import pyarrow as pa

__all__ = ["unpacked_bytes"]

_UINT16, _UINT32, _INT32, _INT64, _BUFFER = Struct("<H"), Struct("<I"), Struct("<i"), Struct("<q"), Struct("<qq")

_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_BUFFERS, _BATCH_COMPRESSION = 2, 3


def unpacked_bytes(data: bytes) -> int:
    """Bytes that the buffers of an IPC stream take when decompressed.

    Raises:
        pa.ArrowException, OSError: It is not an IPC stream.
    """
    size = 0
    messages = pa.ipc.MessageReader.open_stream(data)
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return size
        body = message.body
        if message.type in ("record batch", "dictionary") and body is not None:
            size += sum(_lengths(bytes(message.metadata), message.type == "dictionary", memoryview(body)))


def _lengths(head: bytes, is_dictionary: bool, body: memoryview) -> Iterator[int]:
    batch = _reference(head, _UINT32.unpack_from(head)[0], _MESSAGE_HEADER)
    if is_dictionary:
        batch = _reference(head, batch, _DICTIONARY_DATA)
    if not _field(head, batch, _BATCH_COMPRESSION):
        yield len(body)
        return
    buffers = _reference(head, batch, _BATCH_BUFFERS)
    (count,) = _UINT32.unpack_from(head, buffers)
    for number in range(count):
        start, length = _BUFFER.unpack_from(head, buffers + _UINT32.size + number * _BUFFER.size)
        if length >= _INT64.size and 0 <= start <= len(body) - _INT64.size:
            (unpacked,) = _INT64.unpack_from(body, start)
            yield max(unpacked, length)  # -1: not compressed


def _field(head: bytes, table: int, number: int) -> int:
    """Offset of field `number` of a table; 0 if it is absent."""
    fields = table - _INT32.unpack_from(head, table)[0]
    (size,) = _UINT16.unpack_from(head, fields)
    place = 4 + 2 * number
    offset: int = _UINT16.unpack_from(head, fields + place)[0] if place < size else 0
    return table + offset if offset else 0


def _reference(head: bytes, table: int, number: int) -> int:
    """Offset that field `number` of a table refers to."""
    place = _field(head, table, number)
    target: int = place + _UINT32.unpack_from(head, place)[0]
    return target
