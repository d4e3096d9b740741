"""Characters outside the basic plane, and updates that cut one in two.

Yjs counts texts in UTF-16 units, of which such a character has two, a surrogate pair. An editor may delete one of
them, or insert between them. Yjs then puts U+FFFD in place of both halves; the library of this copy (pycrdt 0.14.13)
takes the whole character for the first half, and shifts what follows. So a pair that an update cuts is deleted: before
the update, if the document has it, else after its halves were replaced as Yjs does.

Source: protocol 8.7; Yjs update format v1.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from meshagent.api.documents.update_format import read_varint, write_varint
from meshagent.api.documents.update_scan import MAX_PLACES, UpdateScan, UpdateScanner

__all__ = ["CutUpdate", "SurrogatePairs", "has_pairs"]

has_pairs: Final = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}").search
"""Finds a character outside the basic plane, or what may be one, in an update."""
_BROKEN: Final = "\ufffd\ufffd"
_Middle = tuple[int, int]  # an author, and the number of the second half of a pair


class CutUpdate(NamedTuple):
    """An update that cuts pairs, as three updates to be applied in order, in one transaction.

    Attributes:
        before: Deletes the pairs that the document has; None if there are none.
        update: The update itself.
        after: Deletes the pairs of the update itself; None if there are none.
    """

    before: bytes | None
    update: bytes
    after: bytes | None


class SurrogatePairs:
    """Where the surrogate pairs in the texts of a document are.

    Attributes:
        middles: The numbers of their second halves, by author.
    """

    def __init__(self) -> None:
        self.middles: dict[int, array[int]] = {}

    def add(self, pairs: Mapping[int, Iterable[int]]) -> None:
        """Note pairs of an update that the document has now (`UpdateScan.pairs`)."""
        for client, middles in pairs.items():
            known = self.middles.setdefault(client, array("Q"))
            for middle in middles:
                if not known or middle > known[-1]:
                    known.append(middle)
                elif not _contains(known, middle):
                    known.insert(bisect_left(known, middle), middle)

    def cut(self, update: bytes, scan: UpdateScan, clocks: Mapping[int, int]) -> CutUpdate | None:
        """Whether an update cuts pairs, and what to apply instead of it.

        Args:
            update: The update.
            scan: What was read in it.
            clocks: How many changes the document has of the authors of pairs in the update.
        """
        known = self.middles
        if not scan.pairs and known.keys().isdisjoint(scan.ends) and known.keys().isdisjoint(scan.needs):
            return None
        places = _places(update, scan)
        for client, start, end in scan.deletions:
            places += [(client, start), (client, end)]
        places += [(client, clocks.get(client, 0)) for client in scan.pairs]
        old = {place for place in places if place[0] in known and _contains(known[place[0]], place[1])}
        own = {place for place in places if place[0] in scan.pairs and _contains(scan.pairs[place[0]], place[1])} - old
        if not old and not own:
            return None
        return CutUpdate(_deletion(old), _broken(update, own), _deletion(own))


def _places(update: bytes, scan: UpdateScan) -> list[_Middle]:
    """The places at which the changes of an update cut texts."""
    if len(scan.places) <= MAX_PLACES:
        return scan.places.copy()
    scanner = _CutScanner(update, frozenset())
    scanner.scan()
    return scanner.places


class _CutScanner(UpdateScanner):
    """Notes all places at which the changes of an update cut texts, and breaks pairs in its own texts."""

    __slots__ = ("_middles_to_break", "edits", "places")

    def __init__(self, data: bytes, middles: frozenset[_Middle]) -> None:
        super().__init__(data)
        self._middles_to_break = middles
        self.places: list[_Middle] = []
        self.edits: list[tuple[int, int, bytes]] = []

    def _origins(self, info: int) -> bytes | None:
        position = self._position
        key = super()._origins(info)
        for flag, behind in ((0x80, 1), (0x40, 0)):
            if info & flag:
                client, position = read_varint(self._data, position)
                clock, position = read_varint(self._data, position)
                self.places.append((client, clock + behind))
        return key

    def _text_length(self, client: int, clock: int) -> int:
        start = self._position
        length = super()._text_length(client, clock)
        if self._middles_to_break:
            _, begin = read_varint(self._data, start)
            text = self._data[begin : self._position].decode()
            broken = _broken_text(
                text, {middle - clock for author, middle in self._middles_to_break if author == client}
            )
            if broken != text:
                raw = broken.encode()
                self.edits.append((start, self._position, write_varint(len(raw)) + raw))
        return length


def _broken(update: bytes, middles: set[_Middle]) -> bytes:
    """The update with U+FFFD in place of the halves of those pairs in its texts."""
    if not middles:
        return update
    scanner = _CutScanner(update, frozenset(middles))
    scanner.scan()
    for start, end, replacement in reversed(scanner.edits):
        update = update[:start] + replacement + update[end:]
    return update


def _broken_text(text: str, middles: set[int]) -> str:
    result = []
    unit = 0
    for character in text:
        wide = character > "\uffff"
        result.append(_BROKEN if wide and unit + 1 in middles else character)
        unit += 2 if wide else 1
    return "".join(result)


def _deletion(middles: set[_Middle]) -> bytes | None:
    """An update that deletes both halves of each pair."""
    if not middles:
        return None
    clients = sorted({client for client, _ in middles})
    update = bytearray(b"\x00" + write_varint(len(clients)))
    for client in clients:
        numbers = sorted(middle for author, middle in middles if author == client)
        update += write_varint(client) + write_varint(len(numbers))
        for number in numbers:
            update += write_varint(number - 1) + b"\x02"
    return bytes(update)


def _contains(numbers: array[int] | list[int], number: int) -> bool:
    index = bisect_left(numbers, number)
    return index < len(numbers) and numbers[index] == number
