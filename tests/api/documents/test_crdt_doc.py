"""The wrapper of the CRDT document: transactions, damage, merging."""

from __future__ import annotations

from typing import Any

import pycrdt
import pytest

from meshagent.api.documents.crdt_doc import CrdtDoc, DocumentDamagedError, MalformedUpdateError, merge_updates
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_breakages import INSIDE_A_VALUE


def test_a_transaction_is_one_update() -> None:
    doc = CrdtDoc()
    with doc.transaction() as txn, doc.transaction() as inner:
        assert inner is txn
        doc.root_map.insert(txn, "a", 1)
        doc.root.insert_element_prelim(txn, 0, "p")
    assert len(doc.updates) == 1
    assert [event.path for event in doc.events] == [[]]
    assert CrdtPeer(state=doc.updates[0]).tree == [{"p": {}, "children": []}, {"a": 1}]


def test_client_ids_have_31_bits() -> None:
    assert 0 < CrdtDoc().client_id < 2**31
    assert CrdtDoc(client_id=7).client_id == 7


TRUNCATED_AUTHORS = b"\x80\x01" + bytes(253)
"""States 128 authors, for whom a decoder needs at least 256 bytes, in 255 bytes."""


class PanicException(BaseException):
    """Stands for the binding's class of that name, which cannot be imported."""


class PanickingTransaction:
    def commit(self) -> None:
        raise PanicException("boom")

    def drop(self) -> None: ...


def test_a_panic_at_the_end_of_a_transaction_damages_the_document(monkeypatch: pytest.MonkeyPatch) -> None:
    doc = CrdtDoc()
    with monkeypatch.context() as patch:
        patch.setattr(CrdtDoc, "_begin", lambda self, origin: PanickingTransaction())
        with pytest.raises(DocumentDamagedError), doc.transaction():
            pass
    with pytest.raises(DocumentDamagedError):
        doc.apply(b"\x00\x00")
    with pytest.raises(DocumentDamagedError):
        doc.encode()
    doc.close()


def test_an_update_that_can_be_applied_in_part_only_damages_the_document() -> None:
    doc = CrdtDoc()
    with pytest.raises(DocumentDamagedError):
        doc.apply(INSIDE_A_VALUE)
    with pytest.raises(DocumentDamagedError):
        doc.encode()
    doc.close()


def test_closing_ends_observation() -> None:
    binding: pycrdt.Doc[Any] = pycrdt.Doc()
    doc = CrdtDoc(doc=binding)
    root_map: pycrdt.Map[Any] = binding.get("xml", type=pycrdt.Map)
    root_map["a"] = 1
    assert (len(doc.updates), len(doc.events)) == (1, 1)
    doc.close()
    doc.close()
    root_map["a"] = 2
    assert (doc.updates, doc.events) == ([], [])


def test_merging_updates() -> None:
    peer = CrdtPeer()
    peer.add("p")
    peer.add("p")
    assert CrdtPeer(state=merge_updates(*peer.sent)).tree == peer.tree
    assert merge_updates(peer.sent[0]) == peer.sent[0]
    for bad in (b"", TRUNCATED_AUTHORS, b"\x01\x02"):
        with pytest.raises(MalformedUpdateError):
            merge_updates(peer.sent[0], bad)
