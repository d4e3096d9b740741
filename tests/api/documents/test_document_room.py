"""A room of three participants and a vandal: everybody ends with one document, and it always fits the schema."""

from __future__ import annotations

import random
from base64 import b64decode
from collections import deque

import pytest

from meshagent.api.documents.server_document import ServerDocument
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_breakages import BREAKAGES
from tests.support.doc_copies import Copy, edit
from tests.support.doc_schemas import page_schema

VANDAL = 3


class Room:
    """A server document and what waits to be delivered to each participant, the vandal last."""

    def __init__(self) -> None:
        self.document = ServerDocument(page_schema())
        founder = CrdtPeer()
        founder.add("p", n=1)
        founder.add("box")
        founder.add("text")
        self.document.load(founder.sent)
        state = self.document.encode_state()
        self.copies = [Copy(data=state) for _ in range(VANDAL)]
        self.vandal = CrdtPeer(state=state)
        self.inboxes: list[deque[bytes]] = [deque() for _ in range(VANDAL + 1)]

    def send(self, who: int) -> None:
        updates = self.vandal.sent[:] if who == VANDAL else [b64decode(update) for update in self.copies[who].sent]
        (self.vandal if who == VANDAL else self.copies[who]).sent.clear()
        for update in updates:
            applied = self.document.apply(update)
            for other, inbox in enumerate(self.inboxes):
                answer = applied.repair if other == who else applied.update
                if answer is not None:
                    inbox.append(answer)
            ServerDocument(page_schema()).from_json(self.document.to_json())  # it fits the schema

    def deliver(self, who: int, count: int) -> None:
        for _ in range(min(count, len(self.inboxes[who]))):
            update = self.inboxes[who].popleft()
            if who == VANDAL:
                self.vandal.receive(update)
            else:
                self.copies[who].document.apply_update(update)

    def vandalize(self, rng: random.Random) -> None:
        """Break something; what makes no sense in the document as it is fails in the vandal's own copy."""
        try:
            rng.choice(BREAKAGES)(self.vandal)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise


@pytest.mark.parametrize("seed", range(12))
def test_everybody_ends_with_one_document(seed: int) -> None:
    rng = random.Random(seed)
    room = Room()
    for _ in range(60):
        who = rng.randrange(VANDAL + 1)
        if rng.random() < 0.3:
            room.deliver(who, rng.randrange(6))
        elif who == VANDAL:
            room.vandalize(rng)
        else:
            edit(room.copies[who], rng.randrange(11), rng.randrange(10), rng.randrange(10), rng.choice(["", "é😀b"]))
        if rng.random() < 0.5:
            room.send(who)
    for who in range(VANDAL + 1):
        room.send(who)
    for who in range(VANDAL + 1):
        room.deliver(who, 10_000)
        room.send(who)
    expected = room.document.to_json(include_ids=True)
    assert all(copy.document.to_json(include_ids=True) == expected for copy in room.copies)
    assert room.vandal.tree == CrdtPeer(state=room.document.encode_state()).tree
