"""How deep an update nests elements in each other, found before the CRDT library sees it.

Source: protocol 8.4; Yjs update format v1.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, NamedTuple

from meshagent.api.documents.update_format import read_varint
from meshagent.api.documents.update_scan import MalformedUpdateError, UpdateScanner

__all__ = ["MAX_ELEMENT_NESTING", "check_nesting"]

MAX_ELEMENT_NESTING: Final = 512
"""How deep one update may nest elements; what is below that, but deeper than a document allows, is repaired."""


class _Reference(NamedTuple):
    """Where a change is: below its parent (`steps` is 1), or beside a neighbour (0)."""

    client: int
    clock: int
    steps: int


_Change = tuple[int, int]  # an author, and the position of the change among its changes in the update


class _NestingScanner(UpdateScanner):
    """Notes where each change of an update is."""

    __slots__ = ("_reference", "references", "starts")

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._reference: _Reference | None = None
        self.starts: dict[int, list[int]] = {}
        self.references: dict[int, list[_Reference | None]] = {}

    def _change(self, client: int, clock: int) -> int:
        self._reference = None
        length = super()._change(client, clock)
        self.starts.setdefault(client, []).append(clock)
        self.references.setdefault(client, []).append(self._reference)
        return length

    def _origins(self, info: int) -> bytes | None:
        position = self._position
        key = super()._origins(info)
        has_neighbour = bool(info & 0xC0)
        if not has_neighbour:
            in_root, position = read_varint(self._data, position)
            if in_root == 1:
                return key
        client, position = read_varint(self._data, position)
        clock, _ = read_varint(self._data, position)
        self._reference = _Reference(client, clock, 0 if has_neighbour else 1)
        return key

    def find(self, client: int, clock: int) -> _Change | None:
        """The change of the update that has that number of an author."""
        starts = self.starts.get(client)
        if starts is None or not starts[0] <= clock < self._ends[client]:
            return None
        return client, bisect_right(starts, clock) - 1


def check_nesting(update: bytes, limit: int = MAX_ELEMENT_NESTING) -> None:
    """Raise `MalformedUpdateError` if the update nests elements in each other deeper than `limit` within itself."""
    scanner = _NestingScanner(update)
    scanner.scan()
    depths: dict[_Change, int] = {}
    for client, references in scanner.references.items():
        for index in range(len(references)):
            _measure(scanner, (client, index), depths, limit)


def _measure(scanner: _NestingScanner, change: _Change, depths: dict[_Change, int], limit: int) -> None:
    """Note the depth of a change and of what it is in, which others are in, too."""
    path: dict[_Change, int] = {}
    at: _Change | None = change
    while at is not None and at not in depths:
        if at in path:
            raise MalformedUpdateError("not a document update: its changes depend on each other in a circle")
        reference = scanner.references[at[0]][at[1]]
        path[at] = 0 if reference is None else reference.steps
        at = None if reference is None else scanner.find(reference.client, reference.clock)
    depth = 0 if at is None else depths[at]
    for inner, steps in reversed(path.items()):
        depth += steps
        depths[inner] = depth
    if depth > limit:
        raise MalformedUpdateError(f"the update nests elements more than {limit} levels deep")
