"""Download URLs and the life of the room that they were made in."""

from __future__ import annotations

import aiohttp

from meshagent.api.accounts.client import AccountsClient
from meshagent.testing import RoomServer


async def _signed_url(server: RoomServer, content: bytes) -> str:
    async with server.join("alice") as alice:
        handle = await alice.storage.open(path="a.txt", overwrite=True)
        await alice.storage.write(handle=handle, data=content)
        await alice.storage.close(handle=handle)
        return await alice.storage.download_url(path="a.txt")


async def _fetched(url: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.read()


async def test_a_url_ends_with_its_room_and_opens_no_other_of_that_name(server: RoomServer) -> None:
    url = await _signed_url(server, b"old")
    assert await _fetched(url) == (200, b"old")
    async with AccountsClient(server.url, server.admin_token) as admin:
        await admin.delete_room(project_id=server.project_id, room_id="room")
        assert (await _fetched(url))[0] == 404
        assert (await admin.list_rooms(project_id=server.project_id))["rooms"] == [], "no record was made again"
        new = await _signed_url(server, b"new")
        assert (await _fetched(url))[0] == 404
        assert await _fetched(new) == (200, b"new")


async def test_a_url_follows_a_room_that_is_renamed(server: RoomServer) -> None:
    url = await _signed_url(server, b"content")
    async with AccountsClient(server.url, server.admin_token) as admin:
        await admin.update_room(project_id=server.project_id, room_id="room", name="other")
        await _signed_url(server, b"another room of the old name")
        assert await _fetched(url) == (200, b"content")
