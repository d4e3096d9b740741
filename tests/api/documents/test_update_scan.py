"""Updates are read to their end, with the nesting of their values and what they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pycrdt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.server_document import MAX_HELD, ServerDocument
from meshagent.api.documents.update_format import read_vector
from meshagent.api.documents.update_nesting import MAX_ELEMENT_NESTING, check_nesting
from meshagent.api.documents.update_scan import MAX_VALUE_NESTING, MalformedUpdateError, scan_update
from meshagent.api.errors import LimitExceededError
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_schemas import page_schema
from tests.support.hypothesis_profiles import examples

CLIENT = 5


def varint(value: int) -> bytes:
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def text(value: str) -> bytes:
    return varint(len(value.encode())) + value.encode()


def update_with(info: int, content: bytes) -> bytes:
    """One change of author 5: the attribute `n` of the root."""
    return b"\x01\x01\x05\x00" + bytes([info | 0x20]) + b"\x01" + text("xml") + text("n") + content + b"\x00"


def attribute(value: bytes) -> bytes:
    return update_with(8, b"\x01" + value)


def nested_list(levels: int) -> bytes:
    return b"\x75\x01" * levels + b"\x7e"


def nested_object(levels: int) -> bytes:
    return (b"\x76\x01" + text("k")) * levels + b"\x7e"


NESTED: dict[str, Callable[[int], bytes]] = {
    "list": lambda levels: attribute(nested_list(levels)),
    "object": lambda levels: attribute(nested_object(levels)),
    "after a sibling": lambda levels: attribute(b"\x75\x02" + nested_list(3) + nested_list(levels - 1)),
    "options of a document": lambda levels: update_with(9, text("guid") + nested_list(levels)),
    "json": lambda levels: update_with(2, b"\x01" + text("[" * levels + "1" + "]" * levels)),
    "embed": lambda levels: update_with(5, text('{"k":' * levels + "1" + "}" * levels)),
    "format": lambda levels: update_with(6, text("bold") + text("[" * levels + "1" + "]" * levels)),
}


@pytest.mark.parametrize("kind", NESTED)
def test_values_nest_up_to_the_bound(kind: str) -> None:
    """Harmless inputs: one level more than is accepted."""
    make = NESTED[kind]
    assert scan_update(make(MAX_VALUE_NESTING)).ends == {CLIENT: 1}
    document = ServerDocument(page_schema())
    before = document.encode_state()
    too_deep = make(MAX_VALUE_NESTING + 2)
    with pytest.raises(MalformedUpdateError, match="nested more than 64 levels"):
        document.apply(too_deep)
    with pytest.raises(MalformedUpdateError, match="nested more than 64 levels"):
        document.load([too_deep])
    with pytest.raises(MalformedUpdateError, match="nested more than 64 levels"):
        CrdtDoc().apply(too_deep)
    assert document.encode_state() == before


def nested_elements(levels: int) -> bytes:
    """Elements of author 5 in each other, the outermost one in the root, each with the next as its only child."""
    element = text("box")
    first = b"\x07\x01" + text("xml") + b"\x03" + element
    inner = b"".join(b"\x07\x00\x05" + varint(number) + b"\x03" + element for number in range(levels - 1))
    return b"\x01" + varint(levels) + b"\x05\x00" + first + inner + b"\x00"


def test_elements_nest_up_to_the_bound() -> None:
    """Harmless input: two levels more than is accepted."""
    document = ServerDocument(page_schema())
    with pytest.raises(MalformedUpdateError, match="nests elements more than 512 levels"):
        document.apply(nested_elements(MAX_ELEMENT_NESTING + 2))
    assert document.encode_state() == b"\x00\x00"
    applied = document.apply(nested_elements(MAX_ELEMENT_NESTING))
    assert applied.repair is not None  # that is deeper than a document may be


def test_many_elements_beside_each_other_do_not_nest() -> None:
    """Neither do those that are beside what is nested, whoever wrote them."""
    peer = CrdtPeer()
    for number in range(MAX_ELEMENT_NESTING):
        box = peer.add("box", id_=f"{number}")
        peer.add("p", box)
    other = CrdtPeer(state=peer.doc.get_update())
    for _ in range(3):
        other.add("p", other.root.children[0])
        del other.root.children[1]
    check_nesting(other.doc.get_update(), 4)
    with pytest.raises(MalformedUpdateError):
        check_nesting(other.doc.get_update(), 1)


def test_changes_that_are_in_each_other_are_refused() -> None:
    circle = b"\x01\x02\x05\x00" + b"\x07\x00\x05\x01\x03" + text("box") + b"\x07\x00\x05\x00\x03" + text("box")
    with pytest.raises(MalformedUpdateError, match="in a circle"):
        check_nesting(circle + b"\x00")


def test_brackets_inside_texts_do_not_nest() -> None:
    scan_update(update_with(5, text(json.dumps(["[{" * 100, 'a "quoted" [[']))))


def value_peer(values: list[Any]) -> CrdtPeer:
    peer = CrdtPeer()
    for number, value in enumerate(values):
        peer.add("p", n=value, id_=f"é{number}")
    body = peer.add("text").children[0]
    assert isinstance(body, pycrdt.XmlText)
    body.insert(0, "ab😀é")
    body.format(0, 1, {"bold": True})
    body.insert_embed(1, {"image": "x"})
    del body[0:1]
    del peer.root.children[0]
    return peer


plain = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=4)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(values, max_size=4))
def test_what_the_library_writes_is_read_to_its_end(written: list[Any]) -> None:
    peer = value_peer(written)
    state = peer.doc.get_update()
    scan = scan_update(state)
    assert scan.ends == read_vector(peer.doc.get_state())
    assert scan.needs == {}
    position: dict[int, int] = {}
    for update in peer.sent:  # each needs what came before it, and nothing else
        scan = scan_update(update)
        assert all(position.get(client, 0) >= clock for client, clock in scan.needs.items())
        position.update(scan.ends)
    assert position == read_vector(peer.doc.get_state())


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10**6))
def test_no_part_of_an_update_is_an_update(cut: int) -> None:
    state = value_peer([1, "x", [1, {"k": None}]]).doc.get_update()
    with pytest.raises(MalformedUpdateError):
        scan_update(state[: cut % len(state)])


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        scan_update(data)
    except MalformedUpdateError:
        return
    pycrdt.merge_updates(data, b"\x00\x00")


@pytest.mark.parametrize("rest", [b"\x00", b"x", b"\x00\x00"])
def test_bytes_after_the_end_are_refused(rest: bytes) -> None:
    peer = CrdtPeer()
    peer.add("p")
    document = ServerDocument(page_schema())
    with pytest.raises(MalformedUpdateError, match="follow its end; updates must be in the Yjs update format v1"):
        document.apply(peer.take() + rest)
    assert document.encode_state() == b"\x00\x00"


def test_an_update_in_format_v2_is_refused() -> None:
    # The empty document in format v2: a zero, and eight empty columns.
    with pytest.raises(MalformedUpdateError, match="format v1"):
        ServerDocument(page_schema()).apply(b"\x00" * 13)


def test_an_edit_that_depends_on_another_author_waits_and_no_part_of_it_is_lost() -> None:
    base = CrdtPeer()
    base.add("p", id_="base")
    base_update = base.take()
    absent, late = CrdtPeer(state=base_update), CrdtPeer(state=base_update)
    absent.add("p", id_="of another")
    missing = absent.take()
    late.receive(missing)
    with late.edit():  # its first part could be applied at once, its second not
        late.root.children.insert(0, pycrdt.XmlElement("p", {"$id": "first"}))
        late.add("p", id_="second")
    edit = late.take()
    document = ServerDocument(page_schema())
    document.load([base_update])
    assert document.apply(edit).pending
    assert document.held == (edit,)
    assert document.apply(edit).pending
    assert document.held_bytes == len(edit)
    applied = document.apply(missing)
    assert applied.update is not None
    assert document.held_bytes == len(document.held) == 0
    copy = CrdtPeer(state=base_update)
    copy.receive(applied.update)
    assert copy.tree == late.tree == CrdtPeer(state=document.encode_state()).tree


def test_early_updates_are_refused_beyond_the_bound_and_none_is_dropped() -> None:
    peer = CrdtPeer()
    for number in range(MAX_HELD + 2):
        peer.add("p", n=number)
    first, *rest = peer.sent
    document = ServerDocument(page_schema())
    for update in rest[:MAX_HELD]:
        assert document.apply(update).pending
    with pytest.raises(LimitExceededError):
        document.apply(rest[MAX_HELD])
    document.apply(first)
    document.apply(rest[MAX_HELD])
    assert CrdtPeer(state=document.encode_state()).tree == peer.tree
    again = ServerDocument(page_schema())
    again.load([*rest, first])  # history is taken whole, whatever the bound was when it was written
    assert CrdtPeer(state=again.encode_state()).tree == peer.tree


def test_changes_that_depend_on_each_other_in_a_circle_are_refused() -> None:
    # Author 5 comes after author 6's change, which comes after author 5's.
    circle = b"\x02\x01\x05\x00\x84\x06\x00\x01a\x01\x06\x00\x84\x05\x00\x01b\x00"
    document = ServerDocument(page_schema())
    with pytest.raises(MalformedUpdateError, match="circle"):
        document.apply(circle)
    peer = CrdtPeer()
    peer.add("p")
    assert document.apply(peer.take()).update is not None


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_of_early_updates_is_applied_without_asking_the_crdt_for_each(
    backwards: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = CrdtPeer()
    for number in range(MAX_HELD + 1):
        peer.add("p", n=number)
    first, *rest = peer.sent
    document = ServerDocument(page_schema())
    for update in reversed(rest) if backwards else rest:
        document.apply(update)
    asked = 0
    state_vector = CrdtDoc.state_vector

    def counted(doc: CrdtDoc) -> bytes:
        nonlocal asked
        asked += 1
        return state_vector(doc)

    monkeypatch.setattr(CrdtDoc, "state_vector", counted)
    document.apply(first)
    assert not document.held
    assert asked <= 4
