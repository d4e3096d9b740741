"""Queues and LiveKit through the SDK (protocol 10, 13.1)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import jwt
import pytest

from meshagent.api.errors import NotFoundError, UnavailableError
from meshagent.api.room.queues import Queue
from tests.support.chatting import joined
from tests.support.server import PROJECT_ID, TestServer, serve


async def test_a_message_arrives_whether_it_is_sent_before_during_or_after_the_receiver_waits(
    server: TestServer,
) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        assert await bob.queues.receive("jobs", wait=False) is None
        await alice.queues.send("jobs", {"n": "before"})
        assert await alice.queues.list() == [Queue(name="jobs", size=1)]
        assert await bob.queues.receive("jobs") == {"n": "before"}
        waiting = asyncio.ensure_future(bob.queues.receive("jobs"))
        await bob.queues.list()  # answered after the wait has begun
        await alice.queues.send("jobs", "during")
        assert await asyncio.wait_for(waiting, 5) == "during"
        again = asyncio.ensure_future(bob.queues.receive("jobs"))
        sending = asyncio.ensure_future(alice.queues.send("jobs", [1, None, "é"]))
        assert await asyncio.wait_for(again, 5) == [1, None, "é"]
        await sending
        assert await bob.queues.receive("jobs", wait=False) is None


async def test_three_participants_share_a_queue_and_nothing_comes_twice(server: TestServer) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob, joined(server, "carol") as carol:
        receiving = [
            asyncio.ensure_future(receiver.queues.receive("jobs")) for _ in range(100) for receiver in (bob, carol)
        ]
        await bob.queues.list()
        await carol.queues.list()
        await asyncio.gather(*(alice.queues.send("jobs", number) for number in range(200)))
        got = await asyncio.wait_for(asyncio.gather(*receiving), 10)
        assert sorted(number for number in got if isinstance(number, int)) == list(range(200))
        assert await alice.queues.list() == [Queue(name="jobs", size=0)]


async def test_a_queue_is_drained_and_closed(server: TestServer) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        with pytest.raises(NotFoundError):
            await alice.queues.send("jobs", 1, create=False)
        await alice.queues.open("jobs")
        await alice.queues.send("jobs", 1, create=False)
        await bob.queues.drain("jobs")
        waiting = asyncio.ensure_future(bob.queues.receive("jobs"))
        await bob.queues.list()
        await alice.queues.close("jobs")
        assert await asyncio.wait_for(waiting, 5) is None
        assert await alice.queues.list() == []


async def test_livekit_that_is_not_configured_says_so(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        with pytest.raises(UnavailableError, match=r"livekit\.url"):
            await alice.livekit.get_connection_info()


async def test_livekit_tokens_open_the_rooms_own_meeting_and_its_breakout_rooms(tmp_path: Path) -> None:
    livekit = {"url": "wss://livekit.example.com", "api_key": "key", "api_secret": "s" * 32}
    async with (
        serve(tmp_path, livekit=livekit) as server,
        joined(server, "alice") as alice,
        joined(server, "bot", role="agent") as bot,
    ):
        for participant, name, breakout_room, meeting in (
            (alice, "alice", None, f"{PROJECT_ID}/room"),
            (bot, "bot", "corner", f"{PROJECT_ID}/room/corner"),
        ):
            info = await participant.livekit.get_connection_info(breakout_room=breakout_room)
            assert info.url == "wss://livekit.example.com"
            claims = jwt.decode(info.token, "s" * 32, algorithms=["HS256"])
            assert (claims["iss"], claims["sub"], claims["name"]) == ("key", participant.local_participant.id, name)
            assert claims["video"]["room"] == meeting
            assert claims["video"]["roomJoin"] is True
            assert claims["exp"] > claims["nbf"]
