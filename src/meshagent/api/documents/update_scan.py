"""Reads an update (Yjs update format v1) from end to end before the CRDT library sees it.

The library (pycrdt 0.14.13) trusts what it decodes, and ignores what follows the end of an update. `scan_update` holds
updates to documented bounds, reads them to their end, and tells what an update depends on, so that no update that
comes early is left to the library.

Source: protocol 8.4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

from meshagent.api.documents.lives import MARK_ROOT
from meshagent.api.documents.update_format import read_varint
from meshagent.api.errors import InvalidRequestError

__all__ = [
    "MAX_PLACES",
    "MAX_VALUE_NESTING",
    "STEP_CHANGES",
    "MalformedUpdateError",
    "UpdateScan",
    "UpdateScanner",
    "scan_in_steps",
    "scan_update",
]

MAX_VALUE_NESTING: Final = 64
"""How deep values may nest: an attribute's value is at depth 0, an item of a list at the list's depth plus 1."""

MAX_PLACES: Final = 64
STEP_CHANGES: Final = 2_000
"""How many changes are read in one step."""

_MAX_CLIENT: Final = 2**53
_MAX_CLOCK: Final = 2**32
_VARINT: Final = rb"([\x80-\xff]{0,9}[\x00-\x7f])"
_ONE: Final = re.compile(_VARINT).match
_TWO: Final = re.compile(_VARINT * 2).match
_THREE: Final = re.compile(_VARINT * 3).match
_FOUR: Final = re.compile(_VARINT * 4).match
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_JSON_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_GC: Final = 0
_STRING: Final = 4
_TYPE: Final = 7
_VALUES: Final = 8
_SKIP: Final = 10
_HAS_ORIGIN: Final = 0x80
_HAS_RIGHT_ORIGIN: Final = 0x40
_HAS_KEY: Final = 0x20
_NAMED_TYPES: Final = (3, 5)  # XML elements and hooks
_LAST_TYPE: Final = 6
_TEXT_VALUE: Final = 119
_ID_KEY: Final = b"$id"
_NO_MARKS: Final[frozenset[int]] = frozenset()
_SIZES: Final[Mapping[int, int]] = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}


class MalformedUpdateError(InvalidRequestError):
    """The bytes are not a valid update or state vector; the document is unchanged."""

    code = "malformed_update"


class UpdateScan(NamedTuple):
    """What an update holds and needs, as numbers of changes of each author.

    Attributes:
        ends: What a document has of each author of the update once it is applied.
        needs: What a document must have before the update can be applied in full; only authors with at least one.
        deletions: Author, start and end of each range of changes that it deletes.
        marks: Authors of the marks of lives in the update.
        ids: Author and number of each change that gives an element its first `$id`, and the id.
        places: Author and number of each change before which, or behind whose predecessor, it inserts; incomplete if
            it has more than `MAX_PLACES`.
        pairs: Of each author, the numbers of the second halves of surrogate pairs in its texts.
        parents: How many elements it puts children into.
    """

    ends: dict[int, int]
    needs: dict[int, int]
    deletions: list[tuple[int, int, int]]
    marks: frozenset[int]
    ids: list[tuple[int, int, str]]
    places: list[tuple[int, int]]
    pairs: dict[int, list[int]]
    parents: int


def scan_update(update: bytes) -> UpdateScan:
    """Read an update to its end.

    Raises:
        MalformedUpdateError: It is no update in format v1, has trailing bytes, or holds a value nested more than
            `MAX_VALUE_NESTING` deep.
    """
    try:
        return UpdateScanner(update).scan()
    except (IndexError, UnicodeDecodeError):
        raise _malformed("it is truncated or damaged") from None


def scan_in_steps(update: bytes) -> Generator[None, None, UpdateScan]:
    """As `scan_update`, in steps between which others may work."""
    try:
        return (yield from UpdateScanner(update).steps())
    except (IndexError, UnicodeDecodeError):
        raise _malformed("it is truncated or damaged") from None


def _malformed(reason: str) -> MalformedUpdateError:
    return MalformedUpdateError(f"not a document update: {reason}")


@lru_cache(maxsize=4096)
def _number(raw: bytes) -> int:
    """The value of an unsigned integer of seven bits per byte, lowest first; the same authors come again and again."""
    value = shift = 0
    for byte in raw:
        value |= (byte & 0x7F) << shift
        shift += 7
    return value


class UpdateScanner:
    """One pass over an update."""

    __slots__ = (
        "_author",
        "_data",
        "_deletions",
        "_ends",
        "_ids",
        "_marks",
        "_needs",
        "_pairs",
        "_parents",
        "_places",
        "_position",
        "_references",
    )

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0
        self._author = 0
        self._deletions: list[tuple[int, int, int]] = []
        self._ids: list[tuple[int, int, str]] = []
        self._marks: list[int] = []
        self._places: list[tuple[int, int]] = []
        self._pairs: dict[int, list[int]] = {}
        self._parents: set[tuple[bytes, bytes]] = set()
        self._ends: dict[int, int] = {}
        self._needs: dict[int, int] = {}
        self._references: dict[int, int] = {}

    def scan(self) -> UpdateScan:
        for _ in range(self._varint()):
            client, clock, count = self._block_head()
            for _ in range(count):
                clock += self._change(client, clock)
                if clock >= _MAX_CLOCK:
                    raise _malformed("it numbers changes too high")
            self._ends[client] = clock
        return self._rest()

    def steps(self) -> Generator[None, None, UpdateScan]:
        """As `scan`, in steps of `STEP_CHANGES`."""
        for _ in range(self._varint()):
            client, clock, count = self._block_head()
            for number in range(1, count + 1):
                clock += self._change(client, clock)
                if clock >= _MAX_CLOCK:
                    raise _malformed("it numbers changes too high")
                if number % STEP_CHANGES == 0:
                    yield
            self._ends[client] = clock
        return self._rest()

    def _rest(self) -> UpdateScan:
        """Read what follows the changes; returns what was read."""
        self._read_deletions()
        if self._position != len(self._data):
            rest = len(self._data) - self._position
            raise _malformed(f"{rest} bytes follow its end; updates must be in the Yjs update format v1")
        ends, needs = self._ends, self._needs
        for client, clock in self._references.items():
            if clock > ends.get(client, 0) and clock > needs.get(client, 0):
                needs[client] = clock
        marks = frozenset(self._marks) if self._marks else _NO_MARKS
        return UpdateScan(ends, needs, self._deletions, marks, self._ids, self._places, self._pairs, len(self._parents))

    def _block_head(self) -> tuple[int, int, int]:
        """An author, the number of the first of its changes, and how many there are."""
        raw_count, raw_client, raw_clock = self._match(_THREE)
        client, clock = self._client(raw_client), _number(raw_clock)
        self._author = client
        if client in self._ends:
            raise _malformed("it lists an author twice")
        if clock:
            self._needs[client] = clock
        return client, clock, _number(raw_count)

    def _change(self, client: int, clock: int) -> int:
        """One change of an author; returns its length in clock units."""
        info = self._byte()
        kind = info & 0x1F
        if kind == _GC:
            return self._varint()
        if kind == _SKIP:
            length = self._varint()
            self._needs[client] = clock + length
            return length
        key = self._origins(info)
        if kind == _STRING:
            return self._text_length(client, clock)
        if kind == _VALUES and key == _ID_KEY:
            return self._id(client, clock)
        read = _CONTENTS.get(kind)
        if read is None:
            raise _malformed(f"it has content of an unknown kind, {kind}")
        return read(self)

    def _origins(self, info: int) -> bytes | None:
        """What a change refers to: its neighbours, or else its parent and its key there; returns the key."""
        both = info & (_HAS_ORIGIN | _HAS_RIGHT_ORIGIN)
        if both == _HAS_ORIGIN | _HAS_RIGHT_ORIGIN:
            client, clock, right_client, right_clock = self._match(_FOUR)
            self._refer(client, clock, 1)
            self._refer(right_client, right_clock, 0)
        elif both:
            client, clock = self._match(_TWO)
            self._refer(client, clock, 1 if both == _HAS_ORIGIN else 0)
        else:
            if self._varint() == 1:
                if self._bytes() == MARK_ROOT:
                    self._marks.append(self._author)
            else:
                client, clock = self._match(_TWO)
                self._refer(client, clock, None)
                if not info & _HAS_KEY or info & 0x1F == _TYPE:
                    self._parents.add((client, clock))
            if info & _HAS_KEY:
                return self._bytes()
        return None

    def _refer(self, raw_client: bytes, raw_clock: bytes, behind: int | None) -> None:
        """Note a change that another one refers to, and whether that is behind it (1), before it (0), or below it."""
        client = self._client(raw_client)
        clock = raw_clock[0] if len(raw_clock) == 1 else _number(raw_clock)
        references = self._references
        if clock >= references.get(client, 0):
            references[client] = clock + 1
        if behind is not None and len(self._places) <= MAX_PLACES:
            self._places.append((client, clock + behind))

    def _read_deletions(self) -> None:
        for _ in range(self._varint()):
            raw_client, raw_count = self._match(_TWO)
            client = self._client(raw_client)
            for _ in range(_number(raw_count)):
                start, length = map(_number, self._match(_TWO))
                end = start + length
                if end >= _MAX_CLOCK:
                    raise _malformed("it numbers changes too high")
                if end > self._references.get(client, 0):
                    self._references[client] = end
                self._deletions.append((client, start, end))

    # --- contents ---

    def _text_length(self, client: int, clock: int) -> int:
        """A text; returns its length in UTF-16 units."""
        raw = self._bytes()
        if raw.isascii():
            return len(raw)
        text = raw.decode()
        middles = [clock + number + match.end() for number, match in enumerate(_ASTRAL.finditer(text))]
        if middles:
            self._pairs.setdefault(client, []).extend(middles)
        return len(text) + len(middles)

    def _id(self, client: int, clock: int) -> int:
        start = self._position
        count = self._values()
        if count == 1 and self._data[start + 1] == _TEXT_VALUE:
            _, begin = read_varint(self._data, start + 2)
            self._ids.append((client, clock, self._data[begin : self._position].decode()))
        return count

    def _deleted(self) -> int:
        return self._varint()

    def _json_list(self) -> int:
        count = self._varint()
        for _ in range(count):
            self._json()
        return count

    def _binary(self) -> int:
        self._bytes()
        return 1

    def _embed(self) -> int:
        self._json()
        return 1

    def _format(self) -> int:
        self._bytes()
        self._json()
        return 1

    def _type(self) -> int:
        kind = self._varint()
        if kind in _NAMED_TYPES:
            self._bytes()
        elif kind > _LAST_TYPE:
            raise _malformed(f"it has a shared type of an unknown kind, {kind}")
        return 1

    def _values(self) -> int:
        count = self._varint()
        if count == 1:  # an attribute
            size = _SIZES.get(self._data[self._position])
            if size is not None:
                self._skip(1 + size)
                return 1
        self._skip_values(count)
        return count

    def _document(self) -> int:
        self._bytes()
        self._skip_values(1)
        return 1

    def _skip_values(self, count: int) -> None:
        """Skip JSON-like values; a loop, not recursion, since their nesting is not known to be harmless yet."""
        open_: list[tuple[int, bool]] = []  # of each open list or object: values to come, and whether keys precede
        keyed = False
        while True:
            while not count:
                if not open_:
                    return
                count, keyed = open_.pop()
            count -= 1
            if keyed:
                self._bytes()
            tag = self._byte()
            if tag in (117, 118):
                if len(open_) >= MAX_VALUE_NESTING + 1:
                    raise self._too_deep()
                open_.append((count, keyed))
                count, keyed = self._varint(), tag == 118
            elif tag in (116, 119):
                self._bytes()
            elif tag == 125:
                self._match(_ONE)
            else:
                self._skip(_SIZES.get(tag))

    def _json(self) -> None:
        """A value as JSON text."""
        text = self._bytes()
        if text.count(b"[") + text.count(b"{") <= MAX_VALUE_NESTING:
            return
        depth = 0
        for byte in _JSON_STRING.sub(b"", text):
            if byte in b"[{":
                depth += 1
                if depth > MAX_VALUE_NESTING + 1:
                    raise self._too_deep()
            elif byte in b"]}":
                depth -= 1

    def _too_deep(self) -> MalformedUpdateError:
        return MalformedUpdateError(f"the update has a value nested more than {MAX_VALUE_NESTING} levels deep")

    # --- bytes ---

    def _byte(self) -> int:
        byte = self._data[self._position]
        self._position += 1
        return byte

    def _match(self, match: Callable[[bytes, int], re.Match[bytes] | None]) -> tuple[bytes, ...]:
        """The bytes of consecutive integers."""
        found = match(self._data, self._position)
        if found is None:
            raise IndexError
        self._position = found.end()
        return found.groups()

    def _varint(self) -> int:
        byte = self._data[self._position]
        if byte < 0x80:
            self._position += 1
            return byte
        return _number(self._match(_ONE)[0])

    def _bytes(self) -> bytes:
        """A text or binary value, after its length."""
        length = self._varint()
        start = self._position
        self._skip(length)
        return self._data[start : self._position]

    def _skip(self, size: int | None) -> None:
        if size is None:
            raise _malformed("it has a value of an unknown type")
        self._position += size
        if self._position > len(self._data):
            raise IndexError

    def _client(self, raw: bytes) -> int:
        client = _number(raw)
        if client >= _MAX_CLIENT:
            raise _malformed("it has an author's number that is too large")
        return client


_CONTENTS: Final[Mapping[int, Callable[[UpdateScanner], int]]] = {
    1: UpdateScanner._deleted,
    2: UpdateScanner._json_list,
    3: UpdateScanner._binary,
    5: UpdateScanner._embed,
    6: UpdateScanner._format,
    7: UpdateScanner._type,
    8: UpdateScanner._values,
    9: UpdateScanner._document,
}
