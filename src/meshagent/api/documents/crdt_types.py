"""Types for those parts of pycrdt that documents use.

On the path of each edit, pycrdt's low-level objects take a third of the time of its Python wrappers, but their type
stubs are incomplete. `crdt_doc` is the only module that creates these objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeGuard

from pycrdt import _pycrdt

__all__ = [
    "Transaction",
    "XmlContainer",
    "XmlElement",
    "XmlEvent",
    "XmlMap",
    "XmlNode",
    "XmlText",
    "is_element",
    "is_text",
    "is_xml_event",
]


class Transaction(Protocol):
    """An open transaction; every read and write takes one. `drop` releases it, after `commit` or without."""

    def commit(self) -> None: ...
    def drop(self) -> None: ...


class XmlNode(Protocol):
    """A node of the tree. Two objects for one node are equal and have the same hash. A root has no parent."""

    def __hash__(self) -> int: ...
    def parent(self) -> XmlNode | None: ...


class XmlContainer(XmlNode, Protocol):
    """The root fragment or an element: a list of children. Indices must be in range."""

    def len(self, txn: Transaction) -> int: ...
    def get(self, txn: Transaction, index: int) -> XmlNode: ...
    def children(self, txn: Transaction) -> list[XmlNode]: ...
    def remove_range(self, txn: Transaction, index: int, length: int, /) -> None: ...
    def insert_str(self, txn: Transaction, index: int, text: str) -> XmlText: ...
    def insert_element_prelim(self, txn: Transaction, index: int, tag: str) -> XmlElement: ...


class _Attributed(Protocol):
    """A node with attributes."""

    def attributes(self, txn: Transaction) -> list[tuple[str, Any]]: ...
    def insert_attribute(self, txn: Transaction, name: str, value: Any) -> None: ...
    def remove_attribute(self, txn: Transaction, name: str) -> None: ...


class XmlElement(XmlContainer, _Attributed, Protocol):
    """An element: a tag, attributes and children."""

    def tag(self) -> str | None: ...


class XmlText(XmlNode, _Attributed, Protocol):
    """A text. Offsets and lengths count UTF-8 bytes; an embedded value counts one. `diff` returns its runs."""

    def diff(self, txn: Transaction) -> list[tuple[Any, dict[str, Any] | None]]: ...
    def insert(self, txn: Transaction, index: int, text: str, attrs: Iterator[tuple[str, Any]], /) -> None: ...
    def format(self, txn: Transaction, index: int, length: int, attrs: Iterator[tuple[str, Any]], /) -> None: ...
    def remove_range(self, txn: Transaction, index: int, length: int, /) -> None: ...


class XmlMap(Protocol):
    """The root as a map of its attributes. `get` raises for a missing key."""

    def get(self, txn: Transaction, key: str) -> Any: ...
    def has(self, txn: Transaction, key: str) -> bool: ...
    def keys(self, txn: Transaction) -> list[str]: ...
    def insert(self, txn: Transaction, key: str, value: Any) -> None: ...
    def remove(self, txn: Transaction, key: str) -> None: ...


class XmlEvent(Protocol):
    """What one transaction changed in one node.

    `delta` entries hold one of `retain`, `insert`, `delete`; `keys` maps attribute names to changes;
    `path` has one index for each level below the root.
    """

    @property
    def target(self) -> XmlNode: ...
    @property
    def delta(self) -> list[dict[str, Any]]: ...
    @property
    def keys(self) -> dict[str, dict[str, Any]]: ...
    @property
    def path(self) -> list[int]: ...


def is_element(node: object) -> TypeGuard[XmlElement]:
    return isinstance(node, _pycrdt.XmlElement)


def is_text(node: object) -> TypeGuard[XmlText]:
    return isinstance(node, _pycrdt.XmlText)


def is_xml_event(event: object) -> TypeGuard[XmlEvent]:
    """False for events of other shared types, which an update can nest in the tree."""
    return isinstance(event, _pycrdt.XmlEvent)
