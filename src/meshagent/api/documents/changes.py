"""Writes change operations into the CRDT (protocol 8.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import children_of, insert_node
from meshagent.api.documents.crdt_types import (
    Transaction,
    XmlContainer,
    XmlElement,
    XmlNode,
    XmlText,
    is_element,
    is_text,
)
from meshagent.api.documents.tree import ID, ElementNode, Node, TextNode, runs_from_json
from meshagent.api.documents.values import check_text, check_value, utf8_offset
from meshagent.api.errors import InvalidRequestError, NotFoundError

__all__ = ["ChangeWriter", "node_from_json", "node_to_json"]


def node_to_json(node: Node) -> dict[str, Any]:
    """The node form of change operations: `{"element": {"name", "attributes", "children"}}` or a text."""
    if isinstance(node, TextNode):
        return node.to_json()
    children = [node_to_json(child) for child in node.children]
    return {"element": {"name": node.tag, "attributes": dict(node.attributes), "children": children}}


def node_from_json(json: Mapping[str, Any]) -> Node:
    """Read the node form; `InvalidRequestError` if it is not one or holds what a document cannot hold."""
    if isinstance(text := json.get("text"), Mapping):
        return TextNode(runs_from_json(text.get("delta", [])))
    element = json.get("element")
    if not isinstance(element, Mapping) or not isinstance(element.get("name"), str):
        raise InvalidRequestError("a node must have an `element` with a `name`, or a `text`")
    check_text(element["name"], "name")
    attributes = dict(element.get("attributes") or {})
    check_value(attributes, element["name"])
    return ElementNode(element["name"], attributes, [node_from_json(child) for child in element.get("children") or []])


class ChangeWriter:
    """Writes the changes of one transaction.

    Args:
        txn: The open transaction.
        doc: The document.
        find: Handles of the elements that existed before the transaction, by `$id`.
    """

    def __init__(self, txn: Transaction, doc: CrdtDoc, find: Callable[[str], XmlElement | None]) -> None:
        self._txn = txn
        self._doc = doc
        self._find = find
        self._new: dict[str, XmlElement] = {}

    def write(self, change: Mapping[str, Any]) -> None:
        """Write one change, its parts in the order of the table of change operations (protocol 8.5)."""
        node_id = change.get("nodeID")
        element = None if node_id is None else self._element(node_id)
        if change.get("delete") is not None:
            self._delete(element)
            return
        parent: XmlContainer = self._doc.root if element is None else element
        if (insert := change.get("insertChildren")) is not None:
            self._insert_children(parent, insert)
        if (delete := change.get("deleteChildren")) is not None:
            self._delete_children(parent, delete)
        for name in change.get("removeAttributes") or ():
            self._remove_attribute(element, name)
        for name, value in (change.get("setAttributes") or {}).items():
            self._set_attribute(element, name, value)
        if (insert := change.get("insertText")) is not None:
            self._insert_text(self._text_of(element), insert)
        if (form := change.get("formatText")) is not None:
            self._format_text(self._text_of(element), form)
        if (delete := change.get("deleteText")) is not None:
            self._delete_text(self._text_of(element), delete)

    def _element(self, node_id: str) -> XmlElement:
        element = self._new.get(node_id) or self._find(node_id)
        if element is None:
            raise NotFoundError(f"the document has no element with the id {node_id!r:.80}")
        return element

    def _delete(self, element: XmlElement | None) -> None:
        if element is None:
            raise InvalidRequestError("the root of a document cannot be deleted")
        parent = element.parent()
        container: XmlContainer = parent if is_element(parent) else self._doc.root
        container.remove_range(self._txn, self._index(container, element), 1)

    def _insert_children(self, parent: XmlContainer, insert: Mapping[str, Any]) -> None:
        nodes = [node_from_json(child) for child in insert.get("children") or ()]
        index = self._position(parent, insert, default=parent.len(self._txn))
        for offset, node in enumerate(nodes):
            self._note(insert_node(self._txn, parent, index + offset, node))

    def _note(self, node: XmlNode) -> None:
        """Remember new elements, because later changes of the transaction may name them."""
        if is_element(node):
            for name, value in node.attributes(self._txn):
                if name == ID:
                    self._new[value] = node
            for child in node.children(self._txn):
                self._note(child)

    def _delete_children(self, parent: XmlContainer, delete: Mapping[str, Any]) -> None:
        index = self._position(parent, delete, default=0)
        length = min(delete["length"], parent.len(self._txn) - index)
        if length > 0:
            parent.remove_range(self._txn, index, length)

    def _position(self, parent: XmlContainer, where: Mapping[str, Any], *, default: int) -> int:
        """The index that `after` or `index` names, never beyond the end."""
        if where.get("after") is not None:
            return self._index(parent, self._element(where["after"])) + 1
        index = where.get("index")
        if index is None:
            return default
        if index < 0:
            raise InvalidRequestError("an index must not be negative")
        return min(int(index), parent.len(self._txn))

    def _index(self, parent: XmlContainer, element: XmlElement) -> int:
        try:
            return children_of(self._txn, parent).index(element)
        except ValueError as error:
            raise NotFoundError("the element is not a child of that parent") from error

    def _remove_attribute(self, element: XmlElement | None, name: str) -> None:
        if element is not None:
            element.remove_attribute(self._txn, name)
        elif self._doc.root_map.has(self._txn, name):
            self._doc.root_map.remove(self._txn, name)

    def _set_attribute(self, element: XmlElement | None, name: str, value: Any) -> None:
        check_value({name: value}, str(name))
        if element is None:
            self._doc.root_map.insert(self._txn, name, value)
        else:
            element.insert_attribute(self._txn, name, value)

    def _text_of(self, element: XmlElement | None) -> tuple[XmlText, str]:
        """The text node of an element and its plain text, embedded values as one character of one byte."""
        children: Sequence[XmlNode] = () if element is None else element.children(self._txn)
        text = next(filter(is_text, children), None)
        if text is None:
            raise InvalidRequestError("the element has no text")
        inserts = (insert for insert, _ in text.diff(self._txn))
        return text, "".join(insert if isinstance(insert, str) else "\x1a" for insert in inserts)

    def _insert_text(self, target: tuple[XmlText, str], insert: Mapping[str, Any]) -> None:
        text, plain = target
        attributes = dict(insert.get("attributes") or {})
        check_text(insert["text"], "text")
        check_value(attributes, "attributes")
        if insert["text"]:
            offset = utf8_offset(plain, _clamp(insert["index"], len(plain)))
            text.insert(self._txn, offset, insert["text"], iter(attributes.items()))

    def _format_text(self, target: tuple[XmlText, str], form: Mapping[str, Any]) -> None:
        text, plain = target
        attributes = dict(form.get("attributes") or {})
        check_value(attributes, "attributes")
        start, length = _byte_range(plain, form["from"], form["length"])
        if length and attributes:
            text.format(self._txn, start, length, iter(attributes.items()))

    def _delete_text(self, target: tuple[XmlText, str], delete: Mapping[str, Any]) -> None:
        text, plain = target
        start, length = _byte_range(plain, delete["index"], delete["length"])
        if length:
            text.remove_range(self._txn, start, length)


def _byte_range(plain: str, index: int, length: int) -> tuple[int, int]:
    start = _clamp(index, len(plain))
    end = _clamp(start + length, len(plain))
    first = utf8_offset(plain, start)
    return first, max(utf8_offset(plain, end) - first, 0)


def _clamp(index: int, size: int) -> int:
    """A position beyond the end means the end; a negative one is an error."""
    if index < 0:
        raise InvalidRequestError("positions and lengths in a text must not be negative")
    return min(index, size)
