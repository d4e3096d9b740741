"""The CRDT wrapper and what is built on it: transactions, damage, text composition, the registry, public names."""

from __future__ import annotations

import base64
import importlib
from itertools import pairwise
from typing import Any

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api import crdt, schema_document
from meshagent.api.documents.crdt_doc import CrdtDoc, DocumentDamagedError, MalformedUpdateError, merge_updates
from meshagent.api.documents.richtext import compose
from meshagent.api.documents.tree import TextRun
from meshagent.api.documents.values import check_value, clean_value, is_clean, utf8_offset
from meshagent.api.errors import AlreadyExistsError, InvalidRequestError, NotFoundError
from tests.support.crdt_peer import CrdtPeer


def test_a_transaction_is_one_update() -> None:
    doc = CrdtDoc()
    with doc.transaction() as txn, doc.transaction() as inner:
        assert inner is txn
        doc.root_map.insert(txn, "a", 1)
        doc.root.insert_element_prelim(txn, 0, "p")
    assert len(doc.updates) == 1
    assert [event.path for event in doc.events] == [[]]
    assert CrdtPeer(state=doc.updates[0]).tree == [{"p": {}, "children": []}, {"a": 1}]


def test_client_ids_have_31_bits() -> None:
    assert 0 < CrdtDoc().client_id < 2**31
    assert CrdtDoc(client_id=7).client_id == 7


TRUNCATED_AUTHORS = b"\x80\x01" + bytes(253)
"""States 128 authors, for whom a decoder needs at least 256 bytes, in 255 bytes."""


class PanicException(BaseException):
    """Stands for the binding's class of that name, which cannot be imported."""


class PanickingTransaction:
    def commit(self) -> None:
        raise PanicException("boom")

    def drop(self) -> None: ...


def test_a_panic_at_the_end_of_a_transaction_damages_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    doc = CrdtDoc()
    with monkeypatch.context() as patch:
        patch.setattr(CrdtDoc, "_begin", lambda self, origin: PanickingTransaction())
        with pytest.raises(DocumentDamagedError), doc.transaction():
            pass
    with pytest.raises(DocumentDamagedError):
        doc.apply(b"\x00\x00")
    with pytest.raises(DocumentDamagedError):
        doc.encode()
    doc.close()


def test_closing_ends_observation() -> None:
    binding: pycrdt.Doc[Any] = pycrdt.Doc()
    doc = CrdtDoc(doc=binding)
    root_map: pycrdt.Map[Any] = binding.get("xml", type=pycrdt.Map)
    root_map["a"] = 1
    assert (len(doc.updates), len(doc.events)) == (1, 1)
    doc.close()
    doc.close()
    root_map["a"] = 2
    assert (doc.updates, doc.events) == ([], [])


def test_merging_updates() -> None:
    peer = CrdtPeer()
    peer.add("p")
    peer.add("p")
    assert CrdtPeer(state=merge_updates(*peer.sent)).tree == peer.tree
    assert merge_updates(peer.sent[0]) == peer.sent[0]
    for bad in (b"", TRUNCATED_AUTHORS, b"\x01\x02"):
        with pytest.raises(MalformedUpdateError):
            merge_updates(peer.sent[0], bad)


# --- values ----------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_a_value_that_is_accepted_comes_back_equal(value: Any) -> None:
    check_value(value, "value")
    doc = CrdtDoc()
    with doc.transaction() as txn:
        doc.root_map.insert(txn, "v", value)
    with doc.transaction() as txn:
        read = doc.root_map.get(txn, "v")
    assert is_clean(read)
    assert clean_value(read) == value


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, {1: 2}, {1}, b"", float("nan"), object(), [["\ud800"]], {"\ud800": 1}]
)
def test_values_that_a_document_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        check_value(value, "value")


def test_nesting_has_a_limit() -> None:
    value: Any = None
    for _ in range(64):
        value = [value]
    check_value(value, "value")
    with pytest.raises(InvalidRequestError, match="64 levels"):
        check_value([value], "value")


@given(st.text(alphabet="aé€😀"), st.integers(0, 9))
def test_offsets_are_those_of_the_utf8_form(text: str, index: int) -> None:
    assert text.encode()[: utf8_offset(text, min(index, len(text)))].decode() == text[:index]


# --- rich text -------------------------------------------------------------------------------------------------

attributes = st.dictionaries(st.sampled_from("bi"), st.sampled_from([None, 1, 2]), max_size=2)
changes = st.lists(
    st.one_of(
        st.builds(lambda n, a: {"retain": n, "attributes": a or None}, st.integers(1, 4), attributes),
        st.builds(
            lambda s, a: {"insert": s, "attributes": a or None}, st.text("xyé", min_size=1, max_size=3), attributes
        ),
        st.builds(lambda n: {"delete": n}, st.integers(1, 4)),
    ),
    max_size=5,
)
Cells = list[tuple[str, tuple[tuple[str, Any], ...]]]


def cells(runs: list[TextRun]) -> Cells:
    return [(letter, tuple(sorted(run.attributes.items()))) for run in runs for letter in run.insert]


