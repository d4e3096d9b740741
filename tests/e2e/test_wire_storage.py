"""Files at wire level: handles that publish at close, and clients that die before (protocol 6)."""

from __future__ import annotations

import aiohttp

from tests.support.server import TestServer
from tests.support.wire_client import WireClient, join


async def write(client: WireClient, path: str, *pieces: bytes, overwrite: bool = True) -> None:
    handle = (await client.ok("storage.open", {"path": path, "overwrite": overwrite}))["handle"]
    for piece in pieces:
        await client.ok("storage.write", {"handle": handle}, piece)
    await client.ok("storage.close", {"handle": handle})


async def content(client: WireClient, path: str) -> bytes:
    return (await client.request("storage.download", {"path": path})).payload


async def test_a_lone_client_sees_the_events_of_its_own_changes(server: TestServer) -> None:
    async with join(server) as alice:
        await write(alice, "a/b.txt", b"one", b"", b"two")
        await write(alice, "a/b.txt", b"again")
        await alice.ok("storage.delete", {"path": "a/b.txt"})
        author = {"path": "a/b.txt", "participant_id": alice.participant_id}
        assert [event.header for event in alice.of_type("storage.file.updated")] == [author, author]
        assert [event.header for event in alice.of_type("storage.file.deleted")] == [author]


async def test_a_client_that_dies_during_an_upload_leaves_the_old_file(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        await write(alice, "a.txt", b"old")
        async with join(server, "mallory") as dying:
            handle = (await dying.ok("storage.open", {"path": "a.txt", "overwrite": True}))["handle"]
            await dying.ok("storage.write", {"handle": handle}, b"half of the new")
            assert await content(alice, "a.txt") == b"old", "what is not closed is not visible"
            transport = dying.socket._response.connection.transport  # type: ignore[union-attr]
            transport.abort()  # type: ignore[union-attr]
        await alice.settle()
        assert await content(alice, "a.txt") == b"old"
        assert len(alice.of_type("storage.file.updated")) == 1


async def test_handles_belong_to_their_connection_and_end_with_close(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        handle = (await alice.ok("storage.open", {"path": "a.txt", "overwrite": False}))["handle"]
        assert await bob.error("storage.write", {"handle": handle}, b"x")
        await alice.ok("storage.write", {"handle": handle}, b"mine")
        await alice.ok("storage.close", {"handle": handle})
        assert await alice.error("storage.close", {"handle": handle})
        assert "already exists" in await alice.error("storage.open", {"path": "a.txt", "overwrite": False})
        assert await content(bob, "a.txt") == b"mine"


async def test_paths_stay_in_the_room(server: TestServer) -> None:
    async with join(server) as alice:
        for path in ("../x", "a/../../x", "/etc/../../x", "a\\b", "a\x00b"):
            assert await alice.error("storage.open", {"path": path, "overwrite": True})
        await write(alice, "/a//./b.txt", b"x")
        assert await alice.ok("storage.exists", {"path": "a/b.txt"}) == {"exists": True}


async def test_a_download_url_needs_no_further_credentials_and_serves_ranges(server: TestServer) -> None:
    async with join(server) as alice, aiohttp.ClientSession() as http:
        await write(alice, "a.txt", b"0123456789")
        url = (await alice.ok("storage.download_url", {"path": "a.txt"}))["url"]
        assert url.startswith("http://")
        async with http.get(url, headers={"Range": "bytes=2-4"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"234")
        async with http.get(url.replace("/a.txt", "x/a.txt")) as answer:
            assert answer.status in (403, 404)


async def test_folders_are_implicit_and_a_new_room_has_none(server: TestServer) -> None:
    async with join(server) as alice:
        assert await alice.ok("storage.list", {"path": ".schemas"}) == {"files": []}
        for name in ("one", "two", "three"):
            await write(alice, f"folder/{name}.txt", b"x")
        files = (await alice.ok("storage.list", {"path": "folder"}))["files"]
        assert sorted(file["name"] for file in files) == ["one.txt", "three.txt", "two.txt"]
        (folder,) = (await alice.ok("storage.list", {"path": ""}))["files"]
        assert folder["is_folder"] is True
        assert folder["created_at"]
        assert folder["updated_at"]
