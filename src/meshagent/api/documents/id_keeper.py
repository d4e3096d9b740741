"""Keeps the `$id`s of a room's document unique, whatever other editors write.

An editor may write an element without `$id`, with one that is no text, or with one that another element has: two people
who move one element make two copies of it. It may also change a `$id`. The room gives such an element an id, as an
ordinary edit, so that all copies agree.

Source: protocol 8.8.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeGuard

from meshagent.api.documents.crdt_tree import children_of
from meshagent.api.documents.crdt_types import Transaction, XmlContainer, XmlElement, is_element
from meshagent.api.documents.tree import ID
from meshagent.api.documents.update_scan import UpdateScan

__all__ = ["IdKeeper"]

_SHORT_RANGE: Final = 16


class IdKeeper:
    """The `$id`s of one document.

    Which ids are in use is known from the changes in updates, so that a new element costs one look-up, and the tree is
    not searched. An id that was set in place of another is not recognised there; it is only known to have been used.
    """

    def __init__(self) -> None:
        self._by_change: dict[int, dict[int, str]] = {}  # of each author: number of a change → the `$id` it set
        self._uses: dict[str, int] = {}
        self._overwritten: set[str] = set()
        self._given: set[str] = set()  # to elements whose authors may still set one of their own
        self.missing = 0
        """About how many new elements have no `$id` yet. Clients set it in an update of its own."""

    def note(self, scan: UpdateScan) -> None:
        """Follow an update that the document has now."""
        for client, clock, element_id in scan.ids:
            of_author = self._by_change.setdefault(client, {})
            if clock not in of_author:
                of_author[clock] = element_id
                self._uses[element_id] = self._uses.get(element_id, 0) + 1
        known = self._by_change
        long: list[tuple[int, int, int]] = []
        for client, start, end in scan.deletions:
            changes = known.get(client)
            if not changes:
                continue
            if end - start > _SHORT_RANGE:
                long.append((client, start, end))
                continue
            for clock in range(start, end):
                if clock in changes:
                    self._forget(changes.pop(clock))
        for client, ranges in _by_author(long).items() if long else ():
            by_clock = known[client]
            for clock in _within(by_clock, ranges):
                self._forget(by_clock.pop(clock))

    def is_used(self, element_id: str) -> bool:
        """Whether an element has that id, or may have it."""
        return element_id in self._uses or element_id in self._overwritten

    def check_new(self, txn: Transaction, root: XmlContainer, stated: object, given: Mapping[Any, str]) -> str | None:
        """The id to give to a new element; None if it may keep what it states, or shall get one later.

        Args:
            txn: The open transaction.
            root: The root of the tree.
            stated: Its `$id`; None if it has none.
            given: Ids that are given to other elements of the same update.
        """
        if stated is None:
            self.missing += 1
            return None
        if not _is_id(stated):
            return self._fresh()
        replaced = sum(1 for old in given.values() if old == stated) if given else 0
        uses = self._uses.get(stated, 0)
        if stated in self._overwritten:
            uses = sum(1 for _, element_id in _walk(txn, root) if element_id == stated)
            if uses <= 1:
                self._overwritten.discard(stated)
        return self._fresh() if uses - replaced > 1 else None

    def check_change(self, change: Mapping[str, Any]) -> str | None:
        """The id to give to an element whose `$id` was changed, an entry of `XmlEvent.keys`, or None."""
        old, new = change.get("oldValue"), change.get("newValue")
        if change["action"] == "add":
            self.missing = max(self.missing - 1, 0)
            return None if _is_id(new) and self._uses.get(new, 0) <= 1 else self._fresh()
        is_free = _is_id(new) and not self._uses.get(new, 0) and new not in self._overwritten
        if is_free and (old in self._given or not _is_id(old)):
            self._given.discard(old)
            self._overwritten.add(str(new))
            return None
        if _is_id(old) and not self._uses.get(old, 0):
            self._overwritten.add(old)
            return old
        return self._fresh()

    def audit(self, txn: Transaction, root: XmlContainer) -> list[tuple[XmlElement, str]]:
        """All elements that must get an id, with that id; searches the whole tree."""
        self.missing = 0
        seen: set[str] = set()
        found = []
        for element, stated in _walk(txn, root):
            if _is_id(stated) and stated not in seen:
                seen.add(stated)
            else:
                element_id = self._fresh()
                if stated is None:
                    self._given.add(element_id)
                found.append((element, element_id))
        return found

    def _fresh(self) -> str:
        element_id = str(uuid.uuid4())
        self._overwritten.add(element_id)
        return element_id

    def _forget(self, element_id: str) -> None:
        uses = self._uses.get(element_id, 0)
        if uses > 1:
            self._uses[element_id] = uses - 1
        else:
            self._uses.pop(element_id, None)


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _walk(txn: Transaction, root: XmlContainer) -> Iterator[tuple[XmlElement, object]]:
    """All elements in the order of the document, with their `$id`s."""
    todo: list[object] = [*reversed(children_of(txn, root))]
    while todo:
        node = todo.pop()
        if is_element(node):
            yield node, next((value for name, value in node.attributes(txn) if name == ID), None)
            todo.extend(reversed(children_of(txn, node)))


def _by_author(deletions: Iterable[tuple[int, int, int]]) -> dict[int, list[tuple[int, int]]]:
    ranges: dict[int, list[tuple[int, int]]] = {}
    for client, start, end in deletions:
        ranges.setdefault(client, []).append((start, end))
    return ranges


def _within(changes: Mapping[int, str], ranges: list[tuple[int, int]]) -> list[int]:
    """The changes with numbers in one of the ranges, in time that the smaller of both determines."""
    if sum(end - start for start, end in ranges) <= len(changes):
        return sorted({clock for start, end in ranges for clock in range(start, end) if clock in changes})
    found: list[int] = []
    ordered = iter(sorted(ranges))
    start, end = next(ordered, (0, 0))
    for clock in sorted(changes):
        while clock >= end:
            following = next(ordered, None)
            if following is None:
                return found
            start, end = following
        if clock >= start:
            found.append(clock)
    return found
