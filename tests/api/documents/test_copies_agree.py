"""Random histories of two editors of another make: all copies end equal, and each element has an id of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pycrdt
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.documents.server_document import ServerDocument
from meshagent.api.documents.update_format import write_varint
from meshagent.api.documents.update_scan import scan_update
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_copies import all_elements
from tests.support.doc_schemas import page_schema
from tests.support.hypothesis_profiles import examples

TEXTS = ["ab", "😀", "x😀y", "é", "\ufffd", "😀🎈"]


class Editor:
    """An editor with what it has not sent, and what it has not received yet."""

    def __init__(self, number: int) -> None:
        self.peer = CrdtPeer(client_id=number)
        self.inbox: list[bytes] = []
        self.number = number
        self.made = 0

    def elements(self, tag: str) -> list[pycrdt.XmlElement]:
        return [child for child in self.peer.root.children if getattr(child, "tag", None) == tag]

    def add(self, a: int, b: int) -> None:
        self.made += 1
        boxes = self.elements("box")
        parent = boxes[a % len(boxes)] if boxes and b % 2 else None
        tag = ["p", "text", "text", "box"][a % 4]
        self.peer.add(tag, parent, id_=f"{self.number}-{self.made}")

    def move(self, a: int, b: int) -> None:
        """Move a paragraph of the root to its end, or into a box."""
        paragraphs, boxes = self.elements("p"), self.elements("box")
        if not paragraphs:
            return
        element = paragraphs[a % len(paragraphs)]
        element_id = element.attributes.get("$id") or "none"
        parent = boxes[b % len(boxes)] if boxes else None
        with self.peer.edit():
            if b % 3:
                self.peer.add("p", parent, id_=element_id)
            self._delete(element)
            if not b % 3:
                self.peer.add("p", parent, id_=element_id)

    def delete(self, a: int, b: int) -> None:
        children = [*self.elements("p"), *self.elements("text")]
        if children:
            self._delete(children[a % len(children)])

    def set_id(self, a: int, b: int) -> None:
        children = self.elements("p")
        if children:
            children[a % len(children)].attributes["$id"] = [5, "1-1", "new", ""][b % 4]

    def without_id(self, a: int, b: int) -> None:
        self.peer.root.children.append(pycrdt.XmlElement("p"))

    def write(self, a: int, b: int) -> None:
        if (text := self._text(a)) is not None:
            content = str(text)
            position = b % (len(content) + 1)
            text.insert(len(content[:position].encode()), TEXTS[(a + b) % len(TEXTS)])

    def erase(self, a: int, b: int) -> None:
        text = self._text(a)
        if text is not None and (content := str(text)):
            position = b % len(content)
            start = len(content[:position].encode())
            del text[start : start + len(content[position].encode())]

    def cut(self, a: int, b: int) -> None:
        """Delete half of a pair, as Yjs can. The library of this copy cannot: it gets that with the room's answer."""
        pairs = [(author, n) for author, ns in scan_update(self.peer.doc.get_update()).pairs.items() for n in ns]
        if pairs:
            author, middle = pairs[a % len(pairs)]
            number = write_varint(middle - b % 2)
            self.peer.sent.append(b"\x00\x01" + write_varint(author) + b"\x01" + number + b"\x01")

    def _text(self, a: int) -> pycrdt.XmlText | None:
        texts = self.elements("text")
        child = texts[a % len(texts)].children[0] if texts else None
        return child if isinstance(child, pycrdt.XmlText) else None

    def _delete(self, element: pycrdt.XmlElement) -> None:
        children = list(self.peer.root.children)
        del self.peer.root.children[children.index(element)]


EDITS: list[Callable[[Editor, int, int], None]] = [
    Editor.add,
    Editor.add,
    Editor.move,
    Editor.move,
    Editor.delete,
    Editor.set_id,
    Editor.without_id,
    Editor.write,
    Editor.write,
    Editor.erase,
    Editor.cut,
    Editor.cut,
]


class Room:
    """The room's copy, that of a participant who only watches, and what the room stored."""

    def __init__(self) -> None:
        self.editors = [Editor(1), Editor(2)]
        self.document = ServerDocument(page_schema())
        self.watcher = RuntimeDocument(page_schema())
        self.stored: list[bytes] = []

    def send(self, editor: Editor) -> None:
        for update in editor.peer.sent:
            applied = self.document.apply(update)
            if applied.repair is not None:
                editor.inbox.append(applied.repair)
            self._pass_on(applied.update, editor)
        editor.peer.sent.clear()

    def receive(self, editor: Editor) -> None:
        for update in editor.inbox:
            editor.peer.receive(update)
        editor.inbox.clear()

    def finish(self) -> None:
        for editor in self.editors:
            self.send(editor)
        self._pass_on(self.document.give_ids(), None)
        for editor in self.editors:
            self.receive(editor)

    def _pass_on(self, update: bytes | None, author: Editor | None) -> None:
        if update is None:
            return
        self.stored.append(update)
        self.watcher.apply_update(update)
        for editor in self.editors:
            if editor is not author:
                editor.inbox.append(update)


def read(history: list[bytes]) -> dict[str, Any]:
    reader = ServerDocument(page_schema())
    reader.load(history)
    return reader.to_json(include_ids=True)


steps = st.tuples(st.sampled_from([0, 1]), st.integers(0, len(EDITS) + 3), st.integers(0, 40), st.integers(0, 40))


@settings(max_examples=examples(150), deadline=None)
@given(st.lists(steps, max_size=40))
def test_all_copies_end_equal_with_ids_of_their_own(history: list[tuple[int, int, int, int]]) -> None:
    room = Room()
    for number, kind, a, b in history:
        editor = room.editors[number]
        if kind < len(EDITS):
            EDITS[kind](editor, a, b)
        elif kind % 2:
            room.send(editor)
        else:
            room.receive(editor)
    room.finish()
    content = room.document.to_json(include_ids=True)
    for editor in room.editors:
        assert read([editor.peer.doc.get_update()]) == content
    assert read(room.stored) == read([room.document.encode_state()]) == content
    assert room.watcher.to_json(include_ids=True) == content
    elements = all_elements(room.watcher.root)[1:]
    ids = [element.id for element in elements]
    assert len(set(ids)) == len(ids)
    for element in elements:
        assert isinstance(element.id, str)
        assert room.watcher.root.get_node_by_id(element.id) is element
