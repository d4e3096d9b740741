"""The registry of documents by id, with its functions of the module."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from meshagent.api.documents import registry
from meshagent.api.documents.crdt_doc import MalformedUpdateError
from meshagent.api.documents.notifications import ChangeNotification
from meshagent.api.errors import AlreadyExistsError, NotFoundError
from tests.support.crdt_peer import CrdtPeer


def test_registered_documents() -> None:
    sent: list[tuple[str, str]] = []
    seen: list[tuple[str, Any]] = []
    peer = CrdtPeer()
    peer.add("text", id_="t")
    state = base64.b64encode(peer.take()).decode()
    registry.register_document(
        "d",
        state,
        True,
        send_update_to_backend=lambda doc_id, update: sent.append((doc_id, update)),
        send_update_to_client=lambda doc_id, change: seen.append((doc_id, change)),
    )
    try:
        with pytest.raises(AlreadyExistsError):
            registry.register_document("d", None)
        insert = {"nodeID": "t", "insertText": {"index": 0, "text": "é", "attributes": None}}
        registry.apply_changes({"documentID": "d", "changes": [insert]})
        change = ChangeNotification.model_validate(seen[-1][1])
        assert (change.root, change.target, change.text[0].insert) == (False, "t", "é")
        [(doc_id, update)] = sent
        peer.receive(base64.b64decode(update))
        assert doc_id == "d"
        assert base64.b64decode(registry.get_state_vector("d")) == peer.doc.get_state()
        assert base64.b64decode(registry.get_state("d", registry.get_state_vector("d")))[0] == 0
        peer.add("p")
        registry.apply_backend_changes("d", base64.b64encode(peer.take()).decode())
        assert CrdtPeer(state=base64.b64decode(registry.get_state("d"))).tree == peer.tree
        assert len(sent) == 1
        for text in ("?", "nö"):
            with pytest.raises(MalformedUpdateError):
                registry.apply_backend_changes("d", text)
    finally:
        registry.unregister_document("d")
    assert "d" not in registry.Documents
    with pytest.raises(NotFoundError):
        registry.get_state("d")
