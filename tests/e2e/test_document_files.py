"""Files that are documents, and files in `.schemas`: what storage may do to them."""

from __future__ import annotations

import aiohttp
import pytest

from meshagent.api.tokens.scope import ApiScope
from meshagent.testing import RoomServer
from tests.support.wire_client import WireClient, join

PATH = "a.document"


async def _make(server: RoomServer) -> str:
    """A document, and the token of somebody who may read documents and write files."""
    async with join(server, "writer") as writer:
        await writer.open_document(PATH)
    scope = ApiScope.from_json(
        {
            "sync": {"paths": [{"path": PATH, "read_only": True}]},
            "storage": {},
            "agents": {"use_tools": True, "call": True},
        }
    )
    return server.token("reader", scope=scope)


async def _store(client: WireClient, path: str) -> None:
    handle = (await client.ok("storage.open", {"path": path, "overwrite": True}))["handle"]
    await client.ok("storage.write", {"handle": handle}, b"{}")
    await client.ok("storage.close", {"handle": handle})


async def test_who_may_not_edit_a_document_cannot_replace_its_file(server: RoomServer) -> None:
    token = await _make(server)
    async with join(server, token=token) as reader:
        handle = (await reader.ok("storage.open", {"path": PATH, "overwrite": True}))["handle"]
        await reader.ok("storage.write", {"handle": handle}, b"other")
        assert "edit the document" in await reader.error("storage.close", {"handle": handle})
        await _store(reader, "b.document")  # there is no document of that name, only a file
        move = {"source_path": "b.document", "destination_path": PATH, "overwrite": True}
        assert "edit the document" in await reader.error("storage.move", move)
        url = f"{server.url}/rooms/room/storage"
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
            async with session.put(f"{url}/{PATH}", data=b"other") as answer:
                assert answer.status == 403
            async with session.post(f"{url}:move", json=move) as answer:
                assert answer.status == 403
    async with join(server, "writer") as writer:
        assert (await writer.ok("room.describe", {"path": PATH}))["document"]["content"] == []
        await _store(writer, PATH)


@pytest.mark.parametrize("brackets", ["[" * 100_000, '{"a":' * 100_000, '{"a":' * 100 + "1" + "}" * 100])
async def test_a_schema_of_many_brackets_is_refused(server: RoomServer, brackets: str) -> None:
    async with join(server, "alice") as alice:
        handle = (await alice.ok("storage.open", {"path": ".schemas/page.json", "overwrite": True}))["handle"]
        await alice.ok("storage.write", {"handle": handle}, brackets.encode())
        await alice.ok("storage.close", {"handle": handle})
        assert "not a valid schema" in await alice.error("room.connect", {"path": "a.page", "create": True})
    url = f"{server.url}/rooms/room/documents/a.page"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.token()}"}) as session:
        async with session.get(url) as answer:
            assert answer.status == 404
        async with session.put(f"{server.url}/rooms/room/storage/a.page", data=b"{}") as answer:
            assert answer.status == 201
        async with session.get(url) as answer:
            assert answer.status == 400
