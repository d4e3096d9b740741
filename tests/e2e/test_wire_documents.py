"""Documents at wire level: order, echoes, repair, reconnection, HTTP (protocol 7)."""

from __future__ import annotations

import base64
import json
from typing import Any

import aiohttp
import pytest

from meshagent.api.documents.change_budget import MAX_CHANGED_PARTS
from tests.support.doc_breakages import INSIDE_A_VALUE
from tests.support.documents import Copy
from tests.support.server import TestServer, rooms_ended, serve
from tests.support.wire_client import Received, WireClient, join

SCHEMA = {
    "$root_tag_ref": "#/$defs/page",
    "$defs": {
        "page": {
            "type": "object",
            "additionalProperties": False,
            "required": ["page"],
            "properties": {
                "page": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["items"],
                    "properties": {"items": {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/item"}]}}},
                }
            },
        },
        "item": {
            "type": "object",
            "additionalProperties": False,
            "required": ["item"],
            "properties": {
                "item": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["n", "kind"],
                    "properties": {"n": {"type": "number"}, "kind": {"type": "string", "enum": ["a", "b"]}},
                }
            },
        },
    },
}


async def deploy_schema(client: WireClient) -> None:
    handle = (await client.ok("storage.open", {"path": ".schemas/page.json", "overwrite": True}))["handle"]
    await client.ok("storage.write", {"handle": handle}, json.dumps(SCHEMA).encode())
    await client.ok("storage.close", {"handle": handle})


async def edit(client: WireClient, path: str, update: bytes) -> None:
    await client.ok("room.sync", {"path": path}, base64.b64encode(update))


def updates(client: WireClient, path: str) -> list[Received]:
    return [message for message in client.of_type("room.sync") if message.header["path"] == path]


async def test_the_answer_comes_before_the_state_and_the_schema_is_as_stored(server: TestServer) -> None:
    async with join(server) as alice:
        await deploy_schema(alice)
        schema, state = await alice.open_document("notes/a.page")
        assert schema == SCHEMA
        order = [message.type for message in alice.log]
        assert order.index("room.sync") > max(i for i, kind in enumerate(order) if kind == "__response__")
        assert Copy(state).tags == []


async def test_an_empty_document_still_has_a_first_state(server: TestServer) -> None:
    async with join(server) as alice:
        _, state = await alice.open_document("a.document")
        assert Copy(state).tags == []


async def test_a_new_thread_has_its_ordered_children(server: TestServer) -> None:
    async with join(server) as alice:
        _, state = await alice.open_document("main.thread")
        assert Copy(state).tags == ["members", "messages"]


async def test_each_update_is_seen_once_by_each_subscriber_and_not_by_its_author(server: TestServer) -> None:
    async with (
        join(server, "editor") as editor,
        join(server, "one") as one,
        join(server, "two") as two,
        join(server, "three") as three,
    ):
        await deploy_schema(editor)
        readers = [one, two, three]
        copies = {id(client): Copy((await client.open_document("a.page"))[1]) for client in [editor, *readers]}
        for number in range(5):
            await edit(editor, "a.page", copies[id(editor)].append("item", **{"$id": f"e{number}", "n": number}))
        for reader in readers:
            await reader.settle()
            received = updates(reader, "a.page")[1:]
            assert len(received) == 5
            for event in received:
                copies[id(reader)].apply(event)
                await edit(reader, "a.page", base64.b64decode(event.payload))  # the echo of every 0.5 client
            assert copies[id(reader)].numbers == [0, 1, 2, 3, 4]
        for client in [editor, *readers]:
            await client.settle()
        assert len(updates(editor, "a.page")) == 1
        assert all(len(updates(reader, "a.page")) == 6 for reader in readers)


async def test_updates_for_closed_and_unknown_documents_are_acknowledged(server: TestServer) -> None:
    async with join(server) as alice:
        _, state = await alice.open_document("a.document")
        await alice.ok("room.disconnect", {"path": "a.document"})
        await alice.ok("room.disconnect", {"path": "never.document"})
        await edit(alice, "a.document", Copy(state).append("heading", **{"$id": "x", "text": "late"}))
        await edit(alice, "never.document", b"\x00\x00")
        _, state = await alice.open_document("a.document")
        assert Copy(state).tags == []


