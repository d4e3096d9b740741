"""A CRDT as a tree of nodes with ids: change operations in, change notifications out.

The CRDT identifies nodes by handles and counts texts in UTF-8 bytes, and its events say how many nodes were removed,
not which. So this module keeps a skeleton of the tree, whose texts also serve to convert byte offsets.

Source: protocol 8.4 to 8.7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import pycrdt

from meshagent.api.documents.changes import ChangeWriter
from meshagent.api.documents.crdt_doc import CrdtDoc, merge_updates
from meshagent.api.documents.crdt_tree import children_of, read_text
from meshagent.api.documents.crdt_types import (
    Transaction,
    XmlElement,
    XmlEvent,
    XmlNode,
    is_element,
    is_text,
    is_xml_event,
)
from meshagent.api.documents.skeleton import ElementIds, SkeletonElement, SkeletonText, removed_by
from meshagent.api.documents.tree import ID, TextNode
from meshagent.api.documents.values import clean_attributes, clean_value

__all__ = ["Notification", "ServerXmlDocument"]

Notification = dict[str, Any]
LOCAL_ORIGIN: Final = 1
_EMBED: Final = "\x1a"  # stands for an embedded value: one character, one byte


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
        self._root = SkeletonElement(self._crdt.root, None)
        self._ids = ElementIds()
        self._nodes: dict[XmlNode, SkeletonElement | SkeletonText] = {}
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
        finally:
            self._flush()
        for change in changes:
            if change.get("undo"):
                self.undo()
            if change.get("redo"):
                self.redo()

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
        element = self._ids.find(element_id)
        return element.raw if element is not None and is_element(element.raw) else None

    def _flush(self) -> None:
        """Update the skeleton, then send notifications."""
        events = list(self._crdt.events)
        self._crdt.events.clear()
        self._crdt.cut_repairs.clear()
        if not events:
            return
        notifications = []
        with self._crdt.transaction() as txn:
            self._ids.expect_removal(removed_by(self._deltas(events)))
            for event in events:
                notification = self._follow(txn, event) if is_xml_event(event) else None
                if notification is not None:
                    notifications.append(notification)
        notifications += [_renamed(old, new) for old, new in self._ids.settle()]
        if self._notify is not None:
            for notification in notifications:
                self._notify(notification)

    def _deltas(self, events: Iterable[XmlEvent]) -> Iterator[tuple[SkeletonElement, list[dict[str, Any]]]]:
        """The changes of the children of known elements."""
        for event in events:
            if is_xml_event(event):
                node = self._root if event.target == self._crdt.root else self._nodes.get(event.target)
                if isinstance(node, SkeletonElement):
                    yield node, event.delta

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
        if isinstance(node, SkeletonText):
            notification = _notification(node.owner)
            notification["text"] = _follow_text(node, event.delta)
            return notification if notification["text"] else None
        if self._ids.is_leaving(node):
            return None
        notification = _notification(node)
        notification["attributes"] = self._follow_attributes(node, event.keys)
        notification["elements"] = self._follow_children(txn, node, event.delta)
        return notification

    def _follow_attributes(self, node: SkeletonElement, keys: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """What to tell about changed attributes; of a `$id` only what this copy finds the element by."""
        told: dict[str, Any] = {"set": [], "delete": []}
        for name, change in keys.items():
            value = None if change["action"] == "delete" else clean_value(change["newValue"])
            if name == ID and node is not self._root and not self._ids.rename(node, value):
                continue
            if change["action"] == "delete":
                told["delete"].append(name)
            else:
                told["set"].append({"name": name, "value": value})
        return told

    def _follow_children(
        self, txn: Transaction, parent: SkeletonElement, delta: Sequence[Mapping[str, Any]]
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
        self, txn: Transaction, raw: XmlNode | None, parent: SkeletonElement
    ) -> tuple[SkeletonElement | SkeletonText | None, dict[str, Any]]:
        """Add a new subtree to the skeleton; returns its root and its node form (protocol 8.6)."""
        if is_text(raw):
            node = read_text(txn, raw)
            text = SkeletonText(
                raw, parent, "".join(r.insert if isinstance(r.insert, str) else _EMBED for r in node.runs)
            )
            self._nodes[raw] = text
            return text, node.to_json()
        if not is_element(raw):
            return None, TextNode().to_json()
        attributes = clean_attributes(raw.attributes(txn))
        element = SkeletonElement(raw, None)
        attributes[ID] = self._ids.add(element, attributes.get(ID))
        self._nodes[raw] = element
        children = [self._adopt(txn, child, element) for child in children_of(txn, raw)]
        element.children.extend(skeleton for skeleton, _ in children)
        body = {"tagName": raw.tag() or "", "attributes": attributes, "children": [node for _, node in children]}
        return element, {"element": body}

    def _forget(self, node: SkeletonElement | SkeletonText | None) -> None:
        if node is None:
            return
        del self._nodes[node.raw]
        if isinstance(node, SkeletonElement):
            self._ids.remove(node)
            for child in node.children:
                self._forget(child)


def _follow_text(node: SkeletonText, delta: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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


def _notification(element: SkeletonElement) -> Notification:
    return {
        "root": element.id is None,
        "target": element.id,
        "elements": [],
        "attributes": {"set": [], "delete": []},
        "text": [],
    }


def _renamed(old: str | None, new: str) -> Notification:
    attributes = {"set": [{"name": ID, "value": new}], "delete": []}
    return {"root": False, "target": old, "elements": [], "attributes": attributes, "text": []}


def _element_step(
    *, retain: int | None = None, insert: list[dict[str, Any]] | None = None, delete: int | None = None
) -> dict[str, Any]:
    return {"retain": retain, "insert": insert, "delete": delete}


def _text_step(
    *, retain: int | None = None, insert: Any = None, delete: int | None = None, attributes: Any = None
) -> dict[str, Any]:
    return {"retain": retain, "insert": insert, "delete": delete, "attributes": attributes}
