"""The CRDT of a document: one Yjs document with one tree in it.

The only module that calls pycrdt's document functions, so that its failures are handled once: an update that cannot be
read is a `MalformedUpdateError`, never a Rust panic. Observers only append to queues, because an exception or a write
inside one would corrupt the transaction that called it.

Source: protocol 8.4; Yjs update format v1.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, cast

import pycrdt
from pycrdt import _pycrdt

from meshagent.api.documents.crdt_types import Transaction, XmlContainer, XmlEvent, XmlMap
from meshagent.api.documents.surrogates import SurrogatePairs, has_pairs
from meshagent.api.documents.update_format import read_varint, read_vector
from meshagent.api.documents.update_scan import MAX_VALUE_NESTING, MalformedUpdateError, UpdateScan, scan_update
from meshagent.api.errors import InvalidStateError

__all__ = [
    "ROOT_NAME",
    "CrdtDoc",
    "DocumentDamagedError",
    "MalformedUpdateError",
    "is_panic",
    "merge_updates",
    "new_client_id",
]

ROOT_NAME: Final = "xml"
_EMPTY_VECTOR: Final = b"\x00"


class DocumentDamagedError(MalformedUpdateError):
    """An update broke the CRDT while it was applied. Drop the document and load it again from its history."""

    code = "document_damaged"


class CrdtDoc:
    """One Yjs document, and queues of its changes.

    Attributes:
        client_id: Author id of this copy's own changes.
        root: The root element: a list of children. Its tag is the schema's.
        root_map: The same root as a map: its attributes.
        updates: Changes of committed transactions as updates, oldest first. The owner empties the list.
        events: Changes of committed transactions node by node. The owner empties the list.
        cut_repairs: Parts of `updates` that delete characters of which a remote update had cut off a half; the copy
            that sent it lacks them. The owner empties the list.
    """

    __slots__ = (
        "_closed",
        "_damaged",
        "_doc",
        "_pairs",
        "_subscriptions",
        "_txn",
        "_undo",
        "_with_pairs",
        "cut_repairs",
        "events",
        "root",
        "root_map",
        "updates",
    )

    def __init__(self, *, client_id: int | None = None, doc: pycrdt.Doc[pycrdt.XmlFragment] | None = None) -> None:
        self._doc = _pycrdt.Doc(client_id or new_client_id(), None, None) if doc is None else doc._doc
        self._txn: Transaction | None = None
        self._damaged = False
        self._closed = False
        self._undo: _pycrdt.UndoManager | None = None
        self._pairs = SurrogatePairs()
        self.cut_repairs: list[bytes] = []
        self.updates: list[bytes] = []
        self.events: list[XmlEvent] = []
        txn = self._doc.create_transaction()
        # As a fragment first: pycrdt 0.14 cannot report changes of a root that was opened as a map first.
        self.root = cast(XmlContainer, self._doc.get_or_insert_xml_fragment(txn, ROOT_NAME))
        self.root_map = cast(XmlMap, self._doc.get_or_insert_map(txn, ROOT_NAME))
        txn.drop()
        # The callbacks hold the lists, not this object: references through Rust are not garbage collected.
        self._with_pairs: list[bytes] = []
        self._subscriptions = [
            self._doc.observe(partial(_note_update, self.updates, self._with_pairs)),
            cast("_pycrdt.XmlFragment", self.root).observe_deep(self.events.extend),  # type: ignore[arg-type]  # stub
        ]

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def client_id(self) -> int:
        return self._doc.client_id()

    @contextmanager
    def transaction(self, origin: int | None = None) -> Iterator[Transaction]:
        """Open a transaction, or join the one that is open; all its changes are one update.

        An exception inside does not undo what was done before it.
        """
        if self._txn is not None:
            yield self._txn
            return
        self._check_usable()
        txn = self._begin(origin)
        self._txn = txn
        try:
            yield txn
        finally:
            self._txn = None
            self._end(txn)

    def apply(self, update: bytes, scan: UpdateScan | None = None) -> None:
        """Apply a remote update, which appends to `updates` and `events`.

        A character that the update cuts in two is deleted in the same transaction (`cut_repairs`).

        Args:
            update: The update; what it depends on must be there, or else the library holds it, and may lose it.
            scan: What `scan_update` read in it, if that was called.

        Raises:
            MalformedUpdateError: Not an update, or what is in it is nested too deep. Nothing changed.
            DocumentDamagedError: The update is well-formed, but pycrdt failed to apply it.
        """
        self._check_usable()
        if self._with_pairs:
            self._note_pairs()
        if scan is None:
            scan = self._checked(update)
        cut = None
        if scan is not None and (scan.pairs or self._pairs.middles):
            cut = self._pairs.cut(update, scan, read_vector(self.state_vector()) if scan.pairs else {})
        if cut is None:
            self._apply(update)
            if scan is not None and self._with_pairs:
                self._pairs.add(scan.pairs)
                self._with_pairs.clear()
            return
        if not _is_decodable(cut.update):
            raise MalformedUpdateError("not a document update")
        self.cut_repairs += [repair for repair in (cut.before, cut.after) if repair is not None]
        self._apply(*(part for part in cut if part is not None))

    def _checked(self, update: bytes) -> UpdateScan | None:
        """Refuse what must not reach the library; what was read, if that may matter."""
        _check_client_count(update)
        openings = update.count(b"u") + update.count(b"v") + update.count(b"[") + update.count(b"{")
        # Only then can lists and objects nest too deep, or pairs be cut.
        if openings > MAX_VALUE_NESTING or self._pairs.middles or has_pairs(update):
            return scan_update(update)
        return None

    def _apply(self, *updates: bytes) -> None:
        """Apply updates in one transaction."""
        txn = self._begin(None)
        try:
            for update in updates:
                self._doc.apply_update(cast(_pycrdt.Transaction, txn), update)
        except ValueError as error:  # decoding comes first, so nothing was applied
            raise MalformedUpdateError(f"not a document update: {error}") from error
        except RuntimeError as error:  # decoded, and applied up to a change that cannot be
            self._damaged = True
            raise self._panic_error(error) from error
        except BaseException as error:
            if not is_panic(error):
                raise
            self._damaged = all(map(_is_decodable, updates))
            raise self._panic_error(error) from error
        finally:
            self._end(txn)

    def _note_pairs(self) -> None:
        """Note the surrogate pairs in the texts of changes since the last call."""
        for update in self._with_pairs:
            self._pairs.add(scan_update(update).pairs)
        self._with_pairs.clear()

    def state_vector(self) -> bytes:
        """The state vector: how many changes of each author this copy has."""
        with self.transaction() as txn:
            return self._doc.get_state(cast(_pycrdt.Transaction, txn))

    def encode(self, vector: bytes | None = None) -> bytes:
        """The whole state as one update, or what a copy with state vector `vector` lacks."""
        if vector is not None:
            _check_client_count(vector)
        with self.transaction() as txn:
            try:
                return self._doc.get_update(cast(_pycrdt.Transaction, txn), vector or _EMPTY_VECTOR)
            except ValueError as error:
                raise MalformedUpdateError(f"not a state vector: {error}") from error

    def track_undo(self, origin: int, *, merge_within: float = 0.5) -> None:
        """Record transactions of that origin, so that they can be undone.

        Changes within `merge_within` seconds are undone together. Recording keeps what was deleted in memory.
        """
        if self._undo is None:
            self._undo = _pycrdt.UndoManager(int(merge_within * 1000), _milliseconds, [], [])
            self._undo.expand_scope_xmlfragment(self._doc, self.root)  # type: ignore[attr-defined]  # stub
            self._undo.include_origin(hash(origin))

    def undo(self) -> bool:
        """Undo the latest recorded changes; False if there are none."""
        self._check_usable()
        return self._undo is not None and self._undo.undo()

    def redo(self) -> bool:
        """Redo what was undone last; False if nothing was."""
        self._check_usable()
        return self._undo is not None and self._undo.redo()

    def close(self) -> None:
        """Stop observing and forget queued changes. Closing again does nothing."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.drop()
        self._subscriptions.clear()
        self._undo = None
        self.updates.clear()
        self.events.clear()

    def _begin(self, origin: int | None) -> Transaction:
        if origin is None:
            return self._doc.create_transaction()
        return self._doc.create_transaction_with_origin(origin)

    def _end(self, txn: Transaction) -> None:
        try:
            if not self._damaged:
                txn.commit()
        except BaseException as error:
            if not is_panic(error):
                raise
            # The change was made, but observers were not called.
            self._damaged = True
            raise self._panic_error(error) from error
        finally:
            txn.drop()

    def _panic_error(self, error: BaseException) -> MalformedUpdateError:
        if self._damaged:
            return DocumentDamagedError(f"an update damaged the document: {error}")
        return MalformedUpdateError(f"not a document update: {error}")

    def _check_usable(self) -> None:
        if self._damaged:
            raise DocumentDamagedError("an earlier update damaged the document; load it again")
        if self._closed:
            raise InvalidStateError("the document is closed")