async def test_a_malformed_update_is_refused_and_the_document_unharmed(server: TestServer) -> None:
    async with join(server) as alice:
        _, state = await alice.open_document("a.document")
        await edit(alice, "a.document", Copy(state).append("heading", **{"$id": "x", "text": "kept"}))
        for garbage in (b"\xff" * 20, b"garbage", b""):
            assert await alice.error("room.sync", {"path": "a.document"}, base64.b64encode(garbage))
        _, state = await alice.open_document("a.document")
        assert Copy(state).tags == ["heading"]


async def test_an_update_that_breaks_the_schema_is_repaired_for_everybody(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        mine = Copy((await alice.open_document("a.document"))[1])
        theirs = Copy((await bob.open_document("a.document"))[1])
        await edit(alice, "a.document", mine.append("unheard-of", **{"$id": "x"}))
        await edit(alice, "a.document", mine.append("heading", **{"$id": "y", "text": "fine", "odd": 1}))
        for client, copy in ((alice, mine), (bob, theirs)):
            await client.settle()
            for event in updates(client, "a.document")[1:]:
                copy.apply(event)
                assert "unheard-of" not in theirs.tags
        assert mine.tags == theirs.tags == ["heading"]
        assert "odd" not in mine.attributes[0]


async def test_errors_of_opening_are_clear(server: TestServer) -> None:
    async with join(server) as alice:
        assert "document 'none.document' not found" in await alice.error(
            "room.connect", {"path": "none.document", "create": False}
        )
        assert "extension" in await alice.error("room.connect", {"path": "plain", "create": True})
        assert "schema" in await alice.error("room.connect", {"path": "a.unheardof", "create": True})
        assert await alice.error("room.connect", {"path": "../a.document", "create": True})
        bad = {"path": "b.document", "json": {"document": {"content": [{"unheard-of": {}}]}}}
        assert await alice.error("room.create", bad)
        assert await alice.ok("storage.exists", {"path": "b.document"}) == {"exists": False}


async def test_a_document_is_created_with_content_once(server: TestServer) -> None:
    content = {"document": {"content": [{"heading": {"text": "hello"}}]}}
    async with join(server) as alice:
        await alice.ok("room.create", {"path": "a.document", "json": content})
        assert "already" in await alice.error("room.create", {"path": "a.document", "json": content})
        _, state = await alice.open_document("a.document")
        assert Copy(state).tags == ["heading"]


async def test_a_document_is_a_file_that_can_be_listed_and_deleted(server: TestServer) -> None:
    async with join(server) as alice:
        copy = Copy((await alice.open_document("docs/a.document"))[1])
        await edit(alice, "docs/a.document", copy.append("heading", **{"$id": "x", "text": "t"}))
        assert [f["name"] for f in (await alice.ok("storage.list", {"path": "docs"}))["files"]] == ["a.document"]
        downloaded = await alice.request("storage.download", {"path": "docs/a.document"})
        assert Copy(downloaded.payload).tags == ["heading"]
        await alice.ok("storage.delete", {"path": "docs/a.document"})
        await edit(alice, "docs/a.document", copy.append("heading", **{"$id": "y", "text": "late"}))
        _, state = await alice.open_document("docs/a.document")
        assert Copy(state).tags == []


async def test_a_state_vector_asks_for_what_is_missing(server: TestServer) -> None:
    async with join(server) as alice:
        copy = Copy((await alice.open_document("a.document"))[1])
        await edit(alice, "a.document", copy.append("heading", **{"$id": "x", "text": "t" * 1000}))
        vector = base64.b64encode(copy.doc.get_state()).decode()
        await alice.ok("room.connect", {"path": "a.document", "create": False, "vector": vector})
        await alice.settle()
        assert len(updates(alice, "a.document")[-1].payload) < 50


@pytest.mark.parametrize("restart", ["idle", "server"])
async def test_edits_made_offline_merge_and_nothing_doubles(tmp_path: Any, restart: str) -> None:
    async with serve(tmp_path / "data", idle_grace=0.0) as server:
        async with join(server) as alice:
            copy = Copy((await alice.open_document("a.document"))[1])
            await edit(alice, "a.document", copy.append("heading", **{"$id": "x", "text": "before"}))
        offline = copy.append("body", **{"$id": "y", "text": "offline"})
        if restart == "idle":
            await rooms_ended(server)
            await _merge_offline(server, copy, offline)
    if restart == "server":
        async with serve(tmp_path / "data") as server:
            await _merge_offline(server, copy, offline)


async def _merge_offline(server: TestServer, copy: Copy, offline: bytes) -> None:
    async with join(server, "bob") as bob:
        other = Copy((await bob.open_document("a.document"))[1])
        await edit(bob, "a.document", other.append("heading", **{"$id": "z", "text": "meanwhile"}))
    async with join(server) as alice:
        _, state = await alice.open_document("a.document")
        await edit(alice, "a.document", offline)
        copy.doc.apply_update(state)
        _, state = await alice.open_document("a.document")
        assert sorted(Copy(state).tags) == ["body", "heading", "heading"]
        assert sorted(copy.tags) == ["body", "heading", "heading"]


async def test_documents_are_read_and_patched_over_http(server: TestServer) -> None:
    headers = {"Authorization": f"Bearer {server.token()}"}
    url = f"{server.url}/rooms/room/documents/a.document"
    async with join(server) as alice, aiohttp.ClientSession(headers=headers) as http:
        async with http.get(url) as answer:
            assert answer.status == 404
        copy = Copy((await alice.open_document("a.document"))[1])
        await edit(alice, "a.document", copy.append("heading", **{"$id": "x", "text": "one"}))
        async with http.get(url) as answer:
            assert await answer.json() == {"document": {"content": [{"heading": {"text": "one"}}]}}
        patch = [{"op": "add", "path": "/document/content/-", "value": {"body": {"text": "two"}}}]
        async with http.patch(url, json=patch) as answer:
            assert answer.status == 200, await answer.text()
            assert len((await answer.json())["document"]["content"]) == 2
        copy.apply(await alice.expect("room.sync", lambda m: m is not updates(alice, "a.document")[0]))
        assert copy.tags == ["heading", "body"]
        async with http.patch(url, json=[{"op": "add", "path": "/document/content/-", "value": {"odd": {}}}]) as answer:
            assert answer.status == 400
            assert "odd" in (await answer.json())["error"]["message"]
        async with http.patch(url, data=b"not json") as answer:
            assert answer.status == 400


async def test_a_patch_that_changes_too_much_is_answered_with_413_and_changes_nothing(server: TestServer) -> None:
    headers = {"Authorization": f"Bearer {server.token()}"}
    url = f"{server.url}/rooms/room/documents/a.document"
    much = [{"heading": {"text": "new"}}] * (MAX_CHANGED_PARTS // 2 + 1)
    whole = {"document": {"content": much}}
    patches: list[tuple[Any, str]] = [
        (whole, "application/json"),
        (whole, "application/merge-patch+json"),
        ([{"op": "replace", "path": "/document/content", "value": much}], "application/json-patch+json"),
    ]
    async with join(server) as alice, aiohttp.ClientSession(headers=headers) as http:
        await alice.open_document("a.document")
        for patch, content_type in patches:
            async with http.patch(url, json=patch, headers={"Content-Type": content_type}) as answer:
                assert answer.status == 413
                error = (await answer.json())["error"]
                assert error["code"] == "limit_exceeded"
                assert "split the change" in error["message"]
        async with http.get(url) as answer:
            assert await answer.json() == {"document": {"content": []}}


async def test_an_update_that_can_be_applied_in_part_only_is_refused_whole(server: TestServer) -> None:
    async with join(server, "editor") as editor, join(server, "mallory") as mallory:
        await deploy_schema(editor)
        copy = Copy((await editor.open_document("a.page"))[1])
        await mallory.open_document("a.page")
        await edit(editor, "a.page", copy.append("item", **{"$id": "1", "n": 1}))
        broken = await mallory.send("room.sync", {"path": "a.page"}, base64.b64encode(INSIDE_A_VALUE))
        meanwhile = copy.append("item", **{"$id": "2", "n": 2})
        edited = await editor.send("room.sync", {"path": "a.page"}, base64.b64encode(meanwhile))
        assert (await mallory.answer(broken)).header["type"] == "error"
        assert (await editor.answer(edited)).header["type"] == "empty"
        async with join(server, "newcomer") as newcomer:
            seen = Copy((await newcomer.open_document("a.page"))[1])
            await edit(editor, "a.page", copy.append("item", **{"$id": "3", "n": 3}))
            await newcomer.settle()
            for event in updates(newcomer, "a.page")[1:]:
                seen.apply(event)
            assert seen.numbers == [1, 2, 3]
