"""A participant's copy of a document: elements, text, events, undo, and agreement with others."""

from __future__ import annotations

import base64
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pycrdt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.crdt_doc import MalformedUpdateError
from meshagent.api.documents.document import Document
from meshagent.api.documents.events import EventEmitter
from meshagent.api.documents.nodes import Element, Text
from meshagent.api.documents.notifications import ChangeNotification
from meshagent.api.documents.runtime import DocumentRuntime, RuntimeDocument, runtime
from meshagent.api.documents.schema import MeshSchemaException
from meshagent.api.documents.server_document import ServerDocument
from meshagent.api.errors import InvalidRequestError, InvalidStateError, NotFoundError
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_copies import Copy, edit
from tests.support.doc_schemas import page_schema
from tests.support.hypothesis_profiles import examples


@pytest.fixture
def copy() -> Copy:
    return Copy()


def tags(element: Element) -> list[str]:
    return [child.tag_name for child in element.get_children() if isinstance(child, Element)]


def names(element: Element) -> list[Any]:
    return [child["s"] for child in element.get_children() if isinstance(child, Element)]


# --- elements --------------------------------------------------------------------------------------------------


def test_children_come_in_the_order_of_insertion_at_any_depth(copy: Copy) -> None:
    parent = copy.root
    for _ in range(3):
        parent = parent.append_child("box")
        first = parent.append_child("p", {"s": "c"})
        parent.insert_child_at(0, "p", {"s": "a"})
        parent.insert_child_at(1, "p", {"s": "b"})
        parent.insert_child_after(first, "p", {"s": "d"})
        parent.insert_child_at(99, "p", {"s": "e"})
        assert names(parent) == ["a", "b", "c", "d", "e"]
    assert copy.document.to_json(include_ids=True) == copy.reopened()


def test_attributes(copy: Copy) -> None:
    p = copy.root.append_child("p", {"n": 1})
    assert p["n"] == 1
    assert p["s"] is None
    assert p.get_attribute("s", "default") == "default"
    p["n"] = 2
    p.set_attribute("s", "x")
    assert p.to_json() == {"p": {"n": 2, "s": "x"}}
    p["s"] = None
    assert p.to_json() == {"p": {"n": 2, "s": None}}
    p._remove_attribute("n")
    assert p.to_json() == {"p": {"s": None}}
    copy.root["title"] = "T"
    assert copy.root["title"] == "T"
    assert copy.document.to_json(include_ids=True) == copy.reopened()
    copy.root._remove_attribute("title")
    assert copy.root["title"] is None
    assert copy.root.id is None


def test_whole_numbers_stay_integers(copy: Copy) -> None:
    p = copy.root.append_child("p")
    for value in (3, 2**53 + 1, -(2**63), 1.5):
        p["n"] = value
        assert p["n"] == value
        assert type(p["n"]) is type(value)


def test_what_the_schema_or_the_crdt_cannot_hold_is_refused_before_anything_changes(copy: Copy) -> None:
    p = copy.root.append_child("p")
    refusals: list[tuple[Callable[[], Any], type[Exception]]] = [
        (lambda: copy.root.append_child("zzz"), MeshSchemaException),
        (lambda: p.append_child("p"), MeshSchemaException),
        (lambda: copy.root.append_child("p", {"zzz": 1}), MeshSchemaException),
        (lambda: p.set_attribute("zzz", 1), MeshSchemaException),
        (lambda: copy.root.set_attribute("children", []), MeshSchemaException),
        (lambda: copy.root.insert_child_after(copy.root, "p"), MeshSchemaException),
        (lambda: p.set_attribute("n", 2**63), InvalidRequestError),
        (lambda: p.set_attribute("n", {1, 2}), InvalidRequestError),
        (lambda: p.set_attribute("n", {1: 2}), InvalidRequestError),
        (lambda: p.set_attribute("n", [float("inf")]), InvalidRequestError),
        (lambda: p.set_attribute("s", "\udc00"), InvalidRequestError),
        (lambda: copy.root.append_child("p", {"s": b""}), InvalidRequestError),
        (lambda: copy.document.send_changes([{"nodeID": "nobody", "delete": {}}]), NotFoundError),
        (lambda: copy.document.send_changes([{"nodeID": None, "delete": {}}]), InvalidRequestError),
    ]
    before = len(copy.sent), copy.document.get_state()
    for call, error in refusals:
        with pytest.raises(error):
            call()
    assert (len(copy.sent), copy.document.get_state()) == before


