"""The examples of agents, as processes of their own against a real server whose model echoes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.api import RoomClient
from tests.support.chatting import joined, person, texts
from tests.support.examples import Examples
from tests.support.server import TestServer, serve

pytestmark = pytest.mark.slow

ROOM = "examples"
PATH = "example.thread"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serve(tmp_path) as running:
        yield running


@pytest.fixture
def examples(server: TestServer) -> Examples:
    return Examples(server)


async def write(room: RoomClient, path: str, text: str) -> None:
    async with room.storage.open(path=path) as file:
        await file.write(text)


async def test_a_chat_bot_with_tools(examples: Examples, server: TestServer) -> None:
    async with examples.running("chat_bot") as bot, person(server, "alice", room=ROOM) as alice:
        await bot.says("guide is in the room")
        thread = await alice.open(PATH, "guide")
        await alice.tell(thread, "opened", {"path": PATH})
        await alice.say(thread, PATH, 'call route {"start": "home", "end": "work"}')
        await alice.finished(PATH)
        await alice.until(lambda: len(texts(thread, "guide")) == 2 and "25" in texts(thread, "guide")[1])
        assert texts(thread, "guide")[0] == "Where do you want to go?"
        assert '"asked_by":"alice"' in texts(thread, "guide")[1]


async def test_a_chat_bot_that_knows_the_files(examples: Examples, server: TestServer) -> None:
    async with person(server, "alice", room=ROOM) as alice:
        await write(alice.room, "handbook.md", "Everybody has 30 days of holidays.")
        async with examples.running("file_expert") as bot:
            await bot.says("librarian has read the files")
            thread = await alice.open(PATH, "librarian")
            await alice.say(thread, PATH, 'call rag_search {"query": "how many holidays"}')
            await alice.finished(PATH)
            await alice.until(lambda: any("30 days of holidays" in text for text in texts(thread, "librarian")))


async def test_a_listener(examples: Examples, server: TestServer) -> None:
    async with examples.running("document_listener") as listener, person(server, "alice", room=ROOM) as alice:
        await listener.says("listening to plan.document")
        plan = await alice.room.sync.open("plan.document")
        contents = await alice.room.sync.open("contents.document")
        alice.follow(contents)
        plan.root.append_child("heading", {"text": "Buy"})
        plan.root.append_child("body", {"text": "milk"})
        plan.root.append_child("heading", {"text": "Sell"})
        await alice.until(
            lambda: (
                contents.to_json()["document"]["content"]
                == [{"body": {"text": "1. Buy"}}, {"body": {"text": "2. Sell"}}]
            )
        )


async def test_a_worker(examples: Examples, server: TestServer) -> None:
    async with examples.running("answering_worker") as worker, joined(server, "alice", room=ROOM) as alice:
        await worker.says("waiting for questions")
        await alice.queues.send("questions", {"id": "one", "question": "Why?"})
        await worker.says("wrote answers/one.txt")
        assert (await alice.storage.download(path="answers/one.txt")).data == b"You said: Why?"