def compose_cells(old: Cells, delta: list[dict[str, Any]]) -> Cells:
    """The same, letter by letter."""
    rest, result = old[:], []
    for step in delta:
        new = step.get("attributes") or {}
        if "insert" in step:
            style = tuple(sorted((k, v) for k, v in new.items() if v is not None))
            result += [(letter, style) for letter in step["insert"]]
        else:
            count = step.get("retain") or step.get("delete") or 0
            taken, rest = rest[:count], rest[count:]
            if "retain" in step:
                for letter, style in taken:
                    both = {**dict(style), **new}
                    result.append((letter, tuple(sorted((k, v) for k, v in both.items() if v is not None))))
    return result + rest


@settings(max_examples=200, deadline=None)
@given(changes, changes)
def test_composition_equals_the_letter_by_letter_model(first: Any, second: Any) -> None:
    runs = compose((), first)
    assert cells(runs) == compose_cells([], first)
    after = compose(runs, second)
    assert cells(after) == compose_cells(cells(runs), second)
    assert all(run.insert for run in after)
    assert all(a.attributes != b.attributes for a, b in pairwise(after))


def test_embedded_values_count_one() -> None:
    runs = compose((), [{"insert": "a"}, {"insert": {"image": 1}}, {"insert": "b"}])
    assert [run.insert for run in compose(runs, [{"retain": 1}, {"delete": 1}])] == ["ab"]


# --- the registry ----------------------------------------------------------------------------------------------


def test_registered_documents() -> None:
    sent: list[tuple[str, str]] = []
    seen: list[tuple[str, Any]] = []
    peer = CrdtPeer()
    peer.add("text", id_="t")
    state = base64.b64encode(peer.take()).decode()
    crdt.register_document(
        "d",
        state,
        True,
        send_update_to_backend=lambda doc_id, update: sent.append((doc_id, update)),
        send_update_to_client=lambda doc_id, change: seen.append((doc_id, change)),
    )
    try:
        with pytest.raises(AlreadyExistsError):
            crdt.register_document("d", None)
        insert = {"nodeID": "t", "insertText": {"index": 0, "text": "é", "attributes": None}}
        crdt.apply_changes({"documentID": "d", "changes": [insert]})
        change = crdt.ChangeNotification.model_validate(seen[-1][1])
        assert (change.root, change.target, change.text[0].insert) == (False, "t", "é")
        [(doc_id, update)] = sent
        peer.receive(base64.b64decode(update))
        assert doc_id == "d"
        assert base64.b64decode(crdt.get_state_vector("d")) == peer.doc.get_state()
        assert base64.b64decode(crdt.get_state("d", crdt.get_state_vector("d")))[0] == 0
        peer.add("p")
        crdt.apply_backend_changes("d", base64.b64encode(peer.take()).decode())
        assert CrdtPeer(state=base64.b64decode(crdt.get_state("d"))).tree == peer.tree
        assert len(sent) == 1
        with pytest.raises(MalformedUpdateError):
            crdt.apply_backend_changes("d", "?")
    finally:
        crdt.unregister_document("d")
    assert "d" not in crdt.Documents
    with pytest.raises(NotFoundError):
        crdt.get_state("d")


def test_wrapping_a_binding_document() -> None:
    doc: pycrdt.Doc[Any] = pycrdt.Doc()
    seen: list[Any] = []
    xml = crdt.ServerXmlDocument(doc, False, seen.append)
    node = {
        "element": {"name": "box", "attributes": {"$id": "1"}, "children": [{"text": {"delta": [{"insert": "x"}]}}]}
    }
    later = {"nodeID": "1", "setAttributes": {"a": None}, "deleteChildren": {"length": 9}}
    xml.apply_changes([{"nodeID": None, "insertChildren": {"index": 0, "children": [node]}}, later])
    assert str(doc.get("xml", type=pycrdt.XmlFragment)).startswith("<box")
    assert seen[0]["elements"][0]["insert"][0]["element"]["children"] == []
    update = xml.take_update()
    assert update is not None
    again = crdt.ServerXmlDocument(notify_changes=seen.append)
    again.apply_update(update)
    assert again.take_update() is None
    assert seen[1] == seen[0]
    bad_nodes: list[Any] = [{"element": {}}, {"element": {"name": 3}}, {}]
    for bad in bad_nodes:
        with pytest.raises(InvalidRequestError):
            xml.apply_changes([{"nodeID": None, "insertChildren": {"children": [bad]}}])


# --- public names ----------------------------------------------------------------------------------------------


def test_helpers() -> None:
    json = {"p": {"n": 1, "children": []}}
    assert schema_document.tag_name_from_json(json) == "p"
    assert schema_document.attributes_from_json(json) == {"n": 1}
    assert schema_document.str_slice("abc", 1) == "bc"
    items = [1, 2, 3]
    assert schema_document.splice(items, 1, 1, 8, 9) == [2]
    assert items == [1, 8, 9, 3]


@pytest.mark.parametrize("name", ["crdt", "runtime", "schema", "schema_document", "schema_util"])
def test_public_modules_export_what_they_promise(name: str) -> None:
    module = importlib.import_module(f"meshagent.api.{name}")
    assert all(hasattr(module, export) for export in module.__all__)


def test_the_runtime_is_a_module_with_an_instance() -> None:
    from meshagent.api import runtime

    assert isinstance(runtime.runtime, runtime.DocumentRuntime)