def _note_update(updates: list[bytes], with_pairs: list[bytes], event: pycrdt.TransactionEvent) -> None:
    update = event.update
    updates.append(update)
    if has_pairs(update):
        with_pairs.append(update)


def _milliseconds() -> int:
    return time.monotonic_ns() // 1_000_000


def new_client_id() -> int:
    """A random author id of 31 bits, which every implementation can hold."""
    return secrets.randbelow(2**31 - 1) + 1


def merge_updates(*updates: bytes) -> bytes:
    """Merge updates into one; `MalformedUpdateError` if one of them is invalid."""
    if len(updates) == 1:
        return updates[0]
    for update in updates:
        _check_client_count(update)
    try:
        return pycrdt.merge_updates(*updates)
    except ValueError as error:
        raise MalformedUpdateError(f"not a document update: {error}") from error
    except BaseException as error:
        if not is_panic(error):
            raise
        raise MalformedUpdateError(f"not a document update: {error}") from error


def _check_client_count(data: bytes) -> None:
    """Refuse a count of authors that the data cannot hold.

    pycrdt 0.14.13 reserves memory for that count before it reads on, which can take most of a second.
    """
    if not data:
        raise MalformedUpdateError("an update must not be empty")
    if data[0] < 0x80:
        return
    try:
        count, _ = read_varint(data[:10], 0)
    except IndexError:
        count = len(data)
    if count * 2 > len(data):  # each author takes two bytes at the very least
        raise MalformedUpdateError("not a document update: it is truncated")


def _is_decodable(update: bytes) -> bool:
    try:
        pycrdt.merge_updates(update)
    except BaseException as error:
        if not (isinstance(error, ValueError) or is_panic(error)):
            raise
        return False
    return True


def is_panic(error: BaseException) -> bool:
    """Whether pycrdt's Rust code has panicked: the class is no `Exception` and cannot be imported."""
    return type(error).__name__ == "PanicException"