def test_changes_before_a_failing_one_stay_and_are_sent(copy: Copy) -> None:
    p = copy.root.append_child("p")
    copy.sent.clear()
    with pytest.raises(NotFoundError):
        copy.document.send_changes([{"nodeID": p.id, "setAttributes": {"n": 1}}, {"nodeID": "x", "delete": {}}])
    assert p["n"] == 1
    assert len(copy.sent) == 1


def test_deleting_and_finding(copy: Copy) -> None:
    box = copy.root.append_child("box")
    p = box.append_child("p")
    assert p.id is not None
    assert box.id is not None
    assert copy.root.get_node_by_id(p.id) is p
    assert p.get_node_by_id(p.id) is p
    assert p.get_node_by_id(box.id) is None
    assert {p: 1}[p] == 1
    box.delete()
    assert copy.root.get_children() == []
    assert copy.root.get_node_by_id(p.id) is None
    with pytest.raises(NotFoundError):
        p["n"] = 1


def test_appending_json(copy: Copy) -> None:
    json: Any = {
        "box": {
            "items": [
                {"p": {"n": 1}},
                {"text": {"a": "x", "runs": [{"text": {"delta": [{"insert": "é", "attributes": {"b": 1}}]}}]}},
                {"box": {}},
            ]
        }
    }
    element = copy.root.append_json(json)
    json["box"]["items"][2]["box"]["items"] = []
    assert element.to_json() == json
    assert len(copy.sent) == 1
    assert copy.document.to_json(include_ids=True) == copy.reopened()
    with pytest.raises(MeshSchemaException):
        copy.root.append_json({"page": {}})


def test_a_document_made_from_json_shows_that_json() -> None:
    json = {"page": {"title": "T", "children": [{"p": {"n": 1, "s": "x"}}]}}
    copy = Copy(json=json)
    assert copy.document.to_json() == json
    assert len(copy.sent) == 1
    assert Copy(data=base64.b64decode(copy.sent[0])).document.to_json() == json


# --- one call, one update --------------------------------------------------------------------------------------


def test_one_public_call_is_one_update_and_remote_changes_are_not_reported(copy: Copy) -> None:
    other = Copy()
    text = copy.text()
    p = copy.root.append_child("p", {"n": 1, "s": "x", "flag": True})
    text.append_delta([{"insert": "a", "attributes": {"b": True}}, {"insert": "c"}])
    p["n"] = 2
    p.delete()
    assert len(copy.sent) == 5
    for update in copy.sent:
        other.document.apply_backend_changes(update)
    assert other.sent == []
    assert other.document.to_json(include_ids=True) == copy.document.to_json(include_ids=True)


def test_a_room_takes_the_updates_without_repair(copy: Copy) -> None:
    room = ServerDocument(page_schema())
    copy.text("héllo").format(0, 2, {"b": True})
    copy.root.append_child("box").append_child("p", {"s": None})
    copy.root["title"] = "T"
    for update in copy.sent:
        applied = room.apply(base64.b64decode(update))
        assert applied.update is not None
        assert applied.repair is None
    assert room.to_json(include_ids=True) == copy.document.to_json(include_ids=True)


def test_get_state_vector_and_partial_state(copy: Copy) -> None:
    copy.root.append_child("p")
    other = Copy(data=copy.document.get_state())
    copy.root.append_child("p")
    other.document.apply_update(copy.document.get_state(other.document.get_state_vector()))
    assert other.document.to_json() == copy.document.to_json()
    for text in ("not base64!", "nö"):
        with pytest.raises(MalformedUpdateError):
            other.document.apply_backend_changes(text)
    with pytest.raises(MalformedUpdateError):
        other.document.apply_update(b"\x01\x02\x03")
    assert other.document.to_json() == copy.document.to_json()


