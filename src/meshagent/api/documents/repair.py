"""Removes what an update has added to a document against its schema.

A schema cannot be checked before an update is applied, because the effect of an update depends on the state of the
document. So the room applies it, finds what the schema does not allow, and removes that before anybody else sees it.
Only changed nodes are checked, never the whole tree.

Removed are: elements of unknown or disallowed tags, or nested too deep; texts other than the one text node of an
element `text`; attributes the schema does not have or whose value is no JSON; values embedded in text; content that
is no node at all. Left alone are missing attributes, types of values and the order of children, because clients
build an element in many small updates (protocol 8.5).

Replaced are `$id`s that are no text, that another element has, or that were changed (`id_keeper`), and U+FFFD: an
editor may show half of a surrogate pair where others have that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.crdt_tree import children_of
from meshagent.api.documents.crdt_types import (
    Transaction,
    XmlContainer,
    XmlElement,
    XmlEvent,
    XmlNode,
    XmlText,
    is_element,
    is_text,
    is_xml_event,
)
from meshagent.api.documents.id_keeper import IdKeeper
from meshagent.api.documents.schema import ElementType, MeshSchema
from meshagent.api.documents.tree import ID, MAX_DEPTH, TEXT_TAG
from meshagent.api.documents.values import is_clean

__all__ = ["Violations", "find_violations", "remove_violations"]

_STAND_IN: Final = "\ufffd"


class StandIn(NamedTuple):
    """A part of a text from one U+FFFD to another, which may stand for halves of surrogate pairs at its author's.

    Yjs takes the character behind such a half for the other half, and replaces it when it splits the text there, so
    that one is part of it, too.
    """

    text: XmlText
    offset: int
    run: str
    attributes: dict[str, Any]

    def write_again(self, txn: Transaction) -> None:
        """Replace it by the same characters, which are then the same for everybody."""
        size = len(self.run.encode())
        self.text.insert(txn, self.offset, self.run, iter(self.attributes.items()))
        self.text.remove_range(txn, self.offset + size, size)


@dataclass(slots=True)
class Violations:
    """What must be removed, by the node that contains it."""

    children: dict[XmlContainer, list[int]] = field(default_factory=dict)
    embeds: dict[XmlText, list[int]] = field(default_factory=dict)
    attributes: list[tuple[XmlElement | XmlText, str]] = field(default_factory=list)
    root_attributes: list[str] = field(default_factory=list)
    stand_ins: list[StandIn] = field(default_factory=list)
    ids: dict[XmlElement, str] = field(default_factory=dict)
    replaced_ids: dict[XmlElement, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.children or self.embeds or self.attributes or self.root_attributes or self.stand_ins or self.ids
        )


def find_violations(
    doc: CrdtDoc,
    schema: MeshSchema,
    events: Iterable[XmlEvent],
    ids: IdKeeper | None = None,
    *,
    had_stand_ins: bool = False,
) -> Violations:
    """What the changes in `events` have added that the schema does not allow.

    Args:
        doc: The document, which has the changes.
        schema: Its schema.
        events: What was changed.
        ids: With it, also which ids to give.
        had_stand_ins: Whether texts had a `StandIn` before; what was typed behind it is then written again, too.
    """
    found = Violations()
    keeper = IdKeeper() if ids is None else ids
    for event in events:
        if not is_xml_event(event):
            continue  # inside content of another type, which was found when it was inserted
        target = event.target
        if is_text(target):
            before = _text_bytes(doc, target) if had_stand_ins else b""
            _check_text_event(found, target, event, before)
        elif is_element(target):
            element_type = schema.elements_by_tag_name.get(target.tag() or "")
            if element_type is not None:  # else the schema has changed since; the element is history
                _check_element_event(doc, schema, found, target, element_type, event, keeper)
        elif target == doc.root:
            _check_root_keys(found, schema.root, event)
            _check_children_event(doc, schema, found, doc.root, schema.root, event, keeper)
    return found


def remove_violations(doc: CrdtDoc, txn: Transaction, violations: Violations) -> None:
    """Remove violations, as part of `txn`."""
    for name in violations.root_attributes:
        doc.root_map.remove(txn, name)
    for node, name in violations.attributes:
        node.remove_attribute(txn, name)
    for element, element_id in violations.ids.items():
        element.insert_attribute(txn, ID, element_id)
    for stand_in in reversed(violations.stand_ins):
        stand_in.write_again(txn)
    for text, offsets in violations.embeds.items():
        for offset in sorted(offsets, reverse=True):
            text.remove_range(txn, offset, 1)
    for parent, indices in violations.children.items():
        for index in sorted(indices, reverse=True):
            parent.remove_range(txn, index, 1)


def _text_bytes(doc: CrdtDoc, text: XmlText) -> bytes:
    """The text as the CRDT counts it."""
    with doc.transaction() as txn:
        inserts = [insert for insert, _ in text.diff(txn)]
    return "".join(insert if isinstance(insert, str) else "\x1a" for insert in inserts).encode()


def _check_text_event(found: Violations, text: XmlText, event: XmlEvent, content: bytes = b"") -> None:
    if keys := event.keys:
        found.attributes.extend((text, name) for name, change in keys.items() if change["action"] != "delete")
    offset = 0
    for entry in event.delta:
        if "insert" in entry:
            follows = bool(content) and content[:offset].endswith(_STAND_IN.encode())
            offset += _note_insert(found, text, offset, entry["insert"], entry.get("attributes"), follows=follows)
        else:
            offset += entry.get("retain", 0)


def _note_insert(
    found: Violations,
    text: XmlText,
    offset: int,
    insert: object,
    attributes: dict[str, Any] | None,
    *,
    follows: bool = False,
) -> int:
    """Record what must be replaced in an insertion into a text; returns its length in the text."""
    if isinstance(insert, str):
        first = 0 if follows else insert.find(_STAND_IN)
        if first >= 0:
            run = insert[first : insert.rfind(_STAND_IN) + 2] or insert[:1]
            found.stand_ins.append(StandIn(text, offset + len(insert[:first].encode()), run, attributes or {}))
        return len(insert.encode())
    found.embeds.setdefault(text, []).append(offset)
    return 1


def _check_root_keys(found: Violations, root_type: ElementType, event: XmlEvent) -> None:
    for name, change in event.keys.items():
        if change["action"] != "delete" and not (name in root_type.attribute_names and is_clean(change["newValue"])):
            found.root_attributes.append(name)


def _check_element_event(
    doc: CrdtDoc,
    schema: MeshSchema,
    found: Violations,
    element: XmlElement,
    element_type: ElementType,
    event: XmlEvent,
    ids: IdKeeper,
) -> None:
    for name, change in event.keys.items():
        if name == ID:
            if (given := ids.check_change(change)) is not None:
                found.ids[element] = given
        elif change["action"] != "delete" and not _is_attribute_allowed(element_type, name, change["newValue"]):
            found.attributes.append((element, name))
    _check_children_event(doc, schema, found, element, element_type, event, ids)


def _check_children_event(
    doc: CrdtDoc,
    schema: MeshSchema,
    found: Violations,
    parent: XmlContainer,
    parent_type: ElementType,
    event: XmlEvent,
    ids: IdKeeper,
) -> None:
    inserted: list[tuple[int, object]] = []
    index = 0
    for entry in event.delta:
        if "insert" in entry:
            for node in entry["insert"]:
                inserted.append((index, node))
                index += 1
        else:
            index += entry.get("retain", 0)
    if not inserted:
        return
    with doc.transaction() as txn:
        walk = _SubtreeWalk(doc, schema, found, txn, ids)
        walk.add(parent, parent_type, inserted, len(event.path))
        walk.run()


class _SubtreeWalk:
    """Checks inserted nodes and their descendants. It does not recurse, because the sender chooses the depth."""

    def __init__(self, doc: CrdtDoc, schema: MeshSchema, found: Violations, txn: Transaction, ids: IdKeeper) -> None:
        self._doc = doc
        self._ids = ids
        self._schema = schema
        self._found = found
        self._txn = txn
        self._todo: list[tuple[XmlElement, int]] = []

    def run(self) -> None:
        while self._todo:
            element, depth = self._todo.pop()
            element_type = self._schema.element(element.tag() or "")
            stated = None
            for name, value in element.attributes(self._txn):
                if name == ID:
                    stated = value
                elif not _is_attribute_allowed(element_type, name, value):
                    self._found.attributes.append((element, name))
            self._check_id(element, stated)
            self.add(element, element_type, enumerate(children_of(self._txn, element)), depth)

    def add(
        self, parent: XmlContainer, parent_type: ElementType, children: Iterable[tuple[int, object]], depth: int
    ) -> None:
        for index, child in children:
            if is_element(child) and depth < MAX_DEPTH and parent_type.allows_child(child.tag() or ""):
                self._todo.append((child, depth + 1))
            elif is_text(child) and parent_type.tag_name == TEXT_TAG and self._is_text_node(parent, child):
                self._check_text(child)
            else:
                self._found.children.setdefault(parent, []).append(index)

    def _check_id(self, element: XmlElement, stated: object) -> None:
        given = self._ids.check_new(self._txn, self._doc.root, stated, self._found.replaced_ids)
        if given is not None:
            self._found.ids[element] = given
            if isinstance(stated, str):
                self._found.replaced_ids[element] = stated

    def _is_text_node(self, parent: XmlContainer, text: XmlText) -> bool:
        """Whether it is the first text among its siblings, at any position."""
        first: XmlNode | None = next(filter(is_text, parent.children(self._txn)), None)
        return first == text

    def _check_text(self, text: XmlText) -> None:
        for name, _ in text.attributes(self._txn):
            self._found.attributes.append((text, name))
        offset = 0
        for insert, attributes in text.diff(self._txn):
            offset += _note_insert(self._found, text, offset, insert, attributes)


def _is_attribute_allowed(element_type: ElementType, name: str, value: object) -> bool:
    return name in element_type.attribute_names and is_clean(value)
