"""Chat bots under strain: idle threads, full queues, documents that are no threads, restarts of the server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from meshagent.agents.chat import ChatBot
from meshagent.agents.chat.conversation import ChatSettings
from meshagent.agents.llm.scripted import Reply, ScriptedAdapter, say
from meshagent.llm.model import ModelRequest
from meshagent.llm.scripted import plain_text
from tests.support.chatting import joined, person, texts, working
from tests.support.server import TestServer, serve

PATH = "limits.thread"


def roles(request: ModelRequest) -> list[str]:
    return [f"{message['role']}: {plain_text(message['content'])}" for message in request.messages]


async def test_an_idle_thread_is_closed_and_opened_again(server: TestServer) -> None:
    adapter = ScriptedAdapter()
    agent = ChatBot(llm_adapter=adapter, settings=ChatSettings(idle_timeout=0.01))
    async with working(server, agent) as own, person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "one")
        await alice.finished(PATH)
        for _ in range(500):
            if not own.sync.get_open_documents():
                break
            await asyncio.sleep(0.01)
        assert own.sync.get_open_documents() == {}
        await alice.say(thread, PATH, "two")
        await alice.finished(PATH, times=2)
        await alice.until(lambda: texts(thread, "bot") == ["You said: one", "You said: two"])
    assert roles(adapter.model.requests[1]) == ["user: one", "assistant: You said: one", "user: two"]


async def test_a_thread_with_too_many_messages_in_line_refuses_more(server: TestServer) -> None:
    gate = asyncio.Event()

    async def script(request: ModelRequest) -> Reply:
        await gate.wait()
        return say("Done.")

    agent = ChatBot(llm_adapter=ScriptedAdapter(script), settings=ChatSettings(max_pending=1))
    async with working(server, agent), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "is answered")
        await alice.thinking(PATH)
        await alice.say(thread, PATH, "waits")
        await alice.say(thread, PATH, "is refused")
        await alice.until(lambda: any(message.type == "chat" for message in alice.received))
        [refusal] = [message.message for message in alice.received if message.type == "chat"]
        assert "busy" in refusal["text"]
        assert refusal["path"] == PATH
        gate.set()
        await alice.finished(PATH, times=2)
        await alice.until(lambda: texts(thread, "bot") == ["Done.", "Done."])


async def test_a_thread_that_cannot_be_opened_is_told(server: TestServer) -> None:
    async with working(server, ChatBot(llm_adapter=ScriptedAdapter())), person(server, "alice") as alice:
        async with alice.room.storage.open(path="broken.thread") as file:
            await file.write(b"not a document")
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, "broken.thread", "hello", in_document=False)
        await alice.until(lambda: any(message.type == "chat" for message in alice.received))
        await alice.say(thread, PATH, "hello")  # other threads go on
        await alice.finished(PATH)


async def test_strangers_and_nonsense_are_ignored(server: TestServer) -> None:
    adapter = ScriptedAdapter()
    async with (
        working(server, ChatBot(llm_adapter=adapter)),
        person(server, "alice") as alice,
        joined(server, "hidden") as hidden,
    ):
        [agent] = alice.room.messaging.remote_participants
        await hidden.messaging.send_message(to=agent.id, type="chat", message={"path": PATH, "text": "boo"})
        for message in ("text", {}, {"path": "notes.document", "text": "hi"}, {"path": PATH, "attachments": 7}):
            await alice.room.messaging.send_message(to=agent, type="chat", message=message)
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "hello")
        await alice.finished(PATH)
    assert [roles(request) for request in adapter.model.requests] == [["user: hello"]]


async def test_a_conversation_goes_on_after_a_restart_of_the_server(tmp_path: Path) -> None:
    adapter = ScriptedAdapter()
    agent = ChatBot(llm_adapter=adapter)
    async with serve(tmp_path / "data") as server:
        port = server.port
        at_work = working(server, agent)
        await at_work.__aenter__()
        chatting = person(server, "alice")
        alice = await chatting.__aenter__()
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "before")
        await alice.finished(PATH)
        back = asyncio.Event()
        alice.room.on("reconnected", back.set)
    async with serve(tmp_path / "data", port=port):
        await asyncio.wait_for(back.wait(), 10)
        await alice.until(lambda: bool(alice.room.messaging.remote_participants))
        await alice.say(thread, PATH, "after")
        await alice.finished(PATH, times=2)
        await alice.until(lambda: texts(thread, "bot") == ["You said: before", "You said: after"])
        await chatting.__aexit__(None, None, None)
        await at_work.__aexit__(None, None, None)
    assert roles(adapter.model.requests[1]) == ["user: before", "assistant: You said: before", "user: after"]
