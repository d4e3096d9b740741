"""Change operations in, notifications out: `ServerXmlDocument` on a CRDT of its own or a given one."""

from __future__ import annotations

from typing import Any

import pycrdt
import pytest

from meshagent.api.documents.xml_document import ServerXmlDocument
from meshagent.api.errors import InvalidRequestError, NotFoundError


def element(name: str, *children: Any, **attributes: Any) -> dict[str, Any]:
    return {"element": {"name": name, "attributes": attributes, "children": list(children)}}


def text(content: str) -> dict[str, Any]:
    return {"text": {"delta": [{"insert": content}]}}


def test_wrapping_a_binding_document() -> None:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    seen: list[Any] = []
    xml = ServerXmlDocument(doc, False, seen.append)
    node = {
        "element": {"name": "box", "attributes": {"$id": "1"}, "children": [{"text": {"delta": [{"insert": "x"}]}}]}
    }
    later = {"nodeID": "1", "setAttributes": {"a": None}, "deleteChildren": {"length": 9}}
    xml.apply_changes([{"nodeID": None, "insertChildren": {"index": 0, "children": [node]}}, later])
    assert str(doc.get("xml", type=pycrdt.XmlFragment)).startswith("<box")
    assert seen[0]["elements"][0]["insert"][0]["element"]["children"] == []
    update = xml.take_update()
    assert update is not None
    again = ServerXmlDocument(notify_changes=seen.append)
    again.apply_update(update)
    assert again.take_update() is None
    assert seen[1] == seen[0]
    bad_nodes: list[Any] = [{"element": {}}, {"element": {"name": 3}}, {}]
    for bad in bad_nodes:
        with pytest.raises(InvalidRequestError):
            xml.apply_changes([{"nodeID": None, "insertChildren": {"children": [bad]}}])


def test_notifications_count_characters_where_the_crdt_counts_bytes() -> None:
    seen: list[Any] = []
    xml = ServerXmlDocument(notify_changes=seen.append)
    xml.apply_changes(
        [{"nodeID": None, "insertChildren": {"children": [element("text", text("é😀x"), **{"$id": "t"})]}}]
    )
    seen.clear()
    xml.apply_changes([{"nodeID": "t", "deleteText": {"index": 2, "length": 1}}])
    [change] = seen
    assert (change["root"], change["target"]) == (False, "t")
    steps = [{name: value for name, value in step.items() if value is not None} for step in change["text"]]
    assert steps == [{"retain": 2}, {"delete": 1}]


def test_changes_before_a_failing_one_stay() -> None:
    xml = ServerXmlDocument()
    insert = {"nodeID": None, "insertChildren": {"children": [element("p", **{"$id": "p"})]}}
    with pytest.raises(NotFoundError, match="'nobody'"):
        xml.apply_changes([insert, {"nodeID": "nobody", "delete": {}}])
    xml.apply_changes([{"nodeID": "p", "setAttributes": {"n": 1}}])
    assert xml.take_update() is not None


def test_undo_is_recorded_where_it_is_asked_for() -> None:
    xml = ServerXmlDocument(undo=True)
    assert not xml.undo()
    xml.apply_changes([{"nodeID": None, "setAttributes": {"title": "T"}}])
    assert xml.undo()
    assert xml.redo()
    assert not xml.redo()
