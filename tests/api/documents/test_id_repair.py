"""Ids that the room's copy repairs: all copies then agree, and find each element by its own id."""

from __future__ import annotations

from typing import Any

import pycrdt
import pytest

from meshagent.api.documents.server_document import Applied, ServerDocument
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_schemas import page_schema


class Room:
    """A room's copy, and those of editors of another make."""

    def __init__(self, *, editors: int = 1) -> None:
        self.document = ServerDocument(page_schema())
        self.editors = [CrdtPeer(client_id=number) for number in range(1, editors + 1)]
        first = self.editors[0]
        self.left = first.add("box", id_="left")
        first.add("box", id_="right")
        first.add("p", self.left, id_="first")
        self.deliver(first)

    def deliver(self, editor: CrdtPeer) -> list[Applied]:
        """Give the editor's updates to the room, and what comes of it to everybody."""
        results = []
        for update in editor.sent:
            result = self.document.apply(update)
            results.append(result)
            if result.repair is not None:
                editor.receive(result.repair)
            for other in self.editors:
                if other is not editor and result.update is not None:
                    other.receive(result.update)
        editor.sent.clear()
        return results

    def give_ids(self) -> None:
        if (update := self.document.give_ids()) is not None:
            for editor in self.editors:
                editor.receive(update)

    def ids(self) -> list[Any]:
        """The ids of all elements, the same in all copies."""
        for editor in self.editors:
            reader = ServerDocument(page_schema())
            reader.load([editor.doc.get_update()])
            assert reader.to_json(include_ids=True) == self.document.to_json(include_ids=True)
        return _ids(self.document.to_json(include_ids=True)["page"]["children"])


def _ids(children: list[Any]) -> list[Any]:
    found = []
    for child in children:
        [body] = child.values()
        found += [body.get("$id"), *_ids(body.get("items", []))]
    return found


def _move(editor: CrdtPeer) -> None:
    left, right = editor.root.children
    with editor.edit():
        editor.add("p", right, id_="first")
        del left.children[0]


def test_a_move_keeps_the_id() -> None:
    room = Room(editors=2)
    _move(room.editors[0])
    [result] = room.deliver(room.editors[0])
    assert result.repair is None
    assert room.ids() == ["left", "right", "first"]


def test_two_people_who_move_one_element_end_with_two_ids() -> None:
    room = Room(editors=2)
    for editor in room.editors:
        _move(editor)
    for editor in room.editors:
        room.deliver(editor)
    ids = room.ids()
    assert len(ids) == 4
    assert len(set(ids)) == 4
    assert "first" in ids
    changed = room.document.to_json(include_ids=True)
    changed["page"]["title"] = "Both are here"
    assert room.document.patch_json(changed) is not None


def test_of_two_copies_in_one_update_one_keeps_the_id() -> None:
    room = Room()
    [editor] = room.editors
    with editor.edit():
        editor.add("p", id_="twin")
        editor.add("p", id_="twin")
    room.deliver(editor)
    ids = room.ids()
    assert ids.count("twin") == 1
    assert len(set(ids)) == len(ids) == 5


@pytest.mark.parametrize("value", [5, "", True, 1.5, ["x"]])
def test_a_new_id_that_is_no_text_is_replaced(value: Any) -> None:
    room = Room()
    [editor] = room.editors
    with editor.edit():
        editor.add("p").attributes["$id"] = value
    room.deliver(editor)
    assert all(isinstance(element_id, str) and element_id for element_id in room.ids())


def test_a_changed_id_is_changed_back() -> None:
    room = Room(editors=2)
    editor = room.editors[1]
    editor.root.children[0].attributes["$id"] = "other"
    room.deliver(editor)
    assert room.ids() == ["left", "first", "right"]
    del editor.root.children[0].attributes["$id"]
    room.deliver(editor)
    assert room.ids() == ["left", "first", "right"]
    editor.root.children[1].attributes["$id"] = "left"
    room.deliver(editor)
    assert room.ids() == ["left", "first", "right"]


def test_an_element_gets_an_id_if_its_author_sets_none() -> None:
    room = Room()
    [editor] = room.editors
    editor.root.children.append(pycrdt.XmlElement("p"))
    assert [result.repair for result in room.deliver(editor)] == [None]
    assert room.document.lacks_ids
    room.give_ids()
    assert not room.document.lacks_ids
    given = room.ids()[-1]
    assert isinstance(given, str)
    assert given
    editor.root.children[2].attributes["$id"] = "late"  # its author may have sent that before it knew
    room.deliver(editor)
    assert room.ids()[-1] == "late"
    editor.root.children[2].attributes["$id"] = "later"
    room.deliver(editor)
    assert room.ids()[-1] == "late"


def test_an_author_may_set_the_id_in_an_update_of_its_own() -> None:
    room = Room()
    [editor] = room.editors
    element = editor.root.children.append(pycrdt.XmlElement("p"))
    element.attributes["$id"] = "mine"
    assert [result.repair for result in room.deliver(editor)] == [None, None]
    assert not room.document.lacks_ids
    assert room.document.give_ids() is None
    assert room.ids()[-1] == "mine"


def test_ids_are_known_after_a_restart_and_old_ones_are_repaired_when_needed() -> None:
    editor = CrdtPeer()
    for element_id in ("a", "a", 7, None):
        element = editor.root.children.append(pycrdt.XmlElement("p"))
        if element_id is not None:
            element.attributes["$id"] = element_id
    document = ServerDocument(page_schema())
    document.load([editor.doc.get_update()])
    editor.receive(document.give_ids() or b"")
    ids = _ids(document.to_json(include_ids=True)["page"]["children"])
    assert ids[0] == "a"
    assert len(set(ids)) == 4
    assert document.give_ids() is None
    again = ServerDocument(page_schema())
    again.load([document.encode_state()])
    editor.sent.clear()
    editor.add("p", id_="a")
    result = again.apply(editor.take())
    assert result.repair is not None


def test_a_deleted_id_may_be_used_again() -> None:
    room = Room()
    [editor] = room.editors
    for _ in range(3):
        del editor.root.children[0]
        box = editor.add("box", id_="left")
        editor.add("p", box, id_="first")
        editor.root.children.append(pycrdt.XmlElement("box", {"$id": "right"}))
        del editor.root.children[0]
        assert [result.repair for result in room.deliver(editor)].count(None) >= 4
    assert len(set(room.ids())) == 3
