"""Reads the tree of a document from its CRDT, and writes nodes into it (protocol 8.4)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from meshagent.api.documents.crdt_doc import CrdtDoc, is_panic
from meshagent.api.documents.crdt_types import (
    Transaction,
    XmlContainer,
    XmlElement,
    XmlNode,
    XmlText,
    is_element,
    is_text,
)
from meshagent.api.documents.richtext import compose
from meshagent.api.documents.tree import ID, TEXT_TAG, ElementNode, Node, TextNode, TextRun
from meshagent.api.documents.values import clean_attributes, clean_value

__all__ = [
    "children_of",
    "insert_node",
    "insert_nodes",
    "insert_runs",
    "read_element",
    "read_root",
    "read_root_attributes",
    "read_text",
    "write_root",
]


def read_root(doc: CrdtDoc, txn: Transaction, tag: str) -> ElementNode:
    """The whole document as an element with the root's tag, which the CRDT does not store."""
    node = ElementNode(tag, read_root_attributes(doc, txn))
    node.children.extend(_read_children(txn, doc.root))
    return node


def read_root_attributes(doc: CrdtDoc, txn: Transaction) -> dict[str, Any]:
    """The root's attributes."""
    return {name: clean_value(doc.root_map.get(txn, name)) for name in doc.root_map.keys(txn)}


def read_element(txn: Transaction, element: XmlElement) -> ElementNode:
    """An element with its descendants."""
    # The list of attributes, not a look-up by name: that raises for null values.
    node = ElementNode(element.tag() or "", clean_attributes(element.attributes(txn)))
    node.children.extend(_read_children(txn, element))
    return node


def read_text(txn: Transaction, text: XmlText) -> TextNode:
    """A text as runs of equal formatting."""
    runs = [
        {
            "insert": insert if isinstance(insert, str) else clean_value(insert) or {},
            "attributes": clean_attributes(attributes),
        }
        for insert, attributes in text.diff(txn)
    ]
    return TextNode(compose((), runs))  # the CRDT splits where formatting once began or ended


def _read_children(txn: Transaction, parent: XmlContainer) -> list[Node]:
    nodes: list[Node] = []
    for child in parent.children(txn):
        if is_element(child):
            nodes.append(read_element(txn, child))
        elif is_text(child):
            nodes.append(read_text(txn, child))
    return nodes


def children_of(txn: Transaction, parent: XmlContainer) -> list[XmlNode | None]:
    """The children by position; None for content that is not a node, which pycrdt cannot represent."""
    children = parent.children(txn)
    if len(children) == parent.len(txn):
        return list(children)
    return [_child_at(txn, parent, index) for index in range(parent.len(txn))]


def _child_at(txn: Transaction, parent: XmlContainer, index: int) -> XmlNode | None:
    """The child at `index`, None if it is not a node."""
    try:
        return parent.get(txn, index)
    except BaseException as error:
        if not is_panic(error):
            raise
        return None


def write_root(doc: CrdtDoc, txn: Transaction, node: ElementNode) -> None:
    """Set the root's attributes and append its children."""
    for name, value in node.attributes.items():
        if name != ID:
            doc.root_map.insert(txn, name, value)
    insert_nodes(txn, doc.root, doc.root.len(txn), node.children)


def insert_node(txn: Transaction, parent: XmlContainer, index: int, node: Node) -> XmlNode:
    """Insert a node with its descendants. Values must have passed `check_value`; `index` must be in range.

    An element without `$id` gets one; an element with the tag `text` gets its text node.
    """
    if isinstance(node, TextNode):
        text = parent.insert_str(txn, index, "")
        insert_runs(txn, text, node.runs)
        return text
    element = parent.insert_element_prelim(txn, index, node.tag)
    element.insert_attribute(txn, ID, node.attributes.get(ID) or str(uuid.uuid4()))
    for name, value in node.attributes.items():
        if name != ID:
            element.insert_attribute(txn, name, value)
    children = node.children
    if node.tag == TEXT_TAG and not (children and isinstance(children[0], TextNode)):
        children = [TextNode(), *children]
    insert_nodes(txn, element, 0, children)
    return element


def insert_nodes(txn: Transaction, parent: XmlContainer, index: int, nodes: Sequence[Node]) -> None:
    """Insert nodes with their descendants, the first of them at `index`; see `insert_node`.

    The last one is inserted first: the CRDT finds a position by counting from the first child, so that all of them
    are then as cheap as the first one.
    """
    for node in reversed(nodes):
        insert_node(txn, parent, index, node)


def insert_runs(txn: Transaction, text: XmlText, runs: list[TextRun]) -> None:
    """Fill an empty text."""
    offset = 0
    for run in runs:
        text.insert(txn, offset, run.insert, iter(run.attributes.items()))
        offset += len(run.insert.encode())