# --- text ------------------------------------------------------------------------------------------------------


def runs(text: Text) -> list[tuple[str, dict[str, Any]]]:
    return [(run["insert"], run["attributes"]) for run in text.delta]


def test_plain_text(copy: Copy) -> None:
    text = copy.text("world")
    text.insert(0, "hello ")
    assert runs(text) == [("hello world", {})]
    text.delete(0, 1)
    text.delete(4, 1)
    text.delete(8, 99)
    assert runs(text) == [("elloworl", {})]
    text.delete(0, 99)
    assert runs(text) == []
    text.insert(99, "again")
    assert str(text) == "again"
    with pytest.raises(InvalidRequestError):
        text.insert(-1, "x")
    with pytest.raises(InvalidRequestError):
        text.delete(0, -1)
    with pytest.raises(InvalidRequestError):
        text.format(-1, 1, {})


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, 5, {"b": True})], [("hello", {"b": True})]),
        ([(0, 2, {"b": True})], [("he", {"b": True}), ("llo", {})]),
        ([(3, 2, {"b": True})], [("hel", {}), ("lo", {"b": True})]),
        ([(0, 2, {"b": True}), (1, 3, {"i": 1})], None),
        ([(1, 1, {"b": True}), (3, 1, {"b": True})], None),
        ([(0, 5, {"b": True}), (0, 5, {"b": None})], [("hello", {})]),
    ],
)
def test_formatting(copy: Copy, steps: list[tuple[int, int, Any]], expected: Any) -> None:
    text = copy.text("hello")
    for step in steps:
        text.format(*step)
    if expected is None:
        assert len(runs(text)) in (4, 5)
    else:
        assert runs(text) == expected
    assert copy.document.to_json(include_ids=True) == copy.reopened()


def test_positions_count_characters(copy: Copy) -> None:
    text = copy.text("h😀é")
    text.insert(2, "€", {"b": True})
    assert runs(text) == [("h😀", {}), ("€", {"b": True}), ("é", {})]
    text.format(1, 1, {"i": True})
    text.insert(4, "!")
    text.delete(1, 2)
    assert runs(text) == [("hé!", {})]
    assert copy.document.to_json(include_ids=True) == copy.reopened()


def test_formatted_text_inserted_into_a_run_keeps_its_own_formatting(copy: Copy) -> None:
    text = copy.text("ab")
    text.insert(1, "X", {"b": True})
    assert runs(text) == [("a", {}), ("X", {"b": True}), ("b", {})]
    loaded = Copy(data=copy.document.get_state())
    assert loaded.document.to_json() == copy.document.to_json()


# --- events ----------------------------------------------------------------------------------------------------


def test_events_go_to_the_parent_and_the_document(copy: Copy) -> None:
    seen: list[Any] = []
    box = copy.root.append_child("box")
    emitters: list[tuple[str, EventEmitter]] = [("box", box), ("document", copy.document)]
    for where, emitter in emitters:

        @emitter.on("inserted")
        def inserted(child: Element | Text, where: str = where) -> None:
            seen.append((where, "inserted", child))

        @emitter.on("deleted")
        def deleted(child: Element | Text, where: str = where) -> None:
            seen.append((where, "deleted", child))

        @emitter.on("updated")
        def updated(element: Element, name: str, where: str = where) -> None:
            seen.append((where, name, element))

    text = box.append_child("text")
    [node] = text.get_children()
    assert seen == [("document", "inserted", node), ("document", "inserted", text), ("box", "inserted", text)]
    seen.clear()
    text["a"] = "x"
    assert seen == [("document", "a", text)]
    seen.clear()
    text.delete()
    assert seen == [("document", "deleted", node), ("document", "deleted", text), ("box", "deleted", text)]


