"""What a server repairs in the updates of other editors, as all participants see it (protocol 8.8)."""

from __future__ import annotations

import base64
import json
from typing import Any

import aiohttp
import pycrdt

from tests.e2e.test_wire_documents import edit, updates
from tests.support.crdt_peer import CrdtPeer
from tests.support.doc_schemas import page_schema
from tests.support.server import TestServer
from tests.support.wire_client import WireClient, join

PATH = "a.page"


class Editor:
    """A participant whose editor is of another make."""

    def __init__(self, client: WireClient, state: bytes) -> None:
        self.client = client
        self.peer = CrdtPeer(state=state)
        self._seen = 1

    @classmethod
    async def opened(cls, client: WireClient) -> Editor:
        return cls(client, (await client.open_document(PATH))[1])

    async def send(self) -> None:
        for update in self.peer.sent:
            await edit(self.client, PATH, update)
        self.peer.sent.clear()

    async def receive(self) -> None:
        await self.client.settle()
        for event in updates(self.client, PATH)[self._seen :]:
            self.peer.receive(base64.b64decode(event.payload, validate=True))
            self._seen += 1


async def deploy_schema(client: WireClient) -> None:
    handle = (await client.ok("storage.open", {"path": ".schemas/page.json", "overwrite": True}))["handle"]
    await client.ok("storage.write", {"handle": handle}, json.dumps(page_schema().to_json()).encode())
    await client.ok("storage.close", {"handle": handle})


async def ask(server: TestServer, method: str, body: Any = None) -> Any:
    """The document over HTTP, with ids."""
    headers = {"Authorization": f"Bearer {server.token()}"}
    url = f"{server.url}/rooms/room/documents/{PATH}?ids=true"
    async with aiohttp.ClientSession(headers=headers) as http, http.request(method, url, json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def ids_of(peer: CrdtPeer) -> list[Any]:
    found = []
    todo = list(peer.root.children)
    while todo:
        node = todo.pop()
        if isinstance(node, pycrdt.XmlElement):
            found.append(node.attributes.get("$id"))
            todo.extend(node.children)
    return found


async def test_two_moves_of_one_element_leave_a_document_that_can_be_patched(server: TestServer) -> None:
    async with join(server, "one") as first, join(server, "two") as second:
        await deploy_schema(first)
        one, two = await Editor.opened(first), await Editor.opened(second)
        one.peer.add("p", one.peer.add("box", id_="left"), id_="moved")
        one.peer.add("box", id_="right")
        await one.send()
        await two.receive()
        for editor in (one, two):
            left, right = editor.peer.root.children
            assert isinstance(left, pycrdt.XmlElement)
            with editor.peer.edit():
                editor.peer.add("p", right, id_="moved")
                del left.children[0]
        await one.send()
        await two.send()
        await ask(server, "PATCH", [{"op": "add", "path": "/page/title", "value": "Both"}])
        content = await ask(server, "GET")
        for editor in (one, two):
            await editor.receive()
            assert editor.peer.root_map.to_py() == {"title": "Both"}
            assert len(set(ids_of(editor.peer))) == 4
        assert one.peer.tree == two.peer.tree
        [_, right_box] = content["page"]["children"]
        assert {item["p"]["$id"] for item in right_box["box"]["items"]} < set(ids_of(one.peer))


async def test_an_element_without_id_gets_one_for_everybody(server: TestServer) -> None:
    async with join(server, "one") as first, join(server, "two") as second:
        await deploy_schema(first)
        one, two = await Editor.opened(first), await Editor.opened(second)
        one.peer.root.children.append(pycrdt.XmlElement("p"))
        await one.send()
        while None in ids_of(one.peer) or None in ids_of(two.peer) or not ids_of(two.peer):
            event = await second.expect("room.sync")
            assert event.header["path"] == PATH
            await one.receive()
            await two.receive()
        assert ids_of(one.peer) == ids_of(two.peer)
        [given] = ids_of(one.peer)
        [element] = (await ask(server, "GET"))["page"]["children"]
        assert element == {"p": {"$id": given}}


async def test_half_of_a_character_that_is_deleted_takes_the_other_half_along(server: TestServer) -> None:
    async with join(server, "one") as first, join(server, "two") as second:
        await deploy_schema(first)
        one, two = await Editor.opened(first), await Editor.opened(second)
        # Recorded: author 1 writes `a😀bc` into a text, author 2 deletes the second half of the pair.
        await edit(
            first,
            PATH,
            bytes.fromhex(
                "01040100070103786d6c0304746578742800010003246964017701540700010006040001020761f09f9880626300"
            ),
        )
        await two.receive()
        await edit(second, PATH, bytes.fromhex("000101010501"))
        await one.receive()
        await two.receive()
        [text] = (await ask(server, "GET"))["page"]["children"]
        assert text["text"]["runs"][0]["text"]["delta"] == [{"insert": "abc", "attributes": {}}]
        assert str(two.peer.root) == '<text $id="T">abc</text>'
