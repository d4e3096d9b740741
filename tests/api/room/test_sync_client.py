"""`room.sync` on a fake core: the life of an open document without a server."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshagent.api.documents.lives import DocumentEndedError
from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.errors import ConnectionLostError, InvalidStateError, NotFoundError, PermissionDeniedError
from meshagent.api.room.sync import MeshDocument, SyncClient
from tests.support.fake_core import FakeCore
from tests.support.scripted_documents import SCHEMA


class Peer:
    """A fake core that holds one document, as the room does."""

    def __init__(self) -> None:
        self.core = FakeCore()
        self.document = RuntimeDocument(SCHEMA)
        self.life: str | None = None  # a server that does not tell it
        self.core.answers["room.connect"] = self._connect
        self.core.answers["room.sync"] = self._take

    def _connect(self, header: dict[str, Any], payload: bytes) -> object:
        vector = header.get("vector")
        state = self.document.get_state(b64decode(vector) if vector else None)
        self.core.deliver("room.sync", {"path": header["path"]}, b64encode(state))
        answer = {"schema": SCHEMA.to_json()}
        if self.life is None:
            return answer
        return {**answer, "life": self.life, "vector": b64encode(self.document.get_state_vector()).decode()}

    def _take(self, header: dict[str, Any], payload: bytes) -> None:
        self.document.apply_update(b64decode(payload))


def add(document: RuntimeDocument, text: str) -> None:
    document.root.append_child("item", {"text": text})


def texts(document: RuntimeDocument) -> list[str]:
    return [item["item"]["text"] for item in document.to_json()["list"]["items"]]


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Peer, SyncClient, MeshDocument]]:
    peer = Peer()
    add(peer.document, "first")
    sync = SyncClient(room=peer.core)
    document = await sync.open("notes.list")
    yield peer, sync, document
    await peer.core.leave()


async def test_a_document_opens_with_the_rooms_content() -> None:
    async with opened() as (_, sync, document):
        assert texts(document) == ["first"]
        assert sync.get_open_documents() == {"notes.list": document}
        assert await sync.open("./notes.list") is document  # one object for one path


async def test_edits_reach_the_room() -> None:
    async with opened() as (peer, sync, document):
        add(document, "second")
        await sync.flush("notes.list")
        assert texts(peer.document) == ["first", "second"]


async def test_a_refused_edit_is_an_event_and_raised_on_close() -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise PermissionDeniedError("read only")

    async with opened() as (peer, sync, document):
        peer.core.answers["room.sync"] = refuse
        add(document, "second")
        with pytest.raises(PermissionDeniedError):
            await sync.close("notes.list")
        assert [(name, values["path"]) for name, values in peer.core.emitted] == [("document.error", "notes.list")]
        assert sync.get_open_documents() == {}


@pytest.mark.parametrize("same_run", [True, False])
async def test_edits_made_without_a_connection_are_sent_once_it_is_back(same_run: bool) -> None:
    async with opened() as (peer, sync, document):
        peer.core.lose_connection()
        add(document, "offline")
        add(peer.document, "meanwhile")
        await peer.core.reconnect(same_run=same_run)
        await sync.flush("notes.list")
        assert sorted(texts(peer.document)) == sorted(texts(document)) == ["first", "meanwhile", "offline"]
        vectors = [header.get("vector") for header, _ in peer.core.received("room.connect")]
        assert [vector is not None for vector in vectors] == [False, same_run]


async def test_a_document_that_ended_meanwhile_keeps_its_unsent_edits() -> None:
    async with opened() as (peer, sync, document):
        synced = document.get_state()
        peer.core.lose_connection()
        add(document, "made offline")
        peer.core.answers["room.connect"] = lambda header, payload: {"schema": {}, "ended": "replaced"}
        await peer.core.reconnect(same_run=False)
        assert document.ended is not None
        assert document.ended.change == "replaced"
        assert texts(document) == ["first", "made offline"]
        again = RuntimeDocument(SCHEMA, data=synced)
        again.apply_update(document.unsent)
        assert texts(again) == ["first", "made offline"]
        assert texts(peer.document) == ["first"]
        with pytest.raises(DocumentEndedError):
            add(document, "more")
        with pytest.raises(DocumentEndedError):
            await sync.flush("notes.list")
        assert [name for name, _ in peer.core.emitted] == ["document.ended"]
        with pytest.raises(DocumentEndedError):
            await sync.close("notes.list")


async def test_a_state_vector_in_the_answer_says_what_the_room_lacks() -> None:
    async with opened() as (peer, sync, document):
        peer.life = "1.2"
        await sync.close("notes.list")
        document = await sync.open("notes.list")
        peer.core.lose_connection()
        add(document, "made offline")
        await peer.core.reconnect(same_run=False)
        await sync.flush("notes.list")
        assert texts(peer.document) == ["first", "made offline"]
        [sent] = [b64decode(payload) for _, payload in peer.core.received("room.sync")]
        assert len(sent) < len(document.get_state())


async def test_a_document_that_cannot_be_restored_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise NotFoundError("no such document")

    async with opened() as (peer, _, _):
        peer.core.lose_connection()
        peer.core.answers["room.connect"] = refuse
        await peer.core.reconnect()
    assert "reconnected without the document notes.list: no such document" in caplog.text


async def test_a_connection_that_is_lost_again_stops_the_restoring() -> None:
    def lose(header: dict[str, Any], payload: bytes) -> object:
        raise ConnectionLostError("gone")

    async with opened() as (peer, _, _):
        peer.core.lose_connection()
        peer.core.answers["room.connect"] = lose
        with pytest.raises(ConnectionLostError):
            await peer.core.reconnect()


async def test_an_opening_fails_with_the_connection() -> None:
    core = FakeCore()
    core.answers["room.connect"] = lambda header, payload: {"schema": SCHEMA.to_json()}  # and no content
    sync = SyncClient(room=core)
    opening = asyncio.create_task(sync.open("notes.list"))
    await core.settle()
    core.lose_connection()
    with pytest.raises(ConnectionLostError):
        await opening
    assert sync.get_open_documents() == {}
    await core.leave()


async def test_updates_that_follow_the_close_are_ignored() -> None:
    async with opened() as (peer, sync, document):
        await sync.close("notes.list")
        add(peer.document, "late")
        peer.core.deliver("room.sync", {"path": "notes.list"}, b64encode(peer.document.get_state()))
        assert texts(document) == ["first"]
        assert peer.core.received("room.disconnect") == [({"path": "notes.list"}, b"")]
        for request in (sync.flush("notes.list"), sync.close("notes.list")):
            with pytest.raises(InvalidStateError, match="not open"):
                await request


async def test_documents_are_made_and_updates_sent_as_they_are() -> None:
    core = FakeCore()
    sync = SyncClient(room=core)
    await sync.create("/a//b.list", {"list": {"items": []}})
    await sync.sync("a/b.list", "AAA=")
    assert core.received("room.create") == [({"path": "a/b.list", "json": {"list": {"items": []}}}, b"")]
    assert core.received("room.sync") == [({"path": "a/b.list"}, b"AAA=")]
