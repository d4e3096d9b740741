"""Documents of the room client: opening, exchanging edits, and what a lost connection leaves of them."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pycrdt
import pytest

from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.errors import InvalidStateError, NotFoundError, PermissionDeniedError, UnavailableError
from meshagent.api.room.client import RoomClient
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.room.sync import MeshDocument
from tests.support.scripted_documents import SCHEMA, ScriptedDocuments
from tests.support.scripted_server import NO_ANSWER, BreakableProtocol, ScriptedServer

AT_ONCE = ReconnectPolicy(initial_delay=0)


@asynccontextmanager
async def joined(documents: ScriptedDocuments) -> AsyncIterator[tuple[RoomClient, BreakableProtocol]]:
    protocol = BreakableProtocol(lambda attempt, server: documents.attach(server))
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        yield room, protocol


def add(document: RuntimeDocument, text: str) -> None:
    document.root.append_child("item", {"text": text})


def texts(document: RuntimeDocument) -> list[str]:
    return [item["item"]["text"] for item in document.to_json()["list"]["items"]]


def stored_texts(doc: pycrdt.Doc[Any]) -> list[str]:
    return texts(RuntimeDocument(SCHEMA, data=doc.get_update()))


async def reconnected(room: RoomClient) -> None:
    """Wait for the end of the reconnection that is under way."""
    back = asyncio.Event()
    room.on("reconnected", back.set)
    await asyncio.wait_for(back.wait(), 5)


async def test_a_document_opens_with_its_content_and_sends_edits() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, _):
        document = await room.sync.open("notes.list")
        assert isinstance(document, MeshDocument)
        assert document.synchronized.done()
        assert room.sync.get_open_documents() == {"notes.list": document}
        for number in range(5):
            add(document, str(number))
        await room.sync.close("notes.list")
        assert stored_texts(documents.stored["notes.list"]) == ["0", "1", "2", "3", "4"]
        assert documents.updates == 1  # edits of one loop turn travel together
        assert room.sync.get_open_documents() == {}


async def test_remote_edits_arrive_and_are_not_sent_back() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):
        document = await room.sync.open("notes.list")
        theirs = RuntimeDocument(SCHEMA)
        add(theirs, "hello")
        arrived = asyncio.Event()
        document.on("inserted")(lambda node: arrived.set())
        await protocol.server.event("room.sync", {"path": "notes.list"}, b64encode(theirs.get_state()))
        await asyncio.wait_for(arrived.wait(), 5)
        assert texts(document) == ["hello"]
    assert documents.updates == 0


async def test_opening_twice_gives_one_document_until_it_is_closed_twice() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):
        first, second = await asyncio.gather(room.sync.open("/notes.list"), room.sync.open("notes.list"))
        assert first is second
        await room.sync.close("notes.list")
        assert "notes.list" in room.sync.get_open_documents()
        await room.sync.close("notes.list")
        assert [header for header, _ in protocol.server.received("room.disconnect")] == [{"path": "notes.list"}]
        assert len(protocol.server.received("room.connect")) == 1
        with pytest.raises(InvalidStateError):
            await room.sync.close("notes.list")


async def test_a_document_that_cannot_be_opened_can_be_tried_again() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, _):
        with pytest.raises(NotFoundError):
            await room.sync.open("notes.list", create=False)
        assert room.sync.get_open_documents() == {}
        await room.sync.open("notes.list", create=True)


async def test_a_cancelled_opening_is_undone() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):
        del protocol.server.follow_ups["room.connect"]  # never sends the content
        opening = asyncio.create_task(room.sync.open("notes.list"))
        await protocol.server.until_received("room.connect")
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await protocol.server.until_received("room.disconnect")
        documents.attach(protocol.server)
        await room.sync.open("notes.list")


async def test_unreadable_content_fails_the_opening() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):

        async def garbage(header: dict[str, Any], payload: bytes) -> None:
            await protocol.server.event("room.sync", header, b"")

        protocol.server.follow_ups["room.connect"] = garbage
        with pytest.raises(Exception, match="cannot read the content"):
            await room.sync.open("notes.list")


async def test_leaving_the_room_delivers_the_edits_first() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, _):
        add(await room.sync.open("notes.list"), "last words")
    assert stored_texts(documents.stored["notes.list"]) == ["last words"]


async def test_a_refused_edit_is_told_and_raised_on_close() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):

        def refuse(header: dict[str, Any], payload: bytes) -> object:
            raise PermissionDeniedError("read only")

        errors: list[Exception] = []
        room.on("document.error", lambda path, error: errors.append(error))
        document = await room.sync.open("notes.list")
        protocol.server.replies["room.sync"] = refuse
        add(document, "x")
        with pytest.raises(PermissionDeniedError):
            await room.sync.close("notes.list")
        assert [str(error) for error in errors] == ["read only"]


async def test_a_passing_trouble_of_the_server_is_waited_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "meshagent.api.room.documents.REFUSAL_RETRIES", ReconnectPolicy(initial_delay=0, max_attempts=3)
    )
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):
        document = await room.sync.open("notes.list")
        take = protocol.server.replies["room.sync"]
        refusals = iter([True, True, False])

        def sometimes(header: dict[str, Any], payload: bytes) -> object:
            if next(refusals):
                raise UnavailableError("busy")
            return take(header, payload)

        protocol.server.replies["room.sync"] = sometimes
        add(document, "x")
        await room.sync.close("notes.list")
        assert stored_texts(documents.stored["notes.list"]) == ["x"]


async def test_edits_on_both_sides_of_a_lost_connection_are_merged_once() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):
        document = await room.sync.open("notes.list")
        add(document, "before")
        await room.sync._open["notes.list"].flush()
        protocol.break_connection()
        await protocol.wait_for_close()
        add(document, "mine, offline")
        theirs = RuntimeDocument(SCHEMA, data=documents.stored["notes.list"].get_update())
        add(theirs, "theirs, meanwhile")
        documents.stored["notes.list"].apply_update(theirs.get_state())
        await reconnected(room)
        add(document, "after")
        await room.sync._open["notes.list"].flush()
        expected = {"before", "mine, offline", "theirs, meanwhile", "after"}
        assert sorted(texts(document)) == sorted(expected)
        assert stored_texts(documents.stored["notes.list"]) == texts(document)
        assert documents.vectors[0] is None
        assert documents.vectors[1] is not None  # same run of the room: only what is missing travels


async def test_an_edit_under_way_when_the_connection_breaks_arrives_once() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):
        document = await room.sync.open("notes.list")
        release = asyncio.Event()
        take = protocol.server.replies["room.sync"]

        async def take_and_stall(header: dict[str, Any], payload: bytes) -> object:
            take(header, payload)
            await release.wait()
            return None

        protocol.server.replies["room.sync"] = take_and_stall
        add(document, "stored, not acknowledged")
        await protocol.server.until_received("room.sync")
        add(document, "waits behind it")
        protocol.break_connection()
        await reconnected(room)
        await room.sync._open["notes.list"].flush()
        assert stored_texts(documents.stored["notes.list"]) == ["stored, not acknowledged", "waits behind it"]
        assert texts(document) == ["stored, not acknowledged", "waits behind it"]


async def test_a_room_that_forgot_everything_gets_it_back() -> None:
    documents = ScriptedDocuments()

    def prepare(attempt: int, server: ScriptedServer) -> None:
        server.session_id = f"run {attempt}"
        documents.attach(server)

    protocol = BreakableProtocol(prepare)
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        document = await room.sync.open("notes.list")
        add(document, "a")
        await room.sync._open["notes.list"].flush()
        documents.stored.clear()
        protocol.break_connection()
        await reconnected(room)
        add(document, "b")
        await room.sync._open["notes.list"].flush()
        assert stored_texts(documents.stored["notes.list"]) == ["a", "b"]
        assert documents.vectors == [None, None]


async def test_a_connection_that_breaks_again_while_documents_return_is_made_again() -> None:
    documents = ScriptedDocuments()
    protocol: BreakableProtocol

    def prepare(attempt: int, server: ScriptedServer) -> None:
        documents.attach(server)
        if attempt == 2:

            def break_again(header: dict[str, Any], payload: bytes) -> object:
                protocol.break_connection()
                return NO_ANSWER

            server.replies["room.connect"] = break_again
            del server.follow_ups["room.connect"]

    protocol = BreakableProtocol(prepare)
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        document = await room.sync.open("notes.list")
        protocol.break_connection()
        await protocol.wait_for_close()
        add(document, "a")
        await reconnected(room)
        assert protocol.attempts == 3
        await room.sync.close("notes.list")
    assert stored_texts(documents.stored["notes.list"]) == ["a"]


async def test_closing_waits_for_edits_that_a_reconnection_sends() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (room, protocol):
        document = await room.sync.open("notes.list")
        protocol.break_connection()
        await protocol.wait_for_close()
        add(document, "a")
        await room.sync.close("notes.list")
        assert stored_texts(documents.stored["notes.list"]) == ["a"]


async def test_two_participants_converge() -> None:
    documents = ScriptedDocuments()
    async with joined(documents) as (alice, _), joined(documents) as (bob, bobs):
        first, second = await alice.sync.open("notes.list"), await bob.sync.open("notes.list")
        add(first, "from alice")
        add(second, "from bob")
        await alice.sync._open["notes.list"].flush()
        await bob.sync._open["notes.list"].flush()
        bobs.break_connection()
        await reconnected(bob)
        assert sorted(texts(second)) == ["from alice", "from bob"]
