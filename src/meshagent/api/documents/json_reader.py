"""Reads a document as JSON in small steps, between which others may work.

Source: protocol 8.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import read_root_attributes, read_text
from meshagent.api.documents.crdt_types import Transaction, XmlElement, XmlNode, is_element, is_text
from meshagent.api.documents.schema import MeshSchema
from meshagent.api.documents.tree import ID
from meshagent.api.documents.values import clean_attributes

__all__ = ["STEP_NODES", "JsonReader"]

STEP_NODES: Final = 256
"""How many nodes are read in one step."""


class _Task(NamedTuple):
    """A node, and the lists of children that it goes to: that with ids and that without."""

    raw: XmlNode
    with_ids: list[Any]
    plain: list[Any]


class JsonReader:
    """Reads a document.

    Attributes:
        content: Its JSON form with ids, when all is read.
        plain: The form without ids of each of its elements, by identity.
        has_own_ids: Whether each element has an id of its own.
    """

    def __init__(self, doc: CrdtDoc, schema: MeshSchema) -> None:
        self._doc = doc
        self._schema = schema
        self._todo: list[_Task] = []
        self._ids: set[str] = set()
        self.content: dict[str, Any] = {}
        self.plain: dict[int, Any] = {}
        self.has_own_ids = True

    def steps(self) -> Iterator[None]:
        """Read; between two steps the document must not change, or else the rest must not be read."""
        with self._doc.transaction() as txn:
            self._read_root(txn)
        while self._todo:
            yield
            with self._doc.transaction() as txn:
                for _ in range(min(STEP_NODES, len(self._todo))):
                    self._read(txn, self._todo.pop())

    def _read_root(self, txn: Transaction) -> None:
        root_type = self._schema.root
        body = read_root_attributes(self._doc, txn)
        plain = {name: value for name, value in body.items() if name != ID}
        if root_type.child_property is not None:
            self._add_children(self._doc.root.children(txn), root_type.child_property.name, body, plain)
        self.content = {root_type.tag_name: body}
        self.plain[id(self.content)] = (self.content, {root_type.tag_name: plain})

    def _read(self, txn: Transaction, task: _Task) -> None:
        if is_text(task.raw):
            text = read_text(txn, task.raw).to_json()
            task.with_ids.append(text)
            task.plain.append(text)
        elif is_element(task.raw):
            self._read_element(txn, task.raw, task)

    def _read_element(self, txn: Transaction, raw: XmlElement, task: _Task) -> None:
        tag = raw.tag() or ""
        body = clean_attributes(raw.attributes(txn))
        plain = dict(body)
        self._note_id(plain.pop(ID, None))
        element_type = self._schema.elements_by_tag_name.get(tag)
        if element_type is not None and element_type.child_property is not None:
            self._add_children(raw.children(txn), element_type.child_property.name, body, plain)
        element, without_id = {tag: body}, {tag: plain}
        task.with_ids.append(element)
        task.plain.append(without_id)
        self.plain[id(element)] = (element, without_id)

    def _add_children(self, children: list[XmlNode], name: str, body: dict[str, Any], plain: dict[str, Any]) -> None:
        body[name], plain[name] = [], []
        self._todo.extend(_Task(child, body[name], plain[name]) for child in reversed(children))

    def _note_id(self, element_id: object) -> None:
        if isinstance(element_id, str) and element_id and element_id not in self._ids:
            self._ids.add(element_id)
        else:
            self.has_own_ids = False
