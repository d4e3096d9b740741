"""Joining, leaving, and being refused, at wire level (protocol 1.2, 3, 4)."""

from __future__ import annotations

import aiohttp
import pytest

from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken
from tests.support.server import PROJECT_ID, SECRET, TestServer, rooms_ended
from tests.support.wire_client import join


async def refusal(server: TestServer, token: str | None, room: str = "room") -> tuple[int, str]:
    """Status and text that a join with this token gets."""
    params = {} if token is None else {"token": token}
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    headers["Sec-WebSocket-Key"] = "x3JJHMbDL1EzLkh9GBhXDw=="
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}/rooms/{room}", params=params, headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_the_welcome_comes_in_order_and_once(server: TestServer) -> None:
    async with join(server) as alice:
        await alice.settle()
        lifecycle = [message.type for message in alice.log if message.type in ("connected", "room_ready")]
        assert lifecycle == ["connected", "room_ready"]
        connected = alice.of_type("connected")[0].header
        assert connected["type"] == "init"
        assert connected["attributes"] == {"name": "alice"}
        ready = alice.of_type("room_ready")[0].header
        assert ready["room_name"] == "room"
        assert ready["room_url"] == server.room_url("room")
        assert ready["session_id"]


async def test_two_connections_of_one_token_are_two_participants(server: TestServer) -> None:
    token = server.token("alice")
    async with join(server, token=token) as first, join(server, token=token) as second:
        assert first.participant_id != second.participant_id
        assert (
            first.of_type("room_ready")[0].header["session_id"] == second.of_type("room_ready")[0].header["session_id"]
        )


async def test_a_room_that_starts_again_has_another_session(server: TestServer) -> None:
    async with join(server) as alice:
        before = alice.of_type("room_ready")[0].header["session_id"]
    await rooms_ended(server)
    async with join(server) as alice:
        assert alice.of_type("room_ready")[0].header["session_id"] != before


@pytest.mark.parametrize(
    ("describe", "reason"),
    [
        ("none", "no token"),
        ("garbage", "token"),
        ("wrong secret", "not signed"),
        ("other room", "has no grant for room"),
        ("no room", "no room grant"),
        ("unknown key", "unknown key"),
    ],
)
async def test_a_bad_token_gets_403_and_a_reason(server: TestServer, describe: str, reason: str) -> None:
    unknown = ParticipantToken(name="x", project_id=PROJECT_ID, api_key_id="nobody's")
    unknown.add_room_grant(room_name="room")
    tokens = {
        "none": None,
        "garbage": "not.a.token",
        "wrong secret": server.token(secret="something else"),
        "other room": server.token(room="elsewhere"),
        "no room": server.token(room=None),
        "unknown key": unknown.to_jwt(secret=SECRET),
    }
    status, text = await refusal(server, tokens[describe])
    assert status == 403
    assert reason in text


async def test_a_token_signed_with_the_bare_secret_opens_the_default_project(server: TestServer) -> None:
    token = ParticipantToken(name="alice")
    token.add_room_grant(room_name="room", role="agent")
    async with join(server, token=token.to_jwt(secret=SECRET)) as alice:
        await alice.settle()


async def test_the_token_may_come_as_a_bearer_header(server: TestServer) -> None:
    headers = {"Authorization": f"Bearer {server.token()}"}
    async with aiohttp.ClientSession() as session, session.ws_connect(server.room_url(), headers=headers) as socket:
        assert (await socket.receive()).type is aiohttp.WSMsgType.BINARY


async def test_unknown_requests_and_missing_fields_get_clear_errors(server: TestServer) -> None:
    async with join(server) as alice:
        assert "unknown request 'storage.fly'" in await alice.error("storage.fly")
        assert "path" in await alice.error("storage.exists")
        await alice.settle()


async def test_grants_are_enforced_for_every_operation(server: TestServer) -> None:
    token = server.token(scope=ApiScope.from_json({"messaging": {}}))
    async with join(server, token=token) as alice:
        await alice.ok("messaging.enable")
        for request in ("storage.list", "storage.download", "room.connect"):
            assert "not allow" in await alice.error(request, {"path": "a.txt"})


async def test_attributes_reach_others_but_the_name_stays(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        await alice.ok("messaging.enable")
        await bob.ok("messaging.enable")
        await bob.send("set_attributes", {"name": "mallory", "mood": "fine"})
        event = await alice.message("participant.attributes")
        assert event.header["from_participant_id"] == bob.participant_id
        assert event.header["message"] == {"attributes": {"mood": "fine"}}
        async with join(server, "carol") as carol:
            await carol.ok("messaging.enable")
            present = (await carol.message("messaging.enabled")).header["message"]["participants"]
            assert {"name": "bob", "mood": "fine"} in [entry["attributes"] for entry in present]
