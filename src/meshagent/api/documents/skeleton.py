"""The skeleton of a document's tree: which element has which id, in which order, and the plain text of each text node.

Source: protocol 8.4.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from meshagent.api.documents.crdt_types import XmlContainer, XmlText

__all__ = ["ElementIds", "SkeletonElement", "SkeletonText", "removed_by"]


class SkeletonElement:
    """An element; the root has no id. Content that is not a node is None, so that positions are right."""

    __slots__ = ("children", "id", "raw")

    def __init__(self, raw: XmlContainer, element_id: str | None) -> None:
        self.raw = raw
        self.id = element_id
        self.children: list[SkeletonElement | SkeletonText | None] = []


class SkeletonText:
    """A text node."""

    __slots__ = ("owner", "raw", "text")

    def __init__(self, raw: XmlText, owner: SkeletonElement, text: str) -> None:
        self.raw = raw
        self.owner = owner
        self.text = text


class ElementIds:
    """The elements of a copy by their ids, each of which belongs to one element at a time.

    Other editors write elements without `$id`, or two with the same one. Such an element has an id that only this copy
    knows, until the one it states is free, or the room gives it another one.
    """

    def __init__(self) -> None:
        self._elements: dict[str, SkeletonElement] = {}
        self._waiting: dict[SkeletonElement, str] = {}
        self._leaving: frozenset[SkeletonElement] = frozenset()

    def find(self, element_id: str) -> SkeletonElement | None:
        """The element with that id."""
        return self._elements.get(element_id)

    def expect_removal(self, elements: Iterable[SkeletonElement]) -> None:
        """Note what the changes at hand remove: a copy of an element may come before it is gone, with its id."""
        self._leaving = frozenset(elements)

    def is_leaving(self, element: SkeletonElement) -> bool:
        """Whether the changes at hand remove that element."""
        return element in self._leaving

    def add(self, element: SkeletonElement, stated: object) -> str:
        """Register a new element that states this `$id`; returns the id that it has."""
        if self._is_free(stated):
            element_id = str(stated)
        else:
            element_id = str(uuid.uuid4())
            if isinstance(stated, str):
                self._waiting[element] = stated
        self._elements[element_id] = element
        element.id = element_id
        return element_id

    def rename(self, element: SkeletonElement, stated: object) -> bool:
        """Note that an element states another `$id`; returns whether it has it now."""
        self._waiting.pop(element, None)
        if stated == element.id:
            return True
        if not self._is_free(stated):
            if isinstance(stated, str):
                self._waiting[element] = stated
            return False
        self._drop(element)
        element.id = str(stated)
        self._elements[element.id] = element
        return True

    def remove(self, element: SkeletonElement) -> None:
        """Forget an element that is gone."""
        self._waiting.pop(element, None)
        self._drop(element)

    def settle(self) -> Iterator[tuple[str | None, str]]:
        """Give elements the ids they state as far as these are free by now; yields old and new ids."""
        self._leaving = frozenset()
        progress = True
        while progress and self._waiting:
            progress = False
            for element, stated in list(self._waiting.items()):
                if self._is_free(stated):
                    old = element.id
                    self.rename(element, stated)
                    progress = True
                    yield old, stated

    def _is_free(self, stated: object) -> bool:
        if not isinstance(stated, str) or not stated:
            return False
        holder = self._elements.get(stated)
        return holder is None or holder in self._leaving

    def _drop(self, element: SkeletonElement) -> None:
        if element.id is not None and self._elements.get(element.id) is element:
            del self._elements[element.id]


def removed_by(
    changes: Iterable[tuple[SkeletonElement, Iterable[Mapping[str, Any]]]],
) -> Iterator[SkeletonElement]:
    """The elements that changes of children remove, with their descendants; the skeleton is as before the changes."""
    for parent, delta in changes:
        position = 0
        for step in delta:
            if "delete" in step:
                for child in parent.children[position : position + step["delete"]]:
                    yield from _elements_below(child)
            if "insert" not in step:
                position += step.get("delete", 0) + step.get("retain", 0)


def _elements_below(node: SkeletonElement | SkeletonText | None) -> Iterator[SkeletonElement]:
    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, SkeletonElement):
            yield node
            todo.extend(node.children)
