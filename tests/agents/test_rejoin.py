"""Agents that come back to their rooms, and the demo bot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from meshagent.agents.demo import DEMO_BOT_NAME, DEMO_ROOM, GREETING, run_demo_bot
from meshagent.agents.llm.scripted import ScriptedAdapter
from meshagent.agents.rejoin import rejoin_forever
from meshagent.api import RoomClient, WebSocketClientProtocol
from tests.support.chatting import Person, person, texts
from tests.support.server import SECRET, TestServer, serve

PATH = ".threads/demo.thread"


class Visitor:
    """Counts its visits."""

    def __init__(self) -> None:
        self.stops = 0

    async def start(self, *, room: RoomClient) -> None: ...

    async def stop(self) -> None:
        self.stops += 1


def protocol(server: TestServer, *, secret: str = SECRET) -> WebSocketClientProtocol:
    token = server.token("visitor", role="agent", secret=secret)
    return WebSocketClientProtocol(url=server.room_url(), token=token)


async def test_an_agent_comes_back_when_its_room_has_ended(tmp_path: Path) -> None:
    visitor = Visitor()
    visits = asyncio.Semaphore(0)
    async with serve(
        tmp_path / "data", idle_grace=0.02
    ) as server:  # nobody else is there: the room ends again and again
        staying = asyncio.ensure_future(
            rejoin_forever(
                lambda: protocol(server), lambda: visitor, on_started=lambda room: visits.release(), first_delay=0.01
            )
        )
        async with asyncio.timeout(10):
            for _ in range(3):
                await visits.acquire()
        staying.cancel()
        await asyncio.wait([staying])
    assert visitor.stops >= 3
    assert staying.cancelled()


async def test_a_wrong_token_is_not_tried_again(server: TestServer) -> None:
    with pytest.raises(Exception, match="token"):
        await asyncio.wait_for(rejoin_forever(lambda: protocol(server, secret="wrong"), Visitor, first_delay=0.01), 10)


async def until_here(somebody: Person, name: str) -> None:
    await somebody.until(
        lambda: any(other.get_attribute("name") == name for other in somebody.room.messaging.remote_participants)
    )


async def test_the_demo_bot_greets_answers_and_uses_the_room(server: TestServer) -> None:
    token = server.token(DEMO_BOT_NAME, room=DEMO_ROOM, role="agent")
    demo = asyncio.ensure_future(run_demo_bot(server.room_url(DEMO_ROOM), token, llm_adapter=ScriptedAdapter()))
    async with person(server, "alice", room=DEMO_ROOM) as alice:
        await until_here(alice, DEMO_BOT_NAME)
        async with alice.room.storage.open(path="here.txt") as file:
            await file.write(b"content")
        thread = await alice.open(PATH, DEMO_BOT_NAME)
        await alice.tell(thread, "opened", {"path": PATH})
        await alice.say(thread, PATH, "hello")
        await alice.finished(PATH)
        await alice.say(thread, PATH, "call list_files_in_room {}")
        await alice.finished(PATH, times=2)
        await alice.until(lambda: "here.txt" in texts(thread, DEMO_BOT_NAME)[-1])
        assert texts(thread, DEMO_BOT_NAME)[:2] == [GREETING, "You said: hello"]
    demo.cancel()
    await asyncio.wait([demo])
    assert demo.cancelled()
