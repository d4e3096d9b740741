"""Ids of elements as other editors write them, in the copy of a participant."""

from __future__ import annotations

import pytest

from meshagent.api.documents.nodes import Element
from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.errors import InvalidRequestError
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_copies import all_elements
from tests.support.doc_schemas import page_schema


class Pair:
    """An editor of another make with two boxes, and a participant's copy of the same document."""

    def __init__(self) -> None:
        self.peer = CrdtPeer()
        self.left = self.peer.add("box", id_="left")
        self.right = self.peer.add("box", id_="right")
        self.first = self.peer.add("p", self.left, id_="first")
        self.copy = RuntimeDocument(page_schema())
        self.send()

    def send(self) -> None:
        for update in self.peer.sent:
            self.copy.apply_update(update)
        self.peer.sent.clear()

    def found(self, element_id: str) -> Element | None:
        return self.copy.root.get_node_by_id(element_id)


@pytest.mark.parametrize("insert_first", [True, False])
@pytest.mark.parametrize("target", ["left", "right", "root"])
def test_a_moved_element_keeps_its_id(insert_first: bool, target: str) -> None:
    pair = Pair()
    pair.peer.add("p", pair.left, id_="second")
    pair.send()
    parent = {"left": pair.left, "right": pair.right, "root": None}[target]
    with pair.peer.edit():
        if insert_first:
            pair.peer.add("p", parent, id_="first", n=1.0)
            del pair.left.children[0]
        else:
            del pair.left.children[0]
            pair.peer.add("p", parent, id_="first", n=1.0)
    pair.send()
    moved = pair.found("first")
    assert moved is not None
    assert moved["n"] == 1
    moved["s"] = "mine"
    assert [e.id for e in all_elements(pair.copy.root)].count("first") == 1
    assert pair.copy.to_json(include_ids=True)["page"]["children"]


def test_a_subtree_moves_with_its_ids() -> None:
    pair = Pair()
    with pair.peer.edit():
        box = pair.peer.add("box", pair.right, id_="left")
        pair.peer.add("p", box, id_="first")
        del pair.peer.root.children[0]
    pair.send()
    first = pair.found("first")
    assert first is not None
    assert first.parent is pair.found("left")
    assert first.parent is not None
    assert first.parent.parent is pair.found("right")


def test_of_two_elements_with_one_id_each_is_found() -> None:
    pair = Pair()
    pair.peer.add("p", pair.right, id_="first")
    pair.send()
    ids = [e.id for e in all_elements(pair.copy.root)]
    assert len(set(ids)) == len(ids)
    for element in all_elements(pair.copy.root)[1:]:
        assert pair.found(element.id or "") is element


def test_an_id_that_becomes_free_goes_to_the_element_that_states_it() -> None:
    pair = Pair()
    pair.peer.add("p", pair.right, id_="first")
    pair.send()
    del pair.left.children[0]
    pair.send()
    first = pair.found("first")
    assert first is not None
    assert first.parent is pair.found("right")


def test_the_other_one_of_two_with_one_id_may_get_a_new_one() -> None:
    pair = Pair()
    pair.peer.add("p", pair.right, id_="first")
    pair.send()
    pair.first.attributes["$id"] = "another"  # the one that the copy finds by it
    pair.send()
    for element_id, parent in (("first", "right"), ("another", "left")):
        element = pair.found(element_id)
        assert element is not None
        assert element.parent is pair.found(parent)


@pytest.mark.parametrize("value", [5, "", None, True])
def test_an_id_that_is_no_text_is_not_shown(value: object) -> None:
    pair = Pair()
    pair.first.attributes["$id"] = value
    pair.send()
    assert pair.found("first") is not None
    del pair.first.attributes["$id"]
    pair.send()
    assert pair.found("first") is not None


def test_an_id_that_is_taken_is_refused() -> None:
    pair = Pair()
    root = pair.copy.root
    with pytest.raises(InvalidRequestError, match="first"):
        root.append_json({"p": {"$id": "first"}})
    assert len(all_elements(root)) == 4
