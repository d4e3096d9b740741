"""What today's clients do first: REST, a token, the room (protocol 4.4)."""

from __future__ import annotations

from typing import Any

import aiohttp

from tests.support.invoke_client import invoke
from tests.support.server import PROJECT_ID, TestServer
from tests.support.wire_client import connect

ADMIN = {"Authorization": "Bearer test-admin-token"}


async def test_a_client_asks_for_its_connection_and_uses_it(server: TestServer) -> None:
    async with aiohttp.ClientSession(server.url) as session:
        async with session.get("/config") as answer:
            assert answer.status == 200
            assert isinstance((await answer.json())["domains"], dict)
        rooms = f"/accounts/projects/{PROJECT_ID}/rooms"
        async with session.post(rooms, json={"name": "office"}, headers=ADMIN) as answer:
            assert answer.status == 200
        async with session.post(f"{rooms}/office/connect", headers=ADMIN) as answer:
            connection: dict[str, Any] = await answer.json()
            assert answer.status == 200
        assert {"jwt", "room_name", "project_id", "room_url"} <= set(connection)
        assert connection["room_name"] == "office"
        assert connection["project_id"] == PROJECT_ID
        async with session.post("/api/participant-token/validate", json={"token": connection["jwt"]}) as answer:
            assert answer.status == 200
            checked = await answer.json()
            assert checked["valid"]
            assert checked["rooms"] == ["office"]
        async with session.post("/api/participant-token/validate", json={"token": connection["jwt"] + "x"}) as answer:
            assert not (await answer.json())["valid"]
    assert connection["room_url"].endswith("/rooms/office")
    async with connect(server.url, connection["jwt"], room="office") as client:
        assert (await invoke(client, "storage", "exists", {"path": "a"})).header["json"] == {"exists": False}
        listed = await client.ok("room.list_toolkits", {})
        assert {"storage", "messaging", "dataset", "queues"} <= set(listed["tools"])
        room_ready = client.of_type("room_ready")[0].header
        assert room_ready["room_name"] == "office"


async def test_without_a_good_key_there_is_no_connection(server: TestServer) -> None:
    url = f"{server.url}/accounts/projects/{PROJECT_ID}/rooms/office/connect"
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            async with session.post(url, headers=headers) as answer:
                assert answer.status in (401, 403)
