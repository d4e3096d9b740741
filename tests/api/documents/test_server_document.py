"""The room's copy of a document: effective changes, repair, early updates, JSON in and out."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.crdt_doc import MalformedUpdateError
from meshagent.api.documents.schema import MeshSchemaException
from meshagent.api.documents.server_document import ServerDocument
from meshagent.api.documents.update_scan import STEP_CHANGES
from meshagent.api.errors import InvalidRequestError, InvalidStateError
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_breakages import BREAKAGES
from tests.support.doc_schemas import page_schema
from tests.support.hypothesis_profiles import examples


@pytest.fixture
def document() -> ServerDocument:
    return ServerDocument(page_schema())


def page(*children: Any, **attributes: Any) -> dict[str, Any]:
    return {"page": {**attributes, "children": list(children)}}


# --- what the reference vectors say (protocol 8.4) ---------------------------------------------------

STEPS = [
    "AQIBAAcBA3htbAMFY2hpbGQoAAEAAyRpZAF3AmUxAA==",
    "AQEBAigAAQABbgF9AwA=",
    "AQIBA4cBAAMEdGV4dCgAAQMDJGlkAXcCdDEA",
    "AQEBBQcAAQMGAA==",
    "AQEBBgQAAQUCaGkA",
]
FULL = "AQcBAAcBA3htbAMFY2hpbGQoAAEAAyRpZAF3AmUxKAABAAFuAX0DhwEAAwR0ZXh0KAABAwMkaWQBdwJ0MQcAAQMGBAABBQJoaQA="


def test_reference_vectors() -> None:
    document = ServerDocument(page_schema())
    assert document.encode_state() == base64.b64decode("AAA=")
    assert document.state_vector() == base64.b64decode("AA==")
    # The reference document uses a tag `child`; history is loaded as it is.
    document.load(map(base64.b64decode, STEPS))
    assert document.state_vector() == base64.b64decode("AQEI")
    again = ServerDocument(page_schema())
    again.load([base64.b64decode(FULL)])
    expected = page({"child": {"$id": "e1", "n": 3}}, {"text": {"$id": "t1", "runs": [hi()]}})
    assert document.to_json(include_ids=True) == again.to_json(include_ids=True) == expected
    value = document.to_json()["page"]["children"][0]["child"]["n"]
    assert isinstance(value, int)


def hi() -> dict[str, Any]:
    return {"text": {"delta": [{"insert": "hi", "attributes": {}}]}}


# --- effective changes -----------------------------------------------------------------------------------------


def test_only_effective_changes_are_forwarded(document: ServerDocument) -> None:
    author, reader = CrdtPeer(), CrdtPeer()
    author.add("p", n=1)
    update = author.take()
    applied = document.apply(update)
    assert applied.update is not None
    assert applied.repair is None
    assert document.apply(update).update is None
    assert document.apply(applied.update).update is None
    assert document.apply(document.encode_state()).update is None
    reader.receive(applied.update)
    assert reader.tree == author.tree


def test_deletions_are_changes(document: ServerDocument) -> None:
    author = CrdtPeer()
    author.add("p")
    document.apply(author.take())
    del author.root.children[0]
    deletion = author.take()
    assert document.apply(deletion).update is not None
    assert document.to_json() == page()
    assert document.apply(deletion).update is None


def test_a_late_joiner_gets_what_it_lacks(document: ServerDocument) -> None:
    author = CrdtPeer()
    author.add("p", n=1)
    first = author.take()
    document.apply(first)
    reader = CrdtPeer(state=document.encode_state())
    vector = reader.doc.get_state()
    author.add("p", n=2)
    document.apply(author.take())
    reader.receive(document.encode_state(vector))
    assert reader.tree == author.tree
    with pytest.raises(MalformedUpdateError):
        document.encode_state(b"\xff\xff\xff\xff")


# --- repair ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("break_it", BREAKAGES)
def test_what_the_schema_does_not_allow_is_taken_out_before_anybody_sees_it(
    document: ServerDocument, break_it: Callable[[CrdtPeer], None]
) -> None:
    base = CrdtPeer()
    base.add("p", n=1, id_="p")
    base.add("box", id_="box")
    base.add("text", id_="t")
    document.load(base.sent)
    clean = base.tree
    author, one, other = (CrdtPeer(state=document.encode_state()) for _ in range(3))
    with author.edit():
        break_it(author)
        author.add("p", s="kept")
    broken = author.tree

    applied = document.apply(author.take())

    assert applied.update is not None
    assert applied.repair is not None
    for reader in (one, other):
        reader.receive(applied.update)
    author.receive(applied.repair)
    assert one.seen == other.seen
    assert author.tree == one.seen[-1] != broken
    assert one.seen[-1] != clean
    assert "kept" in str(one.seen[-1])
    assert "zzz" not in str(one.seen[-1])
    assert one.root_map.to_py() == author.root_map.to_py() == {}
    assert len(list(one.root.children)) == len(one.root.children)  # no content that is no node
    ServerDocument(page_schema()).from_json(document.to_json())  # it fits the schema
    for peer in (author, one):  # their echoes change nothing, nor does a later edit need repair
        assert document.apply(peer.doc.get_update()).update is None
        peer.sent.clear()
        peer.add("p", n=2)
        assert document.apply(peer.take()).repair is None


def test_building_an_element_in_small_steps_needs_no_repair(document: ServerDocument) -> None:
    author = CrdtPeer()
    text = author.root.children.append(pycrdt.XmlElement("text"))
    text.attributes["$id"] = "t"
    text.attributes["a"] = "x"
    node = text.children.append(pycrdt.XmlText(""))
    node.insert(0, "hi")
    node.format(0, 1, {"bold": True})
    text.children.insert(0, pycrdt.XmlElement("p"))
    author.root_map["title"] = "T"
    author.root.children[0].attributes["a"] = 3  # of the wrong type: tolerated
    assert len(author.sent) == 9
    for update in author.sent:
        applied = document.apply(update)
        assert applied.update is not None
        assert applied.repair is None
    assert document.to_json()["page"]["children"][0]["text"]["runs"][1]["text"]["delta"] == [
        {"insert": "h", "attributes": {"bold": True}},
        {"insert": "i", "attributes": {}},
    ]


def test_history_that_a_newer_schema_would_not_allow_is_kept() -> None:
    author = CrdtPeer()
    old = author.add("old", a=1)
    document = ServerDocument(page_schema())
    document.load(author.sent)
    author.sent.clear()
    old.attributes["a"] = 2
    assert document.apply(author.take()).repair is None
    assert document.to_json() == page({"old": {"a": 2}})


# --- updates that come early -----------------------------------------------------------------------------------


def history() -> tuple[list[bytes], Any]:
    author = CrdtPeer()
    first = author.add("p", n=1)
    text = author.add("text").children[0]
    assert isinstance(text, pycrdt.XmlText)
    text.insert(0, "hello")
    first.attributes["n"] = 2
    text.insert(5, "x")
    del author.root.children[0]
    text.insert(0, "start")
    del text[0:2]
    return author.sent, author.tree


@settings(max_examples=examples(60), deadline=None)
@given(st.randoms(use_true_random=False))
def test_updates_in_any_order_end_in_the_same_document(rng: random.Random) -> None:
    updates, expected = history()
    shuffled = [*updates, *rng.sample(updates, 3)]
    rng.shuffle(shuffled)
    document, reader = ServerDocument(page_schema()), CrdtPeer()
    for update in shuffled:
        applied = document.apply(update)
        assert applied.repair is None
        if applied.update is not None:
            reader.receive(applied.update)
    assert reader.tree == CrdtPeer(state=document.encode_state()).tree == expected


@settings(max_examples=examples(30), deadline=None)
@given(st.randoms(use_true_random=False))
def test_history_with_early_updates_loads(rng: random.Random) -> None:
    updates, expected = history()
    rng.shuffle(updates)
    log: list[bytes] = []
    document = ServerDocument(page_schema())
    for update in updates:  # what a room stores: effective changes, and early updates as they came
        applied = document.apply(update)
        log += [update] if applied.pending else []
        log += [] if applied.update is None else [applied.update]
        again = ServerDocument(page_schema())
        again.load(log)
        assert again.to_json(include_ids=True) == document.to_json(include_ids=True)
        document = again  # as after a restart
    assert CrdtPeer(state=document.encode_state()).tree == expected


def test_a_state_that_lacks_its_beginning_is_pending(document: ServerDocument) -> None:
    one = CrdtPeer()
    one.add("p")
    start = one.doc.get_state()
    one.add("p")
    two = CrdtPeer(state=one.doc.get_update())
    two.add("p")
    applied = document.apply(two.doc.get_update(start))
    assert applied.pending
    document.apply(two.doc.get_update())
    assert len(document.to_json()["page"]["children"]) == 3


def test_an_early_update_is_pending(document: ServerDocument) -> None:
    first, second, *_ = history()[0]
    early = document.apply(second)
    assert early.update is None
    assert early.pending
    assert document.to_json() == page()
    late = document.apply(first)
    assert late.update is not None
    assert not late.pending
    assert [list(child) for child in document.to_json()["page"]["children"]] == [["p"], ["text"]]


# --- malformed updates -----------------------------------------------------------------------------------------


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_malformed_updates_raise_one_error_and_harm_nothing(data: st.DataObject) -> None:
    updates, expected = history()
    document = ServerDocument(page_schema())
    document.load(updates)
    bad = data.draw(st.one_of(st.binary(max_size=40), st.sampled_from(updates).map(lambda u: u[:-1])))
    state = document.encode_state()
    try:
        document.apply(bad)
    except MalformedUpdateError:
        assert document.encode_state() == state
        assert CrdtPeer(state=state).tree == expected
    peer = CrdtPeer(state=document.encode_state())
    peer.add("p", s="after")
    assert document.apply(peer.take()).update is not None
    assert "after" in str(document.to_json())


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x80\x01\x01\x05\x00",  # 128 authors, but only a part of one
        b"\x80" * 10,  # a number that does not end within ten bytes
    ],
)
def test_updates_that_are_shorter_than_they_state_are_refused_before_decoding(
    document: ServerDocument, bad: bytes
) -> None:
    with pytest.raises(MalformedUpdateError, match="truncated or damaged"):
        document.apply(bad)


# --- JSON ------------------------------------------------------------------------------------------------------


def test_a_new_thread_has_its_members_and_messages() -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    document = ServerDocument(schema)
    update = document.seed()
    assert update is not None
    expected: Any = {"thread": {"properties": [{"members": {"items": []}}, {"messages": {"items": []}}]}}
    assert document.to_json() == expected
    assert document.seed() is None
    reader = ServerDocument(schema)
    reader.load([update])
    assert reader.to_json(include_ids=True) == document.to_json(include_ids=True)
    assert ServerDocument(page_schema()).seed() is None


def test_initial_json_may_leave_things_out() -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    document = ServerDocument(schema)
    document.from_json(
        {"thread": {"name": "x", "properties": [{"messages": {"items": [{"message": {"text": "hi"}}]}}]}}
    )
    members, messages = document.to_json()["thread"]["properties"]
    assert members == {"members": {"items": []}}
    assert messages == {"messages": {"items": [{"message": {"text": "hi", "attachments": []}}]}}
    assert document.to_json()["thread"]["name"] == "x"


def test_json_round_trip_with_text_and_root_attribute(document: ServerDocument) -> None:
    text = {"text": {"delta": [{"insert": "hé", "attributes": {"b": True}}, {"insert": "😀", "attributes": {}}]}}
    json = page({"p": {"n": 1.5, "s": "x", "flag": False}}, {"text": {"runs": [text]}}, title="T")
    document.from_json(json)
    assert document.to_json() == json
    ids = [next(iter(child.values()))["$id"] for child in document.to_json(include_ids=True)["page"]["children"]]
    assert len(set(ids)) == 2
    reader = CrdtPeer(state=document.encode_state())
    assert reader.root_map.to_py() == {"title": "T"}


@pytest.mark.parametrize(
    ("json", "error"),
    [
        ({"book": {}}, MeshSchemaException),
        ({}, InvalidRequestError),
        ([], InvalidRequestError),
        ({"page": []}, InvalidRequestError),
        ({"page": {"zzz": 1}}, MeshSchemaException),
        ({"page": {"title": 1}}, MeshSchemaException),
        ({"page": {"children": {}}}, InvalidRequestError),
        (page({"zzz": {}}), MeshSchemaException),
        (page({"p": {"n": "1"}}), MeshSchemaException),
        (page({"p": {"n": True}}), MeshSchemaException),
        (page({"p": {"n": 2**63}}), InvalidRequestError),
        (page({"p": {"n": float("nan")}}), InvalidRequestError),
        (page({"p": {"s": "\ud800"}}), InvalidRequestError),
        (page({"p": {"s": {1}}}), InvalidRequestError),
        (page({"p": {"$id": 1}}), InvalidRequestError),
        (page({"p": {"$id": "a"}}, {"p": {"$id": "a"}}), InvalidRequestError),
        (page({"text": {"delta": []}}), MeshSchemaException),
        (page({"text": {"runs": [{"text": {"delta": [{"insert": 1}]}}]}}), InvalidRequestError),
        (page({"text": {"runs": [{"p": {}}, {"text": {"delta": []}}]}}), MeshSchemaException),
    ],
)
def test_json_that_does_not_fit_is_refused_and_changes_nothing(
    document: ServerDocument, json: Any, error: type[Exception]
) -> None:
    for read in (document.from_json, document.patch_json):
        with pytest.raises(error):
            read(json)
    assert document.encode_state() == b"\x00\x00"


def test_errors_name_the_place(document: ServerDocument) -> None:
    with pytest.raises(MeshSchemaException, match=r"/page/children\[1\]/box/items\[0\]/p/n: expected a number"):
        document.from_json(page({"p": {}}, {"box": {"items": [{"p": {"n": "x"}}]}}))


def test_a_closed_document_refuses_everything(document: ServerDocument) -> None:
    document.close()
    document.close()
    for call in (document.encode_state, document.to_json, lambda: document.apply(b"\x00\x00")):
        with pytest.raises(InvalidStateError):
            call()


def test_history_is_loaded_in_steps() -> None:
    peer = CrdtPeer()
    with peer.edit():
        for _ in range(STEP_CHANGES):
            peer.add("p")
    [first] = peer.sent
    peer.add("text")
    document = ServerDocument(page_schema())
    steps = document.load_steps([first, *peer.sent[1:]])
    assert sum(1 for _ in steps) >= 2
    assert document.encode_state() == peer.doc.get_update()
    with pytest.raises(MalformedUpdateError):
        for _ in document.load_steps([first[:-1]]):
            pass
