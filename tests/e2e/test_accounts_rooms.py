"""Accounts and rooms together, on a real server."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from meshagent.api.accounts_client import AccountsClient
from meshagent.api.room_server_client import RoomClient
from meshagent.api.tokens.api_key import ApiKey
from meshagent.api.tokens.token import ParticipantToken
from meshagent.api.websocket_protocol import WebSocketClientProtocol
from meshagent.api.wire.close_codes import CloseCode
from tests.support.server import PROJECT_ID, TestServer, serve

ADMIN = "test-admin-token"


def _token(project_id: str, key_id: str, secret: str, room: str, name: str = "alice") -> str:
    token = ParticipantToken(name=name, project_id=project_id, api_key_id=key_id)
    token.add_room_grant(room_name=room)
    return token.to_jwt(secret=secret)


async def test_revoking_a_key_closes_the_sockets_that_it_opened(server: TestServer) -> None:
    async with AccountsClient(server.url, ADMIN) as admin, aiohttp.ClientSession() as session:
        key = await admin.create_project_api_key(PROJECT_ID, "k", "")
        url = f"{server.room_url()}?token={_token(PROJECT_ID, key['id'], key['token'], 'room')}"
        async with (
            session.ws_connect(url) as guest,
            session.ws_connect(f"{server.room_url()}?token={server.token()}") as other,
        ):
            assert (await guest.receive()).type is aiohttp.WSMsgType.BINARY
            assert (await other.receive()).type is aiohttp.WSMsgType.BINARY
            await admin.delete_project_api_key(PROJECT_ID, key["id"])
            while (message := await guest.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert guest.close_code == CloseCode.POLICY
            [session_record] = (await admin.list_recent_sessions(PROJECT_ID))["sessions"]
            here = await admin.list_session_participants(project_id=PROJECT_ID, session_id=session_record["id"])
            assert [one["name"] for one in here["participants"]] == ["alice"]
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(url)
            assert caught.value.status == 403
            assert not other.closed


async def test_a_key_of_any_project_opens_its_own_rooms_only(server: TestServer) -> None:
    async with AccountsClient(server.url, ADMIN) as admin:
        project = await admin.create_project("other")
        made = await admin.create_project_api_key(project["id"], "k", "")
        key = ApiKey.decode(made["api_key"])
        jwt = _token(key.project_id, key.key_id, key.secret, "room")
        async with RoomClient(protocol=WebSocketClientProtocol(url=server.room_url(), token=jwt)) as room:
            assert await room.storage.list(path="") == []
            names = [one["room_name"] for one in (await admin.list_recent_sessions(project["id"]))["sessions"]]
        assert names == ["room"]
        assert (await admin.list_recent_sessions(PROJECT_ID))["sessions"] == []
        foreign = _token(PROJECT_ID, key.key_id, key.secret, "room")
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(f"{server.room_url()}?token={foreign}")


async def test_a_session_is_recorded_kicked_and_ended(server: TestServer) -> None:
    async with AccountsClient(server.url, ADMIN) as admin, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{server.room_url()}?token={server.token('ada')}") as ada:
            await ada.receive()
            async with session.ws_connect(f"{server.room_url()}?token={server.token('bob')}") as bob:
                await bob.receive()
                [record] = (await admin.list_recent_sessions(PROJECT_ID))["sessions"]
                here = await admin.list_session_participants(project_id=PROJECT_ID, session_id=record["id"])
                ids = {one["name"]: one["id"] for one in here["participants"]}
                await admin.kick_participant(project_id=PROJECT_ID, session_id=record["id"], participant_id=ids["bob"])
                while not bob.closed:
                    await bob.receive()
            assert (await admin.get_room(project_id=PROJECT_ID, name="room"))["is_active"]
            await admin.terminate_session(project_id=PROJECT_ID, session_id=record["id"])
            while not ada.closed:
                await ada.receive()
        ended = await admin.get_session(PROJECT_ID, record["id"])
        assert not ended["is_active"]
        assert ended["participants"] == 2
        events = (await admin.list_session_events(PROJECT_ID, record["id"]))["events"]
    story = [(event["type"], event["data"].get("name")) for event in events]
    assert story == [
        ("room.participant_joined", "ada"),
        ("room.participant_joined", "bob"),
        ("room.participant_left", "bob"),
        ("room.participant_left", "ada"),
    ]


async def _write(server: TestServer, room_name: str, content: bytes) -> None:
    protocol = WebSocketClientProtocol(url=server.room_url(room_name), token=server.token(room=room_name))
    async with RoomClient(protocol=protocol) as room:
        handle = await room.storage.open(path="a.txt", overwrite=True)
        await room.storage.write(handle=handle, data=content)
        await room.storage.close(handle=handle)
        await room.queues.send(name="jobs", message={"from": room_name}, create=True)


async def _read(server: TestServer, room_name: str) -> tuple[list[str], object]:
    protocol = WebSocketClientProtocol(url=server.room_url(room_name), token=server.token(room=room_name))
    async with RoomClient(protocol=protocol) as room:
        files = [entry.name for entry in await room.storage.list(path="")]
        return files, await room.queues.receive(name="jobs", create=True, wait=False)


async def test_a_renamed_room_keeps_its_data_over_a_restart_and_a_deleted_one_loses_it(tmp_path: Path) -> None:
    async with serve(tmp_path, idle_grace=0.5) as server, AccountsClient(server.url, ADMIN) as admin:
        await _write(server, "first", b"hello")
        room = await admin.get_room(project_id=PROJECT_ID, name="first")
        await admin.update_room(project_id=PROJECT_ID, room_id=room["id"], name="second")
        assert await _read(server, "first") == ([], None)
    async with serve(tmp_path, idle_grace=0.5) as server, AccountsClient(server.url, ADMIN) as admin:
        assert await _read(server, "second") == (["a.txt"], {"from": "first"})
        room = await admin.get_room(project_id=PROJECT_ID, name="second")
        await admin.delete_room(project_id=PROJECT_ID, room_id=room["id"])
        assert await _read(server, "second") == ([], None)


async def test_a_user_joins_with_what_connect_gives(server: TestServer) -> None:
    async with AccountsClient(server.url, ADMIN) as admin:
        connection = await admin.connect_room(project_id=PROJECT_ID, room_name="lobby")
        share = await admin.create_share(PROJECT_ID, {"room_name": "lobby", "participant_name": "guest"})
        guest = await admin.connect_share(share["id"])
    for way in (connection, guest):
        protocol = WebSocketClientProtocol(url=way["room_url"], token=way["jwt"])
        async with RoomClient(protocol=protocol) as room:
            assert room.room_name == "lobby"
