"""The node form of change operations, and nodes between it and the CRDT."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.documents.changes import node_from_json, node_to_json
from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import read_root, write_root
from meshagent.api.documents.tree import ID, ElementNode, Node, TextNode, TextRun
from meshagent.api.errors import InvalidRequestError

names = st.text("abc", min_size=1, max_size=3)
texts = st.lists(st.builds(TextRun, st.text("aé😀", min_size=1, max_size=3), st.just({})), max_size=1).map(TextNode)
elements = st.recursive(
    st.builds(ElementNode, names, st.dictionaries(names, st.integers(-9, 9) | st.text("xé"), max_size=2)),
    lambda children: st.builds(ElementNode, names, st.just({}), st.lists(children | texts, max_size=3)),
    max_leaves=6,
)


@given(elements)
def test_nodes_survive_the_node_form(node: ElementNode) -> None:
    assert node_from_json(node_to_json(node)) == node


@given(st.lists(elements, max_size=3), st.dictionaries(names, st.integers(-9, 9), max_size=2))
def test_nodes_survive_the_crdt(children: list[Node], attributes: dict[str, Any]) -> None:
    doc = CrdtDoc()
    with doc.transaction() as txn:
        write_root(doc, txn, ElementNode("page", attributes, children))
    with doc.transaction() as txn:
        read = read_root(doc, txn, "page")
    assert (read.tag, read.attributes) == ("page", attributes)
    assert [without_ids(child) for child in read.children] == children


def without_ids(node: Node) -> Node:
    """The node without the ids that the CRDT gives to elements, each of which must have one."""
    if isinstance(node, TextNode):
        return node
    attributes = dict(node.attributes)
    assert isinstance(attributes.pop(ID), str)
    return ElementNode(node.tag, attributes, [without_ids(child) for child in node.children])


@pytest.mark.parametrize(
    "json",
    [{}, {"element": {}}, {"element": {"name": 3}}, {"element": {"name": "p", "attributes": {"n": {1, 2}}}}],
)
def test_what_is_no_node_is_refused(json: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        node_from_json(json)
