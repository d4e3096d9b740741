"""The JSON form that is kept: always what the document is, and patched by parts as it would be as a whole."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.documents import json_view, patch
from meshagent.api.documents.json_reader import STEP_NODES
from meshagent.api.documents.server_document import ServerDocument
from meshagent.api.errors import InvalidRequestError
from tests.api.documents.test_patch_json import make, nodes, page, pages
from tests.support.crdt_peer import CrdtPeer
from tests.support.hypothesis_profiles import examples


def assert_kept_is_right(document: ServerDocument) -> None:
    for include_ids in (True, False):
        assert document.view(include_ids=include_ids) == document.to_json(include_ids=include_ids)


def changed(content: Any, number: int, node: Any) -> dict[str, Any]:
    """Another version of a document with ids, which shares what it leaves."""
    body = dict(content["page"])
    children = body["children"] = list(body["children"])
    index = number % (len(children) + 1)
    at = children[index] if index < len(children) else None
    match number % 7:
        case 0:
            children.insert(index, node)
        case 1 if at is not None:
            del children[index]
        case 2 if at is not None:
            children.append(children.pop(index))
        case 3 if at is not None and "p" in at:
            children[index] = {"p": {**at["p"], "n": number}}
        case 4 if at is not None and "p" in at:
            children[index] = {"p": {name: value for name, value in at["p"].items() if name == "$id"}}
        case 5 if at is not None and "text" in at:
            text = {"text": {"delta": [{"insert": f"new {number}", "attributes": {}}]}}
            children[index] = {"text": {**at["text"], "runs": [text, *at["text"]["runs"][1:]]}}
        case 6 if at is not None and "box" in at:
            children[index] = {"box": {**at["box"], "items": [*at["box"]["items"], node]}}
        case _:
            body["title"] = f"title {number}"
    return {"page": body}


@settings(max_examples=examples(150), deadline=None)
@given(pages, st.lists(st.tuples(st.integers(0, 200), nodes), max_size=6))
def test_a_patch_by_parts_makes_what_one_of_the_whole_makes(start: Any, edits: list[tuple[int, Any]]) -> None:
    document = make(page(start[0], **start[1]))
    whole = ServerDocument(document.schema)
    whole.load([document.encode_state()])
    for number, node in edits:
        target = changed(document.view(include_ids=True), number, node)
        update = document.patch_json(target)
        whole.patch_json(copy.deepcopy(target))
        assert_kept_is_right(document)
        assert document.to_json() == whole.to_json()
        if update is not None:
            whole = ServerDocument(document.schema)  # new elements have ids of their own in both
            whole.load([document.encode_state()])


def test_an_edit_of_somebody_ends_what_is_kept() -> None:
    document = make(page([{"p": {"n": 1}}]))
    peer = CrdtPeer(state=document.encode_state())
    first, version = document.view(), document.content_version()
    assert document.view() == first
    peer.add("p", n=2.0)
    document.apply(peer.take())
    assert document.content_version() != version
    assert_kept_is_right(document)


def test_a_patch_of_one_value_reads_and_writes_one_element(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    for module in (patch, json_view):
        for name in ("read_element", "clean_attributes"):
            real = getattr(module, name)

            def counted(*args: Any, real: Any = real, name: str = name) -> Any:
                read.append(name)
                return real(*args)

            monkeypatch.setattr(module, name, counted)
    document = make(page([{"p": {"n": number}} for number in range(2_000)]))
    target = document.view(include_ids=True)
    body = {**target["page"], "children": list(target["page"]["children"])}
    body["children"][1_000] = {"p": {**body["children"][1_000]["p"], "n": -1}}
    update = document.patch_json({"page": body})
    assert update is not None
    assert len(update) < 60
    assert read == ["clean_attributes"]
    assert_kept_is_right(document)


def test_reading_is_done_in_steps_and_given_up_when_the_document_changes() -> None:
    document = make(page([{"p": {"n": number}} for number in range(10 * STEP_NODES)]))
    steps = document.view_steps()
    assert sum(1 for _ in steps) == 10
    assert document.has_view
    peer = CrdtPeer(state=document.encode_state())
    del peer.root.children[0]
    document.apply(peer.take())
    steps = document.view_steps()
    next(steps)
    del peer.root.children[0]
    document.apply(peer.take())
    assert list(steps) == []
    assert not document.has_view
    assert_kept_is_right(document)


def test_a_patch_that_does_not_fit_changes_nothing() -> None:
    document = make(page([{"p": {"n": 1}}, {"p": {"n": 2}}]))
    before = document.view(include_ids=True)
    ids = [child["p"]["$id"] for child in before["page"]["children"]]
    wrong: list[Any] = [
        [{"p": {"$id": ids[0], "n": "text"}}, before["page"]["children"][1]],
        [{"p": {"$id": ids[0], "unknown": 1}}, before["page"]["children"][1]],
        [*before["page"]["children"], {"p": {"$id": ids[0]}}],
        [*before["page"]["children"], {"slide": {}}],
        [3],
        "children",
    ]
    for children in wrong:
        with pytest.raises(InvalidRequestError):
            document.patch_json({"page": {"children": children}})
        assert document.view(include_ids=True) == before == document.to_json(include_ids=True)
