"""Updates that come before what they depend on, and updates that must not reach the CRDT library, over real sockets."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import Copy
from tests.support.server import TestServer, rooms_ended, serve
from tests.support.wire_client import WireClient, join

PATH = "a.document"


async def edit(client: WireClient, update: bytes) -> None:
    await client.ok("room.sync", {"path": PATH}, base64.b64encode(update))


@pytest.mark.parametrize("restart", ["idle", "server"])
async def test_an_early_update_survives_a_restart(tmp_path: Path, restart: str) -> None:
    """Edits 1 and 3 are sent and acknowledged, the document is closed, then edit 2 is sent."""
    async with serve(tmp_path / "data", idle_grace=0.0) as server:
        async with join(server) as alice:
            copy = Copy((await alice.open_document(PATH))[1])
            first, second, third = (copy.append("heading", **{"$id": n, "text": n}) for n in "123")
            await edit(alice, first)
            await edit(alice, third)
        await rooms_ended(server)
        if restart == "idle":
            await _late_edit_shows_all(server, second)
    if restart == "server":
        async with serve(tmp_path / "data") as server:
            await _late_edit_shows_all(server, second)


async def _late_edit_shows_all(server: TestServer, update: bytes) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        assert len(Copy((await alice.open_document(PATH))[1]).tags) == 1
        watching = Copy((await bob.open_document(PATH))[1])
        await edit(alice, update)
        watching.apply(await bob.expect("room.sync"))
        shown = Copy((await alice.open_document(PATH))[1])
        for copy in (watching, shown):
            assert [attributes["text"] for attributes in copy.attributes] == ["1", "2", "3"]


def attribute_update(levels: int) -> bytes:
    """One change of author 5: the attribute `n` of the root, a number in that many lists."""
    value = b"\x75\x01" * levels + b"\x7d\x01"
    return b"\x01\x01\x05\x00\x28\x01\x03xml\x01n\x01" + value + b"\x00"


async def test_what_is_nested_too_deep_is_refused_as_an_update_and_as_a_file(server: TestServer) -> None:
    """Harmless inputs, a little over the bound."""
    async with join(server) as alice:
        await alice.open_document(PATH)
        refusal = await alice.error("room.sync", {"path": PATH}, base64.b64encode(attribute_update(66)))
        assert "nested more than 64" in str(refusal)
        await write_file(alice, "file.document", attribute_update(66))
        refusal = await alice.error("room.connect", {"path": "file.document"})
        assert "nested more than 64" in str(refusal)
        await edit(alice, Copy().append("heading", **{"$id": "x", "text": "goes on"}))


async def write_file(client: WireClient, path: str, content: bytes) -> None:
    handle = (await client.ok("storage.open", {"path": path, "overwrite": True}))["handle"]
    await client.ok("storage.write", {"handle": handle}, content)
    await client.ok("storage.close", {"handle": handle})


async def test_updates_with_more_after_their_end_are_refused(server: TestServer) -> None:
    async with join(server) as alice:
        await alice.open_document(PATH)
        good = Copy().append("heading", **{"$id": "x", "text": "t"})
        refusals: list[Any] = [
            await alice.error("room.sync", {"path": PATH}, base64.b64encode(bad)) for bad in (good + b"\x00", bytes(13))
        ]
        assert all("format v1" in str(refusal) for refusal in refusals)
        assert Copy((await alice.open_document(PATH))[1]).tags == []
