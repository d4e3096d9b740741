"""The room's copy of an open document.

It ignores updates that change nothing, removes what an update adds against the schema, and applies the changes of an
author in their order. It does no I/O: its owner stores `Applied.update` and forwards it.

Source: protocol 7, 8.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from meshagent.api.documents.crdt_doc import CrdtDoc, MalformedUpdateError, merge_updates
from meshagent.api.documents.crdt_tree import read_root, write_root
from meshagent.api.documents.patch import patch_root
from meshagent.api.documents.repair import find_violations, remove_violations
from meshagent.api.documents.schema import ElementType, MeshSchema
from meshagent.api.documents.tree import ElementNode, TextNode, element_to_json, parse_document
from meshagent.api.documents.update_format import Gap, find_missing, read_vector

__all__ = ["Applied", "ServerDocument"]

_MAX_RECENT: Final = 32
_MAX_RECENT_BYTES: Final = 512
_MAX_HELD: Final = 64
_MAX_HELD_BYTES: Final = 1 << 20


class Applied(msgspec.Struct, frozen=True, gc=False):
    """The effect of an update on a document.

    Attributes:
        update: The effective change, including repairs: store it and send it to all other subscribers. None if the
            document is unchanged.
        repair: Removes those parts of the update that the schema does not allow: send it to the author, too. None
            if there are none.
        pending: The update depends on changes that have not arrived. It waits, and takes effect with them.
    """

    update: bytes | None = None
    repair: bytes | None = None
    pending: bool = False


_UNCHANGED: Final = Applied()


class ServerDocument:
    """One open document on the server; used on one event loop, closed by its owner.

    Args:
        schema: The schema of the document.
        client_id: Author id of the server's own changes; random by default.
    """

    __slots__ = ("_doc", "_held", "_recent", "schema")

    def __init__(self, schema: MeshSchema, *, client_id: int | None = None) -> None:
        self.schema = schema
        self._doc = CrdtDoc(client_id=client_id)
        self._recent: dict[bytes, None] = {}
        self._held: list[tuple[Gap, bytes]] = []

    def load(self, updates: Iterable[bytes]) -> None:
        """Apply stored history, oldest first, as it is: the schema may have changed since it was written.

        Updates that came early are part of it (`Applied.pending`) and wait as they did.

        Raises:
            MalformedUpdateError: The history is damaged.
        """
        for update in updates:
            self._integrate(update, check=False)
        self._recent.clear()

    def apply(self, update: bytes) -> Applied:
        """Apply a participant's update (Yjs v1) and repair what it breaks.

        Updates of one author must come in the order they were made; the rest may come in any order.

        Raises:
            MalformedUpdateError: Not an update; the document is as it was.
            DocumentDamagedError: Close this object and load the document again from its history.
        """
        if update in self._recent:  # every client sends back what it receives (protocol 7.4)
            return _UNCHANGED
        return self._integrate(update, check=True)

    def from_json(self, json: object) -> bytes | None:
        """Fill an empty document from its JSON form (protocol 8.3); returns the change.

        Missing elements of an ordered property are made as `seed` does.

        Raises:
            InvalidRequestError: The JSON does not fit the schema; nothing changed.
        """
        node = parse_document(self.schema, json)
        self._add_required(node, self.schema.root)
        with self._doc.transaction() as txn:
            write_root(self._doc, txn, node)
        return self._take(check=False).update

    def seed(self) -> bytes | None:
        """Insert the elements that a new document must have; returns the change, None if there are none.

        They are the children of ordered properties, from the root down: a thread gets its `members` and
        `messages` (protocol 17.1).
        """
        with self._doc.transaction() as txn:
            node = read_root(self._doc, txn, self.schema.root_tag_name)
            if node.children:
                return None
            self._add_required(node, self.schema.root)
            write_root(self._doc, txn, ElementNode(node.tag, {}, node.children))
        return self._take(check=False).update

    def patch_json(self, json: object) -> bytes | None:
        """Make the document equal to its new JSON form with as few edits as possible; returns the change.

        Children are matched by `$id` where the JSON has one, else by likeness in their order; texts change only
        where they differ. What others edit at the same time is kept where it does not touch the same thing.

        Raises:
            InvalidRequestError: The JSON does not fit the schema; nothing changed.
        """
        node = parse_document(self.schema, json)
        self._add_required(node, self.schema.root)
        with self._doc.transaction() as txn:
            patch_root(self._doc, txn, self.schema, node)
        return self._take(check=False).update

    def to_json(self, *, include_ids: bool = False) -> dict[str, Any]:
        """The document in its JSON form (protocol 8.3)."""
        with self._doc.transaction() as txn:
            node = read_root(self._doc, txn, self.schema.root_tag_name)
        return element_to_json(node, self.schema, include_ids=include_ids)

    def encode_state(self, vector: bytes | None = None) -> bytes:
        """The whole state as one update, or what a copy with that state vector lacks.

        Raises:
            MalformedUpdateError: `vector` is not a state vector.
        """
        return self._doc.encode(vector)

    def state_vector(self) -> bytes:
        """The state vector: how many changes of each author the document has."""
        return self._doc.state_vector()

    def close(self) -> None:
        """Release the CRDT and its observers. Closing again does nothing."""
        self._doc.close()
        self._recent.clear()
        self._held.clear()

    def _integrate(self, update: bytes, *, check: bool) -> Applied:
        """Apply an update, or hold it if it depends on missing changes.

        The CRDT could wait itself, but loses changes that came early when what they wait for comes in an unlucky order.
        """
        try:
            early = self._doc.apply(update, hold_early=True)
        except MalformedUpdateError:
            self._discard_queues()
            raise
        if early is not None:
            self._hold(update, early)
            return Applied(pending=True)
        applied = self._take(check=check)
        if applied.update is None or update[0] != 1:
            # An edit whose effect showed left nothing waiting; look closer at all others.
            missing = find_missing(self._doc.state_vector(), update)
            if missing is not None:
                applied = Applied(applied.update, applied.repair, pending=True)
                if missing.gap is not None:
                    self._rebuild()
                    self._hold(update, missing.gap)
        if self._held and applied.update is not None:
            return self._with_held(applied, check=check)
        return applied

    def _take(self, *, check: bool = True) -> Applied:
        """Return the queued changes as one update; with `check`, repair them first."""
        doc = self._doc
        updates, events = doc.updates, doc.events
        repair = None
        if events:
            if check and (violations := find_violations(doc, self.schema, events)):
                made = len(updates)
                with doc.transaction() as txn:
                    remove_violations(doc, txn, violations)
                repair = merge_updates(*updates[made:])
            events.clear()
        if not updates:
            return _UNCHANGED
        update = updates[0] if len(updates) == 1 else merge_updates(*updates)
        updates.clear()
        self._remember(update)
        return Applied(update, repair)

    def _remember(self, update: bytes) -> None:
        if len(update) <= _MAX_RECENT_BYTES:
            if len(self._recent) >= _MAX_RECENT:
                del self._recent[next(iter(self._recent))]
            self._recent[update] = None

    def _hold(self, update: bytes, gap: Gap) -> None:
        self._held.append((gap, update))
        while len(self._held) > _MAX_HELD or sum(len(held) for _, held in self._held) > _MAX_HELD_BYTES:
            self._held.pop(0)  # clients send their whole state again when they join

    def _rebuild(self) -> None:
        """Load the document again from its state, without changes that wait in the CRDT."""
        old = self._doc
        self._doc = CrdtDoc(client_id=old.client_id)
        self._doc.apply(old.encode())
        self._discard_queues()
        old.close()

    def _with_held(self, applied: Applied, *, check: bool) -> Applied:
        """Apply held updates that no longer lack anything, and add their effect."""
        parts = [applied]
        progress = True
        while progress and self._held:
            clocks = read_vector(self._doc.state_vector())
            ready = [held for held in self._held if clocks.get(held[0].client, 0) >= held[0].clock]
            progress = bool(ready)
            self._held = [held for held in self._held if held not in ready]
            for _, update in ready:
                self._doc.apply(update)
                parts.append(self._take(check=check))
        updates = [part.update for part in parts if part.update is not None]
        repairs = [part.repair for part in parts if part.repair is not None]
        return Applied(
            merge_updates(*updates) if updates else None,
            merge_updates(*repairs) if repairs else None,
            applied.pending,
        )

    def _discard_queues(self) -> None:
        self._doc.updates.clear()
        self._doc.events.clear()

    def _add_required(self, node: ElementNode, element_type: ElementType, path: frozenset[str] = frozenset()) -> None:
        """Add the missing children of ordered properties, recursively, in their order."""
        prop = element_type.child_property
        if prop is None or not prop.ordered or node.tag in path:
            return
        waiting = list(node.children)
        complete = [waiting.pop(0)] if waiting and isinstance(waiting[0], TextNode) else []
        for tag in prop.child_tag_names:
            child = waiting[0] if waiting else None
            present = isinstance(child, ElementNode) and child.tag == tag
            complete.append(waiting.pop(0) if present else ElementNode(tag))
        node.children[:] = complete
        for child in complete:
            if isinstance(child, ElementNode):
                self._add_required(child, self.schema.element(child.tag), path | {node.tag})
