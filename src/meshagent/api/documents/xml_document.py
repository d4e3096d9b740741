"""A CRDT as a tree of nodes with ids: change operations in, change notifications out.

The CRDT identifies nodes by handles and counts texts in UTF-8 bytes, and its events say how many nodes were removed,
not which. So this module keeps a skeleton of the tree: ids, order, and the plain text of each text node, to convert
byte offsets with.

Source: protocol 8.4 to 8.7.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pycrdt

from meshagent.api.documents.changes import ChangeWriter
from meshagent.api.documents.crdt_doc import CrdtDoc, merge_updates
from meshagent.api.documents.crdt_tree import children_of, read_text
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
from meshagent.api.documents.tree import ID, TextNode
from meshagent.api.documents.values import clean_attributes, clean_value

__all__ = ["Notification", "ServerXmlDocument"]

Notification = dict[str, Any]
LOCAL_ORIGIN: Final = 1
_EMBED: Final = "\x1a"  # stands for an embedded value: one character, one byte


class _Element:
    """Skeleton of an element; the root has no id. Content that is not a node is None, so that positions are right."""

    __slots__ = ("children", "id", "raw")

    def __init__(self, raw: XmlContainer, element_id: str | None) -> None:
        self.raw = raw
        self.id = element_id
        self.children: list[_Element | _Text | None] = []


class _Text:
    """Skeleton of a text node."""

    __slots__ = ("owner", "raw", "text")

    def __init__(self, raw: XmlText, owner: _Element, text: str) -> None:
        self.raw = raw
        self.owner = owner
        self.text = text


class ServerXmlDocument:
    """Applies change operations and updates to a CRDT document, and sends notifications of what they changed.

    Args:
        doc: The document; a new one if None. A binding document stays usable by its owner.
        undo: Record local changes so that they can be undone.
        notify_changes: Called with each notification (protocol 8.6), after all changes of a transaction are in.
    """

    def __init__(
        self,
        doc: pycrdt.Doc[Any] | CrdtDoc | None = None,
        undo: bool = False,
        notify_changes: Callable[[Notification], None] | None = None,
    ) -> None:
        self._crdt = doc if isinstance(doc, CrdtDoc) else CrdtDoc(doc=doc)
        self._notify = notify_changes
        self._root = _Element(self._crdt.root, None)
        self._elements: dict[str, _Element] = {}
        self._nodes: dict[XmlNode, _Element | _Text] = {}
        if undo:
            self._crdt.track_undo(LOCAL_ORIGIN)
        self._announce_initial_content()

    def apply_changes(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Make edits (protocol 8.5) in one transaction; `take_update` has them as one update.

        Undo and redo are steps of their own, after the other changes of the list. A change that fails leaves those
        before it in place.

        Raises:
            NotFoundError: A change names an element that does not exist.
            InvalidRequestError: A change holds a value or a text that a document cannot hold.
        """
        try:
            with self._crdt.transaction(LOCAL_ORIGIN) as txn:
                writer = ChangeWriter(txn, self._crdt, self._handle)
                for change in changes:
                    writer.write(change)
            for change in changes:
                if change.get("undo"):
                    self._crdt.undo()
                if change.get("redo"):
                    self._crdt.redo()
        finally:
            self._flush()

    def undo(self) -> bool:
        """Undo the latest local edits; False if nothing is recorded."""
        done = self._crdt.undo()
        self._flush()
        return done

    def redo(self) -> bool:
        """Redo what was undone last; False if nothing was."""
        done = self._crdt.redo()
        self._flush()
        return done

    def track_undo(self, *, merge_within: float = 0.5) -> None:
        """Record local edits from now on; those within `merge_within` seconds are undone together."""
        self._crdt.track_undo(LOCAL_ORIGIN, merge_within=merge_within)

    def take_update(self) -> bytes | None:
        """The local changes since the last call as one update, None if there are none."""
        updates = list(self._crdt.updates)
        self._crdt.updates.clear()
        return merge_updates(*updates) if updates else None

    def apply_update(self, update: bytes) -> None:
        """Apply a remote update; raises `MalformedUpdateError` if it cannot be read."""
        local = len(self._crdt.updates)
        try:
            self._crdt.apply(update)
        finally:
            del self._crdt.updates[local:]
            self._flush()

    def get_state(self, vector: bytes | None = None) -> bytes:
        """The whole state as an update, or what a copy with that state vector lacks."""
        return self._crdt.encode(vector)

    def get_state_vector(self) -> bytes:
        """The state vector: how many changes of each author this copy has."""
        return self._crdt.state_vector()

    def close(self) -> None:
        """Stop observing. Closing again does nothing."""
        self._crdt.close()

    def _handle(self, element_id: str) -> XmlElement | None:
        element = self._elements.get(element_id)
        return element.raw if element is not None and is_element(element.raw) else None

    def _flush(self) -> None:
        """Update the skeleton, then send notifications."""
        events = list(self._crdt.events)
        self._crdt.events.clear()
        if not events:
            return
        notifications = []
        with self._crdt.transaction() as txn:
            for event in events:
                notification = self._follow(txn, event) if is_xml_event(event) else None
                if notification is not None:
                    notifications.append(notification)
        if self._notify is not None:
            for notification in notifications:
                self._notify(notification)

    def _announce_initial_content(self) -> None:
        crdt = self._crdt
        with crdt.transaction() as txn:
            children = [self._adopt(txn, child, self._root) for child in children_of(txn, crdt.root)]
            names = crdt.root_map.keys(txn)
            attributes = [{"name": name, "value": clean_value(crdt.root_map.get(txn, name))} for name in names]
        self._root.children.extend(skeleton for skeleton, _ in children)
        notification = _notification(self._root)
        if children:
            notification["elements"].append(_element_step(insert=[node for _, node in children]))
        notification["attributes"]["set"].extend(attributes)
        if self._notify is not None and (children or attributes):
            self._notify(notification)

    def _follow(self, txn: Transaction, event: XmlEvent) -> Notification | None:
        """Apply one event to the skeleton; returns its notification, None if there is nothing to tell."""
        target = event.target
        node = self._root if target == self._crdt.root else self._nodes.get(target)
        if node is None:
            return None  # it was removed or inserted in the same transaction
        if isinstance(node, _Text):
            notification = _notification(node.owner)
            notification["text"] = _follow_text(node, event.delta)
            return notification if notification["text"] else None
        notification = _notification(node)
        for name, change in event.keys.items():
            if change["action"] == "delete":
                notification["attributes"]["delete"].append(name)
            else:
                value = clean_value(change["newValue"])
                notification["attributes"]["set"].append({"name": name, "value": value})
                if name == ID and node is not self._root:
                    self._rename(node, value)
        notification["elements"] = self._follow_children(txn, node, event.delta)
        return notification

    def _rename(self, element: _Element, element_id: object) -> None:
        """Note that an element got its `$id` after it was inserted."""
        if isinstance(element_id, str) and element_id not in self._elements:
            del self._elements[element.id or ""]
            element.id = element_id
            self._elements[element_id] = element

    def _follow_children(
        self, txn: Transaction, parent: _Element, delta: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        steps = []
        position = 0
        for entry in delta:
            if "insert" in entry:
                adopted = [self._adopt(txn, node, parent) for node in entry["insert"]]
                parent.children[position:position] = [skeleton for skeleton, _ in adopted]
                position += len(adopted)
                steps.append(_element_step(insert=[node for _, node in adopted]))
            elif "delete" in entry:
                for child in parent.children[position : position + entry["delete"]]:
                    self._forget(child)
                del parent.children[position : position + entry["delete"]]
                steps.append(_element_step(delete=entry["delete"]))
            else:
                position += entry["retain"]
                steps.append(_element_step(retain=entry["retain"]))
        return steps

    def _adopt(
        self, txn: Transaction, raw: XmlNode | None, parent: _Element
    ) -> tuple[_Element | _Text | None, dict[str, Any]]:
        """Add a new subtree to the skeleton; returns its root and its node form (protocol 8.6)."""
        if is_text(raw):
            node = read_text(txn, raw)
            text = _Text(raw, parent, "".join(r.insert if isinstance(r.insert, str) else _EMBED for r in node.runs))
            self._nodes[raw] = text
            return text, node.to_json()
        if not is_element(raw):
            return None, TextNode().to_json()
        attributes = clean_attributes(raw.attributes(txn))
        element_id = attributes.get(ID)
        if not isinstance(element_id, str) or element_id in self._elements:
            element_id = attributes[ID] = str(uuid.uuid4())  # only this copy knows this id
        element = _Element(raw, element_id)
        self._elements[element_id] = element
        self._nodes[raw] = element
        children = [self._adopt(txn, child, element) for child in children_of(txn, raw)]
        element.children.extend(skeleton for skeleton, _ in children)
        body = {"tagName": raw.tag() or "", "attributes": attributes, "children": [node for _, node in children]}
        return element, {"element": body}

    def _forget(self, node: _Element | _Text | None) -> None:
        if node is None:
            return
        del self._nodes[node.raw]
        if isinstance(node, _Element):
            del self._elements[node.id or ""]
            for child in node.children:
                self._forget(child)


def _follow_text(node: _Text, delta: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Apply a delta counted in bytes to the plain text; returns it counted in characters."""
    old = node.text.encode()
    ascii_only = len(old) == len(node.text)
    position = 0
    parts: list[str] = []
    steps = []
    for entry in delta:
        if "insert" in entry:
            insert = entry["insert"] if isinstance(entry["insert"], str) else clean_value(entry["insert"])
            parts.append(insert if isinstance(insert, str) else _EMBED)
            attributes = clean_attributes(entry.get("attributes"))
            steps.append(_text_step(insert={} if insert is None else insert, attributes=attributes or None))
            continue
        size = entry["retain"] if "retain" in entry else entry["delete"]
        piece = old[position : position + size].decode(errors="replace")
        position += size
        length = size if ascii_only else len(piece)
        if "retain" in entry:
            parts.append(piece)
            attributes = clean_attributes(entry.get("attributes"))
            steps.append(_text_step(retain=length, attributes=attributes or None))
        else:
            steps.append(_text_step(delete=length))
    parts.append(old[position:].decode(errors="replace"))
    node.text = "".join(parts)
    return steps


def _notification(element: _Element) -> Notification:
    return {
        "root": element.id is None,
        "target": element.id,
        "elements": [],
        "attributes": {"set": [], "delete": []},
        "text": [],
    }


def _element_step(
    *, retain: int | None = None, insert: list[dict[str, Any]] | None = None, delete: int | None = None
) -> dict[str, Any]:
    return {"retain": retain, "insert": insert, "delete": delete}


def _text_step(
    *, retain: int | None = None, insert: Any = None, delete: int | None = None, attributes: Any = None
) -> dict[str, Any]:
    return {"retain": retain, "insert": insert, "delete": delete, "attributes": attributes}