def test_a_handler_may_edit_and_a_failing_one_stops_nobody(copy: Copy, caplog: pytest.LogCaptureFixture) -> None:
    @copy.document.on("inserted")
    def fail(node: Element) -> None:
        raise ValueError("oops")

    @copy.document.on("inserted")
    def react(node: Element) -> None:
        if node.tag_name == "box":
            node.append_child("p", {"s": "made by the handler"})

    peer = CrdtPeer()
    with peer.edit():
        peer.add("box")
        peer.add("p", n=1)
        peer.add("box")
    copy.document.apply_update(peer.take())
    assert [tags(child) for child in copy.root.get_children() if isinstance(child, Element)] == [["p"], [], ["p"]]
    assert "oops" in caplog.text
    assert copy.document.to_json(include_ids=True) == copy.reopened()
    room = ServerDocument(page_schema())
    room.load([peer.doc.get_update(), *map(base64.b64decode, copy.sent)])
    assert room.to_json(include_ids=True) == copy.document.to_json(include_ids=True)


def test_handlers_are_plain_functions(copy: Copy) -> None:
    async def handler(node: Any) -> None: ...

    with pytest.raises(TypeError):
        copy.document.on("inserted")(handler)


def test_a_mirror_follows_notifications() -> None:
    document = Document(page_schema(), lambda payload: None)
    node = {"tagName": "p", "attributes": {"$id": "1", "n": 1}, "children": []}
    other = {"tagName": "p", "attributes": {"$id": "2", "n": 2}, "children": []}
    document.receive_changes({"root": True, "elements": [{"insert": [{"element": node}, {"element": other}]}]})
    # A delete before an insert and another delete: the position stays where the deleted node was.
    third = {"tagName": "p", "attributes": {"$id": "3", "n": 3}, "children": []}
    steps = [{"delete": 1}, {"insert": [{"element": third}]}, {"delete": 1}]
    document.receive_changes(ChangeNotification.model_validate({"root": True, "elements": steps}))
    assert document.to_json() == {"page": {"children": [{"p": {"n": 3}}]}}
    document.receive_changes({"root": False, "target": "nobody", "elements": [{"delete": 1}]})
    document.receive_changes({"root": True, "attributes": {"set": [{"name": "title", "value": "T"}]}})
    assert document.root["title"] == "T"


def test_elements_without_or_with_doubled_ids_are_told_apart(copy: Copy) -> None:
    peer = CrdtPeer()
    with peer.edit():
        peer.add("p", id_="same", n=1)
        peer.add("p", id_="same", n=2)
    copy.document.apply_update(peer.take())
    one, two = copy.root.get_children()
    assert isinstance(one, Element)
    assert isinstance(two, Element)
    assert one.id != two.id
    two["n"] = 3
    one.delete()
    assert copy.document.to_json() == {"page": {"children": [{"p": {"n": 3}}]}}


def test_an_id_that_comes_late_is_followed(copy: Copy) -> None:
    peer = CrdtPeer()
    element = peer.root.children.append(pycrdt.XmlElement("p"))
    element.attributes["$id"] = "late"
    for update in peer.sent:
        copy.document.apply_update(update)
    p = copy.root.get_node_by_id("late")
    assert p is not None
    p["n"] = 1
    assert copy.document.to_json(include_ids=True) == copy.reopened()


# --- undo ------------------------------------------------------------------------------------------------------


def test_undo_and_redo_touch_local_edits_only(copy: Copy) -> None:
    with pytest.raises(InvalidStateError):
        copy.document.undo()
    copy.document.enable_undo(merge_within=0)
    text = copy.text("abc")
    peer = CrdtPeer(state=copy.document.get_state())
    peer.add("p", s="theirs")
    copy.document.apply_update(peer.take())
    text.insert(3, "d")
    copy.root["title"] = "T"
    copy.sent.clear()
    assert copy.document.undo()
    assert copy.root["title"] is None
    assert copy.document.undo()
    assert str(text) == "abc"
    assert len(copy.sent) == 2
    assert copy.document.redo()
    assert str(text) == "abcd"
    while copy.document.undo():
        pass
    assert names(copy.root) == ["theirs"]
    assert not copy.document.undo()
    assert copy.document.to_json(include_ids=True) == copy.reopened()


