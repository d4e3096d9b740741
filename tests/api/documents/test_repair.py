"""Finding and removing what a schema does not allow, change by change."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import read_root, write_root
from meshagent.api.documents.repair import find_violations, remove_violations
from meshagent.api.documents.tree import ID, ElementNode, TextNode, TextRun
from tests.support.doc_schemas import page_schema


def written(*children: ElementNode | TextNode, **attributes: Any) -> CrdtDoc:
    """A document into which somebody wrote these nodes without looking at the schema."""
    doc = CrdtDoc()
    with doc.transaction() as txn:
        write_root(doc, txn, ElementNode("page", attributes, list(children)))
    return doc


def test_what_the_schema_allows_is_no_violation() -> None:
    doc = written(ElementNode("p", {"n": 1}), title="T")
    assert not find_violations(doc, page_schema(), doc.events)


@pytest.mark.parametrize(
    ("children", "attributes", "kept"),
    [
        pytest.param([ElementNode("zzz"), ElementNode("p")], {}, {}, id="unknown tag"),
        pytest.param([ElementNode("p", {"zzz": 1, "n": 2})], {}, {"n": 2}, id="unknown attribute"),
        pytest.param([ElementNode("p", {}, [ElementNode("p")])], {}, {}, id="child of a childless element"),
        pytest.param([TextNode([TextRun("loose")]), ElementNode("p")], {}, {}, id="text outside of `text`"),
        pytest.param([ElementNode("p")], {"zzz": 1}, {}, id="unknown attribute of the root"),
    ],
)
def test_violations_are_removed_and_nothing_else(
    children: list[ElementNode | TextNode], attributes: dict[str, Any], kept: dict[str, Any]
) -> None:
    doc = written(*children, **attributes)
    schema = page_schema()
    violations = find_violations(doc, schema, doc.events)
    assert violations
    doc.events.clear()
    with doc.transaction() as txn:
        remove_violations(doc, txn, violations)
    assert not find_violations(doc, schema, doc.events)
    with doc.transaction() as txn:
        root = read_root(doc, txn, "page")
    assert root.attributes == {}
    [child] = root.children
    assert isinstance(child, ElementNode)
    assert (child.tag, child.children) == ("p", [])
    assert {name: value for name, value in child.attributes.items() if name != ID} == kept
