"""The lives of a document: each time one is made at a path, a new life begins, and no two lives are merged.

The first update of each life holds a mark, a change of an author that nobody else has. A state vector without the mark,
or an update with the mark of another life, comes from a copy of another life.

Source: protocol 7.9.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection
from typing import Final, Literal

from meshagent.api.documents.update_format import write_varint
from meshagent.api.errors import InvalidStateError

__all__ = ["MARK_ROOT", "Change", "DocumentEndedError", "make_mark", "new_mark_author"]

Change = Literal["deleted", "replaced", "moved"]

MARK_ROOT: Final = b"$life"
"""Name of the root that the marks are in; nothing else is."""

_FIRST_AUTHOR: Final = 1 << 52
_RANDOM_BITS: Final = 9


class DocumentEndedError(InvalidStateError):
    """The document that a copy belongs to is gone from its path; the copy gets and sends nothing more.

    Attributes:
        change: `deleted`, `replaced` by another document at its path, or `moved`.
        new_path: Where it is now, if it was moved.
    """

    code = "document_ended"

    def __init__(self, message: str, *, change: Change = "deleted", new_path: str | None = None) -> None:
        super().__init__(message)
        self.change = change
        self.new_path = new_path


def new_mark_author(earlier: Collection[int]) -> int:
    """An author for the mark of a new life, higher than those of earlier lives of the same content."""
    milliseconds = time.time_ns() // 1_000_000
    author = _FIRST_AUTHOR | milliseconds << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return max([author, *(mark + 1 for mark in earlier)])


def make_mark(author: int) -> bytes:
    """The mark as an update: the author's one change, `true` at `id` in the root of the marks."""
    place = bytes([1, len(MARK_ROOT)]) + MARK_ROOT + b"\x02id"
    return b"\x01\x01" + write_varint(author) + b"\x00\x28" + place + b"\x01\x78" + b"\x00"
