"""The room's copy of an open document.

It ignores updates that change nothing, removes what an update adds against the schema, and applies the changes of an
author in their order. It does no I/O: its owner stores `Applied.update` and forwards it.

Source: protocol 7, 8.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from meshagent.api.documents.change_budget import ChangeBudget
from meshagent.api.documents.crdt_doc import CrdtDoc, DocumentDamagedError, MalformedUpdateError, merge_updates
from meshagent.api.documents.crdt_tree import read_root, write_root
from meshagent.api.documents.id_keeper import IdKeeper
from meshagent.api.documents.json_view import JsonChange, plan_change
from meshagent.api.documents.kept_view import KeptView
from meshagent.api.documents.lives import DocumentEndedError, make_mark, new_mark_author
from meshagent.api.documents.patch import patch_root
from meshagent.api.documents.repair import find_violations, remove_violations
from meshagent.api.documents.schema import ElementType, MeshSchema
from meshagent.api.documents.tree import ID, MAX_DEPTH, ElementNode, TextNode, element_to_json, parse_document
from meshagent.api.documents.update_format import read_vector
from meshagent.api.documents.update_nesting import MAX_ELEMENT_NESTING, check_nesting
from meshagent.api.documents.update_scan import UpdateScan, scan_in_steps, scan_update
from meshagent.api.errors import InvalidRequestError, LimitExceededError

__all__ = ["MAX_HELD", "MAX_HELD_BYTES", "Applied", "ServerDocument"]

log = logging.getLogger(__name__)

_MAX_RECENT: Final = 32
_MAX_RECENT_BYTES: Final = 512
_STEP_BYTES: Final = 64 * 1024  # of history, in one step
_BELOW_ELEMENTS: Final = 2  # a text and its characters
MAX_HELD: Final = 256
"""How many updates a document holds that came before what they depend on; one more is refused."""
MAX_HELD_BYTES: Final = 1 << 20
"""How many bytes they may have together."""


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

    __slots__ = (
        "_doc",
        "_had_stand_ins",
        "_held",
        "_held_bytes",
        "_ids",
        "_ids_are_checked",
        "_known",
        "_marks",
        "_recent",
        "_view",
        "may_hold",
        "schema",
    )

    def __init__(self, schema: MeshSchema, *, client_id: int | None = None) -> None:
        self.schema = schema
        self._doc = CrdtDoc(client_id=client_id)
        self._recent: dict[bytes, None] = {}
        self._held: dict[bytes, UpdateScan] = {}
        self._held_bytes = 0
        self.may_hold = True
        """Whether more updates that come early are taken."""
        self._marks: set[int] = set()
        self._had_stand_ins = False
        self._view = KeptView()
        self._ids = IdKeeper()
        self._ids_are_checked = True
        self._known: dict[int, int] = {}  # changes of each author that the document has at least

    @property
    def held(self) -> tuple[bytes, ...]:
        """Updates that wait for changes they depend on, oldest first. The encoded state does not have them."""
        return tuple(self._held)

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    @property
    def life(self) -> int | None:
        """Author of the mark of this life; None for documents that were made before there were marks."""
        return max(self._marks, default=None)

    def begin_life(self) -> None:
        """Mark the content as that of a new life; imported content may have marks of earlier ones."""
        author = new_mark_author(self._marks)
        self._marks.add(author)
        self._doc.apply(make_mark(author))
        self._take(check=False)

    def is_of_another_life(self, vector: bytes) -> bool:
        """Whether a copy with that state vector has content, but not of this life.

        Raises:
            MalformedUpdateError: It is no state vector.
        """
        try:
            clocks = read_vector(vector)
        except IndexError:
            raise MalformedUpdateError("not a state vector") from None
        return bool(clocks) and self.life is not None and self.life not in clocks

    def load(self, updates: Iterable[bytes]) -> None:
        """Apply stored history, oldest first, as it is: the schema may have changed since it was written.

        Updates that came early are part of it (`Applied.pending`) and wait as they did.

        Raises:
            MalformedUpdateError: The history is damaged.
        """
        for _ in self.load_steps(updates):
            pass

    def load_steps(self, updates: Iterable[bytes]) -> Iterator[None]:
        """As `load`, in steps between which others may work; the document must not be used before the last one."""
        self._ids_are_checked = False
        size = 0
        for update in updates:
            scan = yield from scan_in_steps(update)
            self._integrate(update, scan, loading=True)
            size += len(update)
            if size >= _STEP_BYTES:
                size = 0
                yield
        self._recent.clear()

    def import_state(self, state: bytes) -> None:
        """Load the content of a file, whose elements must nest no deeper than a document's.

        Raises:
            MalformedUpdateError: It is not the state of a document.
            InvalidRequestError: It lacks changes that its other changes depend on.
        """
        check_nesting(state, MAX_DEPTH + _BELOW_ELEMENTS)
        self.load([state])
        if self.held:
            raise InvalidRequestError("it lacks changes that its other changes depend on")

    def apply(self, update: bytes) -> Applied:
        """Apply a participant's update (Yjs v1) and repair what it breaks. Updates may come in any order.

        Raises:
            MalformedUpdateError: Not an update; the document is as it was.
            DocumentEndedError: It comes from a copy of another life of the document.
            LimitExceededError: It depends on changes that have not arrived, and no more such updates can be held.
            DocumentDamagedError: Close this object and load the document again from its history.
        """
        if update in self._recent:  # every client sends back what it receives (protocol 7.4)
            return _UNCHANGED
        return self._integrate(update, scan_update(update), loading=False)

    def from_json(self, json: object) -> bytes | None:
        """Fill an empty document from its JSON form (protocol 8.3); returns the change.

        Missing elements of an ordered property are made as `seed` does.

        Raises:
            InvalidRequestError, LimitExceededError: It does not fit the schema, or `ChangeBudget`; nothing changed.
        """
        node, budget = self._parse(json)
        budget.make([node])
        with self._doc.transaction() as txn:
            write_root(self._doc, txn, node)
        return self._take_own()

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
        return self._take_own()

    def patch_json(self, json: Any) -> bytes | None:
        """Make the document equal to its new JSON form with as few edits as possible; returns the change.

        Children are matched by `$id` where the JSON has one, else by likeness in their order; texts change only
        where they differ. What others edit at the same time is kept where it does not touch the same thing. What of
        `json` is the same object as in `view` with ids is known to be the same, and not looked at.

        Raises:
            InvalidRequestError, LimitExceededError: It does not fit the schema, or `ChangeBudget`; nothing changed.
        """
        kept = self._view.content
        if kept is not None and (update := self._patch_parts(kept, json)) is not None:
            return update.update
        node, budget = self._parse(json)
        with self._doc.transaction() as txn:
            patch_root(self._doc, txn, self.schema, node, budget)
        return self._take_own()

    def _parse(self, json: object) -> tuple[ElementNode, ChangeBudget]:
        budget = ChangeBudget()
        budget.compare(json)
        node = parse_document(self.schema, json)
        self._add_required(node, self.schema.root)
        return node, budget

    def _patch_parts(self, current: dict[str, Any], json: Any) -> Applied | None:
        """Change what differs between two JSON forms; None if that takes a comparison of the whole document."""
        with self._doc.transaction() as txn:
            change = JsonChange(self._doc, txn, self.schema, self._ids.is_used)
            if not plan_change(change, current, json):
                return None
            after = change.write()
        plain = self._view.plain
        update = self._take_own()
        self._view.replace(after, plain)
        return Applied(update)

    @property
    def lacks_ids(self) -> bool:
        """Whether there may be elements that shall get an `$id` if their authors set none (`give_ids`)."""
        return self._ids.missing > 0

    def give_ids(self) -> bytes | None:
        """Give an `$id` to each element that lacks one, or has that of another one; returns the change."""
        if self._ids_are_checked and not self.lacks_ids:
            return None
        with self._doc.transaction() as txn:
            for element, element_id in self._ids.audit(txn, self._doc.root):
                element.insert_attribute(txn, ID, element_id)
        self._ids_are_checked = True
        return self._take_own()

    def to_json(self, *, include_ids: bool = False) -> dict[str, Any]:
        """The document in its JSON form (protocol 8.3)."""
        with self._doc.transaction() as txn:
            node = read_root(self._doc, txn, self.schema.root_tag_name)
        return element_to_json(node, self.schema, include_ids=include_ids)

    def view(self, *, include_ids: bool = False) -> dict[str, Any]:
        """As `to_json`, but kept until the document changes: do not change what you get."""
        if self._view.content is None:
            for _ in self.view_steps():
                pass
        content = self._view.content
        assert content is not None
        return content if include_ids else self._view.without_ids(self.schema)

    def view_steps(self) -> Iterator[None]:
        """Read what `view` returns in small steps; it is not there at the end if the document changed between them."""
        if self._view.content is not None:
            return
        yield from self._view.read(self._doc, self.schema)
        if self._view.content is not None and self._view.has_own_ids:
            self._ids_are_checked = True
            self._ids.missing = 0

    @property
    def has_view(self) -> bool:
        """Whether `view` costs nothing now."""
        return self._view.content is not None

    def content_version(self) -> str:
        """Names the content, ids included, however its attributes are ordered in memory."""
        self.view(include_ids=True)
        return self._view.version()

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

    def _integrate(self, update: bytes, scan: UpdateScan, *, loading: bool) -> Applied:
        """Apply an update, or hold it if it depends on missing changes.

        The CRDT could wait itself, but loses changes that came early when what they wait for comes in an unlucky order,
        and does not put them into its state.
        """
        if scan.parents > MAX_ELEMENT_NESTING and not loading:
            check_nesting(update)
        if scan.marks:
            self._check_life(scan.marks, loading=loading)
        if self._lacks(scan.needs):
            self._hold(update, scan, loading=loading)
            return Applied(pending=True)
        applied = self._apply(update, scan, check=not loading)
        if self._held and applied.update is not None:
            return self._with_held(applied, check=not loading)
        return applied

    def _check_life(self, marks: frozenset[int], *, loading: bool) -> None:
        if loading:
            self._marks |= marks
        elif not marks <= self._marks or self.life not in marks:
            raise DocumentEndedError("the update is of another document that was at this path", change="replaced")

    def _apply(self, update: bytes, scan: UpdateScan, *, check: bool) -> Applied:
        """Apply an update that lacks nothing."""
        doc = self._doc
        try:
            doc.apply(update, scan)
        except MalformedUpdateError:
            self._discard_queues()
            raise
        as_sent = len(doc.updates) == 1 and doc.updates[0] == update
        if as_sent or not check:  # stored history is what was applied
            if scan.ids or scan.deletions:
                self._ids.note(scan)
        else:
            self._note_own(doc.updates)
        applied = self._take(check=check)
        if not as_sent and self._lacks(scan.ends):
            self._rebuild()
            if applied.update is None:
                raise MalformedUpdateError("not a document update: its changes depend on each other in a circle")
        known = self._known
        for client, clock in scan.ends.items():
            if clock > known.get(client, 0):
                known[client] = clock
        return applied

    def _lacks(self, needs: Mapping[int, int]) -> bool:
        """Whether the document has less than that many changes of some author."""
        if _has(self._known, needs):
            return False
        self._known = read_vector(self._doc.state_vector())
        return not _has(self._known, needs)

    def _take(self, *, check: bool = True) -> Applied:
        """Return the queued changes as one update; with `check`, repair them first."""
        doc = self._doc
        updates, events = doc.updates, doc.events
        repairs: list[bytes] = []
        if doc.cut_repairs:
            repairs += doc.cut_repairs if check else ()
            doc.cut_repairs.clear()
        if events:
            if check and (
                violations := find_violations(doc, self.schema, events, self._ids, had_stand_ins=self._had_stand_ins)
            ):
                made = len(updates)
                with doc.transaction() as txn:
                    remove_violations(doc, txn, violations)
                self._had_stand_ins = self._had_stand_ins or bool(violations.stand_ins)
                repairs += updates[made:]
                self._note_own(updates[made:])
            events.clear()
        if not updates:
            return _UNCHANGED
        self._view.forget()
        update = updates[0] if len(updates) == 1 else merge_updates(*updates)
        updates.clear()
        self._remember(update)
        return Applied(update, merge_updates(*repairs) if repairs else None)

    def _take_own(self) -> bytes | None:
        """Return the queued changes of the server itself as one update."""
        self._note_own(self._doc.updates)
        return self._take(check=False).update

    def _remember(self, update: bytes) -> None:
        if len(update) <= _MAX_RECENT_BYTES:
            if len(self._recent) >= _MAX_RECENT:
                del self._recent[next(iter(self._recent))]
            self._recent[update] = None

    def _hold(self, update: bytes, scan: UpdateScan, *, loading: bool) -> None:
        if update in self._held:
            return
        too_many = len(self._held) >= MAX_HELD or self._held_bytes + len(update) > MAX_HELD_BYTES
        if not loading and (too_many or not self.may_hold):
            raise LimitExceededError(
                "the update depends on changes that have not arrived, and too many updates wait for such changes",
                limit=MAX_HELD_BYTES,
            )
        self._held[update] = scan
        self._held_bytes += len(update)

    def _rebuild(self) -> None:
        """Load the document again from its state, without changes that wait in the CRDT."""
        old = self._doc
        self._doc = CrdtDoc(client_id=old.client_id)
        self._doc.apply(old.encode())
        self._discard_queues()
        self._known = {}
        old.close()

    def _with_held(self, applied: Applied, *, check: bool) -> Applied:
        """Apply held updates that no longer lack anything, and add their effect."""
        parts = [applied]
        progress = True
        while progress and self._held:
            self._known = read_vector(self._doc.state_vector())
            progress = self._apply_ready(parts, check=check)
        updates = [part.update for part in parts if part.update is not None]
        repairs = [part.repair for part in parts if part.repair is not None]
        return Applied(
            merge_updates(*updates) if updates else None,
            merge_updates(*repairs) if repairs else None,
        )

    def _apply_ready(self, parts: list[Applied], *, check: bool) -> bool:
        """Apply the held updates that lack nothing, or nothing more after others of them; whether there were any.

        What each brings is noted by `_apply`: asking the CRDT each time would take a second for a long chain.
        """
        before = len(parts)
        progress = True
        while progress:
            progress = False
            for update, scan in list(self._held.items()):
                if _has(self._known, scan.needs):
                    progress = True
                    del self._held[update]
                    self._held_bytes -= len(update)
                    parts.append(self._apply_held(update, scan, check=check))
        return len(parts) > before

    def _apply_held(self, update: bytes, scan: UpdateScan, *, check: bool) -> Applied:
        try:
            return self._apply(update, scan, check=check)
        except DocumentDamagedError:
            raise
        except MalformedUpdateError as error:  # what it waited for shows that it can never be applied
            log.warning("dropped an update that waited for changes of others: %s", error)
            return _UNCHANGED

    def _discard_queues(self) -> None:
        self._doc.updates.clear()
        self._doc.events.clear()
        self._doc.cut_repairs.clear()

    def _note_own(self, updates: Iterable[bytes]) -> None:
        for update in updates:
            self._ids.note(scan_update(update))

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


def _has(known: Mapping[int, int], needs: Mapping[int, int]) -> bool:
    return all(known.get(client, 0) >= clock for client, clock in needs.items())
