"""As much of the Yjs update format (v1) as the room reads itself: state vectors, authors, deletions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pycrdt

__all__ = ["Gap", "find_gap", "read_varint", "read_vector"]


class Gap(NamedTuple):
    """An update can be applied once this author's changes up to `clock` are there."""

    client: int
    clock: int


def find_gap(vector: bytes, update: bytes) -> Gap | None:
    """What a copy with state vector `vector` lacks before it can take in `update`, which it was given already.

    None if nothing is missing, and for updates of several authors, which are no single edit but an exchange of state.
    """
    rest = pycrdt.get_update(update, vector)
    clocks = read_vector(vector)
    if rest[0] == 0:
        return next((gap for gap in _read_deletions(rest, 1) if gap.clock > clocks.get(gap.client, 0)), None)
    if rest[0] != 1:
        return None
    _, position = read_varint(rest, 1)  # number of changes
    client, position = read_varint(rest, position)
    clock, position = read_varint(rest, position)
    return Gap(client, clock) if clock > clocks.get(client, 0) else None


def read_vector(vector: bytes) -> dict[int, int]:
    """A state vector as the number of changes held of each author."""
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


def _read_deletions(update: bytes, position: int) -> Iterator[Gap]:
    """Author and end of each deleted stretch; `position` is where the deletions start."""
    clients, position = read_varint(update, position)
    for _ in range(clients):
        client, position = read_varint(update, position)
        ranges, position = read_varint(update, position)
        for _ in range(ranges):
            clock, position = read_varint(update, position)
            length, position = read_varint(update, position)
            yield Gap(client, clock + length)
