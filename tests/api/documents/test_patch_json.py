"""Turning a document into a new version: the result, the size of the edits, and who survives them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import XmlText

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.schema import ChildProperty, ElementType, MeshSchema, ValueProperty
from meshagent.api.documents.server_document import ServerDocument
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_schemas import page_schema
from tests.support.hypothesis_profiles import examples

values = st.fixed_dictionaries(
    {},
    optional={
        "n": st.none() | st.integers(-3, 3) | st.floats(0, 1),
        "s": st.text("ab", max_size=2),
        "flag": st.booleans(),
    },
)
delta = st.lists(
    st.tuples(st.text("aé😀b", min_size=1, max_size=4), st.sampled_from([{}, {"b": True}, {"i": 1, "b": True}])),
    max_size=4,
).map(lambda runs: [{"insert": insert, "attributes": attributes} for insert, attributes in runs])
paragraphs = values.map(lambda attributes: {"p": attributes})
texts = st.tuples(delta, st.lists(paragraphs, max_size=2)).map(
    lambda pair: {"text": {"runs": [{"text": {"delta": pair[0]}}, *pair[1]]}}
)
nodes = st.recursive(
    paragraphs | texts,
    lambda children: st.lists(children, max_size=4).map(lambda items: {"box": {"items": items}}),
    max_leaves=6,
)
pages = st.tuples(st.lists(nodes, max_size=6), st.fixed_dictionaries({}, optional={"title": st.text("xy", max_size=2)}))


def page(children: list[Any], **attributes: Any) -> dict[str, Any]:
    return {"page": {**attributes, "children": children}}


def make(json: Any) -> ServerDocument:
    document = ServerDocument(page_schema())
    document.from_json(json)
    return document


def canonical(json: Any) -> Any:
    """Neighbouring runs of equal formatting are one run; empty runs are none."""
    if isinstance(json, dict):
        return {key: canonical(value) if key != "delta" else merged(value) for key, value in json.items()}
    return [canonical(item) for item in json] if isinstance(json, list) else json


def merged(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = []
    for run in runs:
        if result and result[-1]["attributes"] == run["attributes"]:
            result[-1]["insert"] += run["insert"]
        else:
            result.append(dict(run))
    return result


@settings(max_examples=examples(60), deadline=None)
@given(pages, pages)
def test_the_document_becomes_the_new_json_and_so_do_copies(old: Any, new: Any) -> None:
    document = make(page(old[0], **old[1]))
    reader = ServerDocument(page_schema())
    reader.load([document.encode_state()])
    target = page(new[0], **new[1])
    update = document.patch_json(target)
    assert document.to_json() == canonical(target)
    if update is not None:
        assert reader.apply(update).repair is None
    assert reader.to_json(include_ids=True) == document.to_json(include_ids=True)
    assert document.patch_json(target) is None
    assert document.patch_json(document.to_json(include_ids=True)) is None


@settings(max_examples=examples(60), deadline=None)
@given(pages, st.randoms(use_true_random=False))
def test_elements_named_by_id_keep_it_wherever_they_go(old: Any, rng: Any) -> None:
    document = make(page(old[0], **old[1]))
    json = document.to_json(include_ids=True)
    rng.shuffle(json["page"]["children"])
    document.patch_json(json)
    assert document.to_json(include_ids=True) == json


letters = st.lists(st.sampled_from("abc") | st.text("defgh", min_size=1, max_size=2), max_size=40)


@settings(max_examples=examples(60), deadline=None)
@given(letters, letters, st.booleans())
def test_lists_with_many_alike_become_the_new_ones_in_both_ways(old: Any, new: Any, by_parts: bool) -> None:
    def children(names: list[str]) -> list[Any]:
        return [{"p": {"s": name}} if name != "a" else {"box": {"items": []}} for name in names]

    document = make(page(children(old)))
    reader = ServerDocument(page_schema())
    reader.load([document.encode_state()])
    if by_parts:
        document.view()
    update = document.patch_json(page(children(new)))
    assert document.to_json() == document.view() == page(children(new))
    if update is not None:
        reader.apply(update)
    assert reader.to_json(include_ids=True) == document.to_json(include_ids=True)


def ids(document: ServerDocument) -> list[str]:
    return [next(iter(child.values()))["$id"] for child in document.to_json(include_ids=True)["page"]["children"]]


def test_without_ids_likeness_decides_who_stays() -> None:
    children: list[Any] = [{"p": {"s": letter}} for letter in "abcde"]
    document = make(page(children))
    a, b, c, d, e = ids(document)
    document.patch_json(page([children[0], {"box": {"items": []}}, {"p": {"s": "B"}}, *children[3:]]))
    assert [ids(document)[index] for index in (0, 3, 4)] == [a, d, e]
    assert ids(document)[2] in (b, c)


def test_one_changed_attribute_is_a_small_update() -> None:
    children = [{"p": {"s": f"number {number}"}} for number in range(300)]
    document = make(page(children))
    children[150]["p"]["s"] = "changed"
    update = document.patch_json(page(children))
    assert update is not None
    assert len(update) < 60


def test_what_others_type_meanwhile_survives() -> None:
    def with_text(content: str) -> dict[str, Any]:
        return page([{"text": {"runs": [{"text": {"delta": [{"insert": content, "attributes": {}}]}}]}}])

    document = make(with_text("one two three"))
    peer = CrdtPeer(state=document.encode_state())
    [text] = [node for child in peer.root.children for node in child.children]
    assert isinstance(text, XmlText)
    text.insert(0, "zero ")
    document.patch_json(with_text("one 2 three"))
    document.apply(peer.take())
    assert document.to_json() == with_text("zero one 2 three")


def test_the_text_of_an_element_stays_when_its_json_cannot_show_it() -> None:
    schema = MeshSchema(
        root_tag_name="page",
        elements=[
            ElementType(tag_name="page", properties=[ChildProperty(name="children", child_tag_names=["text"])]),
            ElementType(tag_name="text", properties=[ValueProperty(name="a", type="string")]),
        ],
    )
    peer = CrdtPeer()
    text = peer.add("text").children[0]
    assert isinstance(text, XmlText)
    text.insert(0, "unseen")
    document = ServerDocument(schema)
    document.load(peer.sent)
    document.patch_json({"page": {"children": [{"text": {"a": "x"}}]}})
    assert "unseen" in str(CrdtPeer(state=document.encode_state()).tree)
    assert document.to_json() == {"page": {"children": [{"text": {"a": "x"}}]}}


def test_a_patched_thread_keeps_its_ordered_children() -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    document = ServerDocument(schema)
    document.seed()
    before = document.to_json(include_ids=True)
    document.patch_json(
        {"thread": {"name": "x", "properties": [{"messages": {"items": [{"message": {"text": "a"}}]}}]}}
    )
    after = document.to_json(include_ids=True)
    kept = [next(iter(child.values()))["$id"] for child in after["thread"]["properties"]]
    assert kept == [next(iter(child.values()))["$id"] for child in before["thread"]["properties"]]
    assert document.to_json()["thread"]["properties"][0] == {"members": {"items": []}}


@pytest.mark.parametrize("value", [True, 1, 1.5, None, "1"])
def test_values_are_compared_as_json(value: Any) -> None:
    document = make(page([{"p": {"n": 1, "$id": "a"}}]))
    json = page([{"p": {"flag": value, "$id": "a"}}]) if isinstance(value, bool) else page([{"p": {"$id": "a"}}])
    document.patch_json(json)
    assert document.to_json(include_ids=True) == json
