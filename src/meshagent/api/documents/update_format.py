"""State vectors, and the integers of the Yjs update format (v1)."""

from __future__ import annotations

__all__ = ["read_varint", "read_vector", "write_varint"]


def read_vector(vector: bytes) -> dict[int, int]:
    """A state vector as the number of changes of each author."""
    count, position = read_varint(vector, 0)
    clocks = {}
    for _ in range(count):
        client, position = read_varint(vector, position)
        clocks[client], position = read_varint(vector, position)
    return clocks


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """An unsigned integer of seven bits per byte, lowest first, and the position after it.

    Raises:
        IndexError: The data ends within it.
    """
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def write_varint(value: int) -> bytes:
    """An unsigned integer of seven bits per byte, lowest first."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