def test_undo_as_a_change_operation(copy: Copy) -> None:
    copy.document.send_changes([{"nodeID": None, "undo": True}])  # nothing is recorded: no effect
    copy.document.enable_undo()
    copy.root["title"] = "T"
    copy.document.send_changes([{"nodeID": None, "undo": True}])
    assert copy.root["title"] is None
    copy.document.send_changes([{"nodeID": None, "redo": True}])
    assert copy.root["title"] == "T"


# --- the runtime -----------------------------------------------------------------------------------------------


def test_documents_are_found_by_id_until_they_are_closed() -> None:
    with DocumentRuntime() as made_here:
        sent: list[str] = []
        document = made_here.new_document(page_schema(), id="d1", on_document_sync=sent.append)
        assert runtime.get_doc("d1") is document
        change = {"nodeID": None, "setAttributes": {"title": "T"}}
        runtime.apply_changes({"documentID": "d1", "changes": [change]})
        assert document.root["title"] == "T"
        runtime.on_document_sync("d1", "AAA=")
        assert len(sent) == 2
        copy = runtime.new_document(page_schema(), data=runtime.get_state("d1"))
        runtime.apply_backend_changes(copy.id, sent[0])
        assert copy.to_json() == document.to_json()
        assert runtime.get_state_vector(copy.id) == runtime.get_state_vector("d1")
        copy.close()
    with pytest.raises(NotFoundError):
        runtime.get_doc("d1")
    with pytest.raises(InvalidStateError):
        document.root["title"] = "no more"
    assert document.to_json()["page"]["title"] == "T"


def test_a_factory_makes_the_document() -> None:
    class Mine(RuntimeDocument):
        pass

    document = runtime.new_document(page_schema(), factory=Mine, json={"page": {"title": "T"}})
    assert isinstance(document, Mine)
    assert document.root["title"] == "T"
    document.close()


def test_a_document_nobody_uses_goes_away() -> None:
    document = RuntimeDocument(page_schema(), id="gone")
    document.root.append_child("p")
    reference = weakref.ref(document)
    del document
    gc.collect()
    assert reference() is None


def test_a_thread_as_a_chat_client_uses_it() -> None:
    schema = builtin_schema("thread")
    assert schema is not None
    room = ServerDocument(schema)
    room.seed()
    sent: list[str] = []
    document = RuntimeDocument(schema, sent.append, data=room.encode_state())
    members, messages = document.root.get_children()
    assert isinstance(members, Element)
    assert isinstance(messages, Element)
    members.append_child("member", {"name": "ada"})
    message = messages.append_child("message", {"id": "1", "text": "", "author_name": "ada", "author_ref": None})
    message.append_child("file", {"path": "a.txt"})
    message["text"] = "hello"
    for update in sent:
        assert room.apply(base64.b64decode(update)).repair is None
    assert room.to_json() == document.to_json()


# --- convergence -----------------------------------------------------------------------------------------------

Step = tuple[int, int, int, int, str]
steps = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 11), st.integers(0, 9), st.integers(0, 9), st.text("aé😀", max_size=5)),
    max_size=30,
)


@settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.lists(st.integers(0, 3), max_size=30))
def test_mirrors_equal_their_crdt_and_each_other(script: list[Step], pauses: list[int]) -> None:
    copies = Copy(), Copy()
    for copy in copies:
        copy.document.enable_undo(merge_within=0)
    for number, (who, kind, a, b, content) in enumerate(script):
        edit(copies[who], kind, a, b, content)
        assert copies[who].document.to_json(include_ids=True) == copies[who].reopened()
        if number < len(pauses) and pauses[number] == 0:
            exchange(*copies)
    exchange(*copies)
    one, other = copies
    assert one.document.to_json(include_ids=True) == other.document.to_json(include_ids=True)
    for copy in copies:
        assert copy.document.to_json(include_ids=True) == copy.reopened()


def exchange(one: Copy, other: Copy) -> None:
    outgoing = one.sent[:], other.sent[:]
    one.sent.clear()
    other.sent.clear()
    for receiver, updates in ((other, outgoing[0]), (one, outgoing[1])):
        for update in updates:
            receiver.document.apply_backend_changes(update)
        assert receiver.document.to_json(include_ids=True) == receiver.reopened()
