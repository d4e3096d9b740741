"""Chatting with a bot in a real room, its model scripted."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from meshagent.agents.chat import ChatBot
from meshagent.agents.chat.conversation import STOPPED_NOTE, ChatSettings
from meshagent.agents.llm.scripted import Fail, Reply, ScriptedAdapter, call, say
from meshagent.llm.model import ModelRequest
from meshagent.llm.scripted import plain_text
from meshagent.tools import ToolContext, Toolkit, tool
from tests.support.chatting import person, texts, working
from tests.support.server import TestServer

PATH = "hello.thread"


def bot(adapter: ScriptedAdapter, **options: Any) -> ChatBot:
    return ChatBot(name="bot", llm_adapter=adapter, **options)


def heard(request: ModelRequest) -> list[str]:
    """What a model was given, roles and texts."""
    return [f"{message['role']}: {plain_text(message['content'])}" for message in request.messages if "role" in message]


async def test_a_bot_answers_in_the_thread(server: TestServer) -> None:
    adapter = ScriptedAdapter([say("Hello, Alice."), say("You said hi.")])
    async with working(server, bot(adapter, rules=["be kind"])), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "hi")
        await alice.finished(PATH)
        await alice.say(thread, PATH, "what did I say?")
        await alice.finished(PATH, times=2)
        assert await alice.answers(thread, "bot", 2) == ["Hello, Alice.", "You said hi."]
        assert alice.signals(PATH) == [True, False, True, False]
        answer = next(message for message in thread.messages() if message.author == "bot")
        assert thread.document.root.get_node_by_id(answer.element_id)["created_at"].endswith("Z")  # type: ignore[index]
    first, second = adapter.model.requests
    assert first.instructions == "be kind"
    assert heard(first) == ["user: hi"]
    assert heard(second) == ["user: hi", "assistant: Hello, Alice.", "user: what did I say?"]


async def test_a_bot_has_a_title_for_empty_threads(server: TestServer) -> None:
    async with working(server, bot(ScriptedAdapter())), person(server, "alice") as alice:
        [agent] = alice.room.messaging.remote_participants
        assert agent.role == "agent"
        assert agent.get_attribute("empty_state_title") == "How can I help you?"


async def test_an_answer_grows_while_the_model_speaks(server: TestServer) -> None:
    adapter = ScriptedAdapter([say(" ".join(f"word{n}" for n in range(20)))], delay=0.005)
    seen: list[str] = []
    settings = ChatSettings(stream_interval=0.02)
    async with working(server, bot(adapter, settings=settings)), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")

        @thread.document.on("updated")
        def updated(element: Any, attribute: str) -> None:
            if attribute == "text" and element["author_name"] == "bot":
                seen.append(element["text"])

        await alice.say(thread, PATH, "count")
        await alice.finished(PATH)
        await alice.until(lambda: texts(thread, "bot")[0].endswith("word19"))
    assert 2 <= len(seen) < 20  # as it grew, but not at each word
    assert all(later.startswith(earlier) for earlier, later in pairwise(seen))


async def test_a_cancelled_answer_stays_as_far_as_it_came(server: TestServer) -> None:
    adapter = ScriptedAdapter(lambda request: say("one two three " * 1000), delay=0.005)
    settings = ChatSettings(stream_interval=0.01)
    async with working(server, bot(adapter, settings=settings)), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "count")
        await alice.until(lambda: any("two" in text for text in texts(thread, "bot")))
        adapter.model.script = [say("Stopped.")]
        await alice.say(thread, PATH, "and now?")  # in line: cancelling does not throw it away
        await alice.tell(thread, "cancel", {"path": PATH})
        await alice.finished(PATH, times=2)
        [stopped, _] = await alice.answers(thread, "bot", 2)
        await alice.until(lambda: texts(thread, "bot")[1] == "Stopped.")
    assert stopped.startswith("one two")
    assert alice.signals(PATH) == [True, False, True, False]
    told = heard(adapter.model.requests[1])
    assert told[0] == "user: count"
    assert told[1].startswith("assistant: one two")
    assert told[1].endswith(STOPPED_NOTE)
    assert told[2] == "user: and now?"


async def test_two_people_and_two_threads_at_once(server: TestServer) -> None:
    both_asked = asyncio.Barrier(2)

    async def script(request: ModelRequest) -> Reply:
        await both_asked.wait()  # neither turn ends before both have begun
        return say(f"to {plain_text(request.messages[-1]['content'])}")

    async with (
        working(server, bot(ScriptedAdapter(script))),
        person(server, "alice") as alice,
        person(server, "bob") as bob,
    ):
        of_alice = await alice.open("alice.thread", "bot")
        of_bob = await bob.open("bob.thread", "bot")
        async with asyncio.timeout(10):
            await alice.say(of_alice, "alice.thread", "this is alice")
            await bob.say(of_bob, "bob.thread", "this is bob")
            await alice.finished("alice.thread")
            await bob.finished("bob.thread")
        await alice.until(lambda: texts(of_alice, "bot") == ["to this is alice"])
        await bob.until(lambda: texts(of_bob, "bot") == ["to this is bob"])
        assert alice.signals("bob.thread") == []


async def test_two_people_in_one_thread_are_told_apart(server: TestServer) -> None:
    adapter = ScriptedAdapter([say("Hi Alice."), say("Hi Bob.")])
    async with (
        working(server, bot(adapter)),
        person(server, "alice") as alice,
        person(server, "bob") as bob,
    ):
        seen_by_alice = await alice.open(PATH, "bot", "bob")
        await alice.say(seen_by_alice, PATH, "hello")
        await alice.finished(PATH)
        seen_by_bob = await bob.open(PATH)
        await bob.until(lambda: texts(seen_by_bob, "bot") == ["Hi Alice."])
        await bob.say(seen_by_bob, PATH, "hello too")
        await bob.finished(PATH, times=2)
        await alice.finished(PATH, times=2)
        await alice.until(lambda: texts(seen_by_alice, "bot") == ["Hi Alice.", "Hi Bob."])
    assert heard(adapter.model.requests[1]) == ["user: hello", "assistant: Hi Alice.", "user: bob: hello too"]


async def test_a_restarted_bot_reads_the_history(server: TestServer) -> None:
    async with person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        async with working(server, bot(ScriptedAdapter([say("The first answer.")]))):
            await alice.until(lambda: bool(alice.room.messaging.remote_participants))
            await alice.say(thread, PATH, "first")
            await alice.finished(PATH)
        await alice.until(lambda: not alice.room.messaging.remote_participants)
        adapter = ScriptedAdapter([say("The second answer.")])
        async with working(server, bot(adapter)):
            await alice.until(lambda: bool(alice.room.messaging.remote_participants))
            await alice.say(thread, PATH, "second")
            await alice.finished(PATH, times=2)
        [request] = adapter.model.requests
        assert heard(request) == ["user: first", "assistant: The first answer.", "user: second"]


async def test_a_text_that_is_not_in_the_document_is_answered_too(server: TestServer) -> None:
    adapter = ScriptedAdapter()
    settings = ChatSettings(document_timeout=0.01)
    async with working(server, bot(adapter, settings=settings)), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "only a message", in_document=False)
        await alice.finished(PATH)
        thread.append_message(author="alice", text="only a message")  # it comes late
        await alice.say(thread, PATH, "next")
        await alice.finished(PATH, times=2)
    assert heard(adapter.model.requests[1]) == [
        "user: only a message",
        "assistant: You said: only a message",
        "user: next",
    ]


async def test_a_greeting_is_said_once(server: TestServer) -> None:
    async with (
        working(server, bot(ScriptedAdapter(), auto_greet_message="Welcome!")),
        person(server, "alice") as alice,
    ):
        thread = await alice.open(PATH, "bot")
        for _ in range(2):
            await alice.tell(thread, "opened", {"path": PATH})
        await alice.say(thread, PATH, "hi")
        await alice.finished(PATH)
        await alice.until(lambda: texts(thread, "bot") == ["Welcome!", "You said: hi"])
        greetings = [message.message["text"] for message in alice.received if message.type == "chat"]
        assert greetings == ["Welcome!"]


async def test_a_failure_is_told_and_the_next_message_works(server: TestServer) -> None:
    adapter = ScriptedAdapter([Fail("the model is ill"), say("Better.")])
    async with working(server, bot(adapter)), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "hi")
        await alice.finished(PATH)
        await alice.until(lambda: any(message.type == "chat" for message in alice.received))
        assert "the model is ill" in (await alice.answers(thread, "bot", 1))[0]
        await alice.say(thread, PATH, "again")
        await alice.finished(PATH, times=2)
        await alice.until(lambda: texts(thread, "bot")[-1] == "Better.")
        assert alice.signals(PATH) == [True, False, True, False]


async def test_attachments_are_read_or_noted(server: TestServer) -> None:
    adapter = ScriptedAdapter([say("Read.")])
    async with working(server, bot(adapter)), person(server, "alice") as alice:
        for path, content in (("list.txt", b"milk, bread"), ("film.bin", b"\x00\x01")):
            async with alice.room.storage.open(path=path) as file:
                await file.write(content)
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "look", attachments=["list.txt", "film.bin", "gone.txt"])
        await alice.finished(PATH)
    listed, film, gone, text = heard(adapter.model.requests[0])
    assert "milk, bread" in listed
    assert "'film.bin'" in film
    assert "'gone.txt'" in gone
    assert text == "user: look"


async def test_a_mention_decides_which_of_two_agents_answers(server: TestServer) -> None:
    first, second = ScriptedAdapter(), ScriptedAdapter()
    async with (
        working(server, bot(first), name="ann"),
        working(server, bot(second), name="ben"),
        person(server, "alice") as alice,
    ):
        thread = await alice.open(PATH, "ann", "ben")
        await alice.say(thread, PATH, "@ben what is the time?")
        await alice.finished(PATH)
        await alice.until(lambda: bool(texts(thread, "ben")))
        await alice.say(thread, PATH, "both of you")
        await alice.finished(PATH, times=3)
        await alice.until(lambda: len(texts(thread, "ben")) == 2 and len(texts(thread, "ann")) == 1)
    assert len(first.model.requests) == 1
    assert heard(first.model.requests[0])[0] == "user: @ben what is the time?"


async def test_a_tool_edits_a_document_and_the_model_goes_on(server: TestServer) -> None:
    adapter = ScriptedAdapter([call("add_heading", text="Plan"), say("It is in notes.document.")])

    @tool
    async def add_heading(context: ToolContext, text: str) -> str:
        """Add a heading to the notes."""
        assert context.beneficiary.get_attribute("name") == "alice"
        notes = await context.room.sync.open("notes.document")
        notes.root.append_child("heading", {"text": text})
        await context.room.sync.close("notes.document")
        return "added"

    agent = bot(adapter, toolkits=[Toolkit("notes", [add_heading], rules=["write headings"])])
    async with working(server, agent), person(server, "alice") as alice:
        thread = await alice.open(PATH, "bot")
        await alice.say(thread, PATH, "note the plan")
        await alice.finished(PATH)
        await alice.until(lambda: texts(thread, "bot") == ["It is in notes.document."])
        notes = await alice.room.sync.open("notes.document")
        assert notes.to_json() == {"document": {"content": [{"heading": {"text": "Plan"}}]}}
    assert adapter.model.requests[0].instructions == "write headings"
