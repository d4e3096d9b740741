"""`meshagent.testing`: what a test gets from `room_server`."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

import meshagent.testing
from meshagent.agents import SingleRoomAgent
from meshagent.api.errors import PermissionDeniedError, RoomException
from meshagent.api.tokens.scope import ApiScope
from meshagent.testing import ScriptedModel, room_server, say


def test_every_public_name_is_there() -> None:
    for name in meshagent.testing.__all__:
        assert getattr(meshagent.testing, name) is not None
        assert name in dir(meshagent.testing)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = meshagent.testing.other


async def test_participants_meet_in_rooms_of_their_own() -> None:
    async with room_server() as server, server.join("alice", room="one") as alice, server.join("bob", room="two"):
        assert alice.room_name == "one"
        assert alice.local_participant.get_attribute("name") == "alice"
        await alice.messaging.enable()
        assert list(alice.messaging.remote_participants) == []
        async with server.join("carol", room="one") as carol:
            await carol.messaging.enable()
            assert [who.get_attribute("name") for who in carol.messaging.remote_participants] == ["alice"]


async def test_temporary_data_is_deleted() -> None:
    async with room_server() as server, server.join() as room:
        folder = server.config.data_dir
        await room.queues.send(name="jobs", message={"n": 1})
        assert folder.exists()
    assert not folder.exists()


async def test_data_of_ones_own_is_kept(tmp_path: Path) -> None:
    for number in range(2):
        async with room_server(data_dir=tmp_path) as server, server.join() as room:
            await room.queues.send(name="jobs", message={"n": number})
    async with room_server(data_dir=tmp_path) as server, server.join() as room:
        taken = [await room.queues.receive(name="jobs", wait=False) for _ in range(2)]
    assert taken == [{"n": 0}, {"n": 1}]


async def test_two_servers_side_by_side_have_ports_of_their_own() -> None:
    async with room_server() as one, room_server() as other:
        assert one.port != other.port
        assert one.url == f"http://127.0.0.1:{one.port}"


async def test_settings_are_the_servers() -> None:
    async with room_server(idle_grace=0) as server:
        async with server.join():
            assert server.started.rooms.directory.rooms
        await server.until_rooms_ended()
    with pytest.raises(ValueError, match="idle_graze"):
        async with room_server(idle_graze=0):
            pass


async def test_waiting_for_rooms_to_end_gives_up() -> None:
    async with room_server() as server, server.join():
        with pytest.raises(TimeoutError):
            await server.until_rooms_ended(timeout=0.01)


async def test_scopes_limit_what_a_participant_may_do() -> None:
    async with room_server() as server, server.join("mute", scope=ApiScope()) as room:
        with pytest.raises(PermissionDeniedError):
            await room.queues.send(name="jobs", message={})


async def test_rest_api_as_administrator() -> None:
    async with room_server() as server, server.accounts() as accounts:
        projects = (await accounts.list_projects())["projects"]
    assert [project["id"] for project in projects] == [server.project_id]


async def test_the_rooms_model_follows_a_script() -> None:
    async with room_server(model=[say("Good morning!")]) as server, aiohttp.ClientSession() as session:
        assert isinstance(server.model, ScriptedModel)
        asked = {"model": "default", "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": f"Bearer {server.token()}"}
        async with session.post(f"{server.url}/rooms/room/v1/chat/completions", json=asked, headers=headers) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == "Good morning!"
    assert [request.messages[-1]["content"] for request in server.model.requests] == ["hello"]


async def test_an_agent_works_for_the_length_of_the_block() -> None:
    agent = SingleRoomAgent(name="helper")
    async with room_server() as server:
        async with server.running(agent, name="helper") as room:
            assert agent.room is room
            assert room.local_participant.get_attribute("name") == "helper"
        with pytest.raises(RoomException):
            _ = agent.room


async def test_programs_learn_of_the_server_by_their_environment() -> None:
    program = "import meshagent.api.helpers as h; print(h.websocket_room_url(room_name='a b'))"
    async with room_server() as server:
        environment = {**os.environ, **server.environment}
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == server.room_url("a b")


def test_without_the_server_extra_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['sqlalchemy'] = None; import meshagent.testing; meshagent.testing.room_server"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'openmeshagent[server]'" in done.stderr.splitlines()[-1]
