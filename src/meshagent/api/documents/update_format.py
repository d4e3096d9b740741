"""A partial reader of the Yjs update format (v1): state vectors, authors, deletions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import pycrdt

__all__ = ["Gap", "Missing", "find_early_start", "find_missing", "read_varint", "read_vector"]


_CONTINUED: Final = bytes(range(0x80, 0x100))  # bytes of an integer that are not its last


class Gap(NamedTuple):
    """An update needs the changes of this author up to `clock`."""

    client: int
    clock: int


class Missing(NamedTuple):
    """An update depends on missing changes: `gap`, or None if only reading the whole update would tell."""

    gap: Gap | None


def find_early_start(vector: bytes, update: bytes) -> Gap | None:
    """The gap between what a copy with state vector `vector` holds and where an edit, of one author, starts.

    None if there is no gap, or `update` is no edit of one author. Costs no more for documents of many authors.
    """
    if update[0] != 1:
        return None
    try:
        _, begin = read_varint(update, 1)  # number of changes
        client, end = read_varint(update, begin)
        start, _ = read_varint(update, end)
    except IndexError:
        return None  # cut short; the decoder says so better
    if start == 0 or start <= _clock_of(vector, update[begin:end]):
        return None
    return Gap(client, start)


def _clock_of(vector: bytes, client: bytes) -> int:
    """The clock of one author, given as its bytes, without reading the whole vector.

    A vector is a count and then pairs of integers, so an author stands where an odd number of integers has ended.
    """
    position = vector.find(client, 1)
    while position > 0:
        if vector[position - 1] < 0x80 and len(vector[:position].translate(None, _CONTINUED)) % 2:
            return read_varint(vector, position + len(client))[0]
        position = vector.find(client, position + 1)
    return 0


def find_missing(vector: bytes, update: bytes) -> Missing | None:
    """What a copy with state vector `vector` lacks to take in `update`, which it was given already.

    The gap is found for deletions; what updates of several authors lack takes reading them in full.
    """
    rest = pycrdt.get_update(update, vector)
    if rest[0] != 0:
        return Missing(None)
    clocks = read_vector(vector)
    gap = next((gap for gap in _read_deletions(rest, 1) if gap.clock > clocks.get(gap.client, 0)), None)
    return None if gap is None else Missing(gap)


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


def _read_deletions(update: bytes, position: int) -> Iterator[Gap]:
    """Author and end of each deleted range; `position` is where the deletions start."""
    clients, position = read_varint(update, position)
    for _ in range(clients):
        client, position = read_varint(update, position)
        ranges, position = read_varint(update, position)
        for _ in range(ranges):
            clock, position = read_varint(update, position)
            length, position = read_varint(update, position)
            yield Gap(client, clock + length)
