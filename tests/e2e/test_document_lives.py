"""A document that is deleted, replaced or moved while clients have it open or are away, over real sockets."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from meshagent.api import RoomClient, WebSocketClientProtocol
from meshagent.api.documents.lives import DocumentEndedError
from meshagent.api.errors import PermissionDeniedError
from meshagent.api.room.sync import MeshDocument
from meshagent.api.tokens.scope import ApiScope
from tests.e2e.test_sdk_broken_connections import IMPATIENT, cut_cable
from tests.support.documents import Copy
from tests.support.server import TestServer
from tests.support.wire_client import WireClient, join

PATH = "a.document"
CHANGES = ["deleted", "replaced", "moved"]


async def change_file(client: WireClient, change: str) -> None:
    if change == "deleted":
        await client.ok("storage.delete", {"path": PATH})
    elif change == "moved":
        await client.ok("storage.move", {"source_path": PATH, "destination_path": "b.document"})
    else:
        handle = (await client.ok("storage.open", {"path": PATH, "overwrite": True}))["handle"]
        content = b'{"document": {"content": [{"heading": {"text": "another"}}]}}'
        await client.ok("storage.write", {"handle": handle}, content)
        await client.ok("storage.close", {"handle": handle})


def append(document: MeshDocument, text: str) -> None:
    document.root.append_child("heading", {"text": text})


async def ending(room: RoomClient, document: MeshDocument) -> DocumentEndedError:
    """What the room says about the document, once it does."""
    told: asyncio.Future[DocumentEndedError] = asyncio.get_running_loop().create_future()

    def on_ended(path: str, error: DocumentEndedError) -> None:
        assert path == PATH
        if not told.done():
            told.set_result(error)

    room.on("document.ended", on_ended)
    if document.ended is not None:
        return document.ended
    async with asyncio.timeout(10):
        return await told


@pytest.mark.parametrize("change", CHANGES)
async def test_an_open_document_is_told_of_its_end(server: TestServer, change: str) -> None:
    async with server.join("alice") as alice, join(server, "bob") as bob:
        document = await alice.sync.open(PATH)
        append(document, "kept")
        await alice.sync.flush(PATH)
        events: list[DocumentEndedError] = []
        document.on("ended")(events.append)
        await change_file(bob, change)
        error = await ending(alice, document)
        assert error.change == change
        assert error.new_path == ("b.document" if change == "moved" else None)
        assert events == [error] == [document.ended]
        assert document.to_json() == {"document": {"content": [{"heading": {"text": "kept"}}]}}
        with pytest.raises(DocumentEndedError):
            append(document, "refused")
        assert document.unsent == b""
        await alice.sync.close(PATH)
        path = "b.document" if change == "moved" else PATH
        texts = [child["heading"]["text"] for child in (await alice.sync.open(path)).to_json()["document"]["content"]]
        assert texts == {"deleted": [], "replaced": ["another"], "moved": ["kept"]}[change]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_document_that_ended_meanwhile_is_not_merged(server: TestServer, change: str) -> None:
    """What the SDK asks when it comes back: the life that it has a copy of."""
    async with join(server) as alice, join(server, "bob") as bob:
        first = await alice.ok("room.connect", {"path": PATH, "track": True})
        copy = Copy()
        copy.apply(await alice.expect("room.sync"))
        assert base64.b64decode(first["vector"]) == copy.doc.get_state()
        await alice.ok("room.disconnect", {"path": PATH})
        await change_file(bob, change)
        vector = base64.b64encode(copy.doc.get_state()).decode()
        request: dict[str, Any] = {"path": PATH, "track": True, "life": first["life"], "vector": vector}
        answer = await alice.ok("room.connect", request)
        assert answer["ended"] == change
        assert answer.get("new_path") == ("b.document" if change == "moved" else None)
        if change != "replaced":
            assert not (await alice.ok("storage.exists", {"path": PATH}))["exists"]


class Detained(WebSocketClientProtocol):
    """A connection that comes back only when it may."""

    may_return: asyncio.Event

    async def reopen(self) -> None:
        await self.may_return.wait()
        await super().reopen()


@pytest.mark.parametrize("change", CHANGES)
async def test_what_was_not_sent_when_the_document_ended_is_kept(server: TestServer, change: str) -> None:
    """The client edits while it is away, and learns of the end when it is back."""
    protocol = Detained(url=server.room_url(), token=server.token("alice"))
    protocol.may_return = asyncio.Event()
    away = asyncio.Event()
    async with RoomClient(protocol=protocol, reconnect=IMPATIENT) as alice, join(server, "bob") as bob:
        document = await alice.sync.open(PATH)
        append(document, "sent")
        await alice.sync.flush(PATH)
        sent = document.get_state()
        alice.on("reconnecting", away.set)
        cut_cable(alice)
        async with asyncio.timeout(20):
            await away.wait()
        append(document, "not sent")
        flushed = asyncio.ensure_future(alice.sync.flush(PATH))
        await change_file(bob, change)
        protocol.may_return.set()
        error = await ending(alice, document)
        assert error.change == change
        assert error.new_path == ("b.document" if change == "moved" else None)
        with pytest.raises(DocumentEndedError):
            await flushed
        with pytest.raises(DocumentEndedError):
            append(document, "refused")
        copy = Copy(sent)
        copy.doc.apply_update(document.unsent)
        assert [attributes["text"] for attributes in copy.attributes] == ["sent", "not sent"]
        with pytest.raises(DocumentEndedError):  # so that nobody takes the edits for sent
            await alice.sync.close(PATH)
        texts = []
        if change != "deleted":
            again = await bob.ok("room.describe", {"path": error.new_path or PATH})
            texts = [child["heading"]["text"] for child in again["document"]["content"]]
        assert texts == {"deleted": [], "replaced": ["another"], "moved": ["sent"]}[change]
        if change != "replaced":
            assert not (await bob.ok("storage.exists", {"path": PATH}))["exists"]


@pytest.mark.parametrize("change", ["deleted", "replaced"])
async def test_a_client_that_knows_nothing_of_lives_merges_nothing(server: TestServer, change: str) -> None:
    async with join(server, "old") as old, join(server, "bob") as bob:
        schema_only = await old.ok("room.connect", {"path": PATH})
        assert set(schema_only) == {"schema"}
        copy = Copy()
        copy.apply(await old.expect("room.sync"))
        edit = base64.b64encode(copy.append("heading", **{"$id": "x", "text": "of the old life"}))
        await old.ok("room.sync", {"path": PATH}, edit)
        await change_file(bob, change)
        await old.ok("room.sync", {"path": PATH}, base64.b64encode(copy.append("body", **{"$id": "y", "text": "late"})))
        assert old.of_type("room.ended") == []
        await old.open_document(PATH)
        before = await bob.ok("room.describe", {"path": PATH})
        whole = base64.b64encode(copy.doc.get_update())
        assert "another document" in str(await old.error("room.sync", {"path": PATH}, whole))
        vector = base64.b64encode(copy.doc.get_state()).decode()
        assert "replaced" in str(await old.error("room.connect", {"path": PATH, "vector": vector}))
        assert await bob.ok("room.describe", {"path": PATH}) == before


async def test_edits_of_a_reader_raise(server: TestServer) -> None:
    scope = ApiScope.from_json({"sync": {"paths": [{"path": PATH, "read_only": True}]}})
    async with server.join("writer") as writer, server.join("reader", scope=scope) as reader:
        append(await writer.sync.open(PATH), "by the writer")
        await writer.sync.flush(PATH)
        document = await reader.sync.open(PATH)
        assert document.read_only
        before = document.to_json()
        with pytest.raises(PermissionDeniedError):
            append(document, "by the reader")
        assert document.to_json() == before
