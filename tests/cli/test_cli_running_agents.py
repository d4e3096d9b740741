"""`meshagent chatbot` and `meshagent worker`, as processes in a real room."""

from __future__ import annotations

import asyncio
import json
import signal

from meshagent.agents import ChatBot
from meshagent.agents.llm import ScriptedAdapter
from tests.support.chatting import joined, person, texts, working
from tests.support.command_line import CommandLine, lines_until
from tests.support.server import TestServer

PATH = "hello.thread"


async def test_a_chat_bot_joins_and_answers_until_it_is_interrupted(cli: CommandLine, server: TestServer) -> None:
    (cli.home / "rules.txt").write_text("be kind\n\nbe brief\n")
    arguments = ("--agent-name", "kim", "--model", "echo", "--rules-file", "rules.txt", "--schema", "document")
    async with person(server, "alice") as alice:
        async with cli.start("chatbot", "join", *arguments, "--greeting", "Hi!") as process:
            await lines_until(process.stderr, "kim is in room room")
            notes = await alice.room.sync.open("notes.document")
            thread = await alice.open(PATH, "kim")
            await alice.tell(thread, "opened", {"path": PATH})
            heading = {"path": "notes.document", "parent_id": None, "after_id": None, "attributes": {"text": "Plan"}}
            await alice.say(thread, PATH, f"call document_insert_heading {json.dumps(heading)}")
            await alice.finished(PATH)
            await alice.until(lambda: len(texts(thread, "kim")) == 2 and bool(texts(thread, "kim")[1]))
            assert texts(thread, "kim")[0] == "Hi!"
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), 20)
        assert "Plan" in str(notes.to_json()), texts(thread, "kim")


async def test_the_terminal_talks_to_a_chat_bot(cli: CommandLine, server: TestServer) -> None:
    async with working(server, ChatBot(llm_adapter=ScriptedAdapter()), name="kim"):
        said = await cli("chat", "--message", "hello from the terminal")
        assert "You said: hello from the terminal" in said.out


async def test_a_chat_bot_is_called_in(cli: CommandLine, server: TestServer) -> None:
    arguments = ("--agent-name", "kim", "--model", "echo", "--host", "127.0.0.1", "--port", "0", "--path", "/kim")
    async with person(server, "alice") as alice, cli.start("chatbot", "service", *arguments) as process:
        [line] = await lines_until(process.stderr, "waiting for invitations")
        url = next(word for word in line.split() if word.startswith("http://")).rstrip(";")
        await alice.room.agents.make_call(name="kim", url=url, arguments={})
        await alice.until(lambda: bool(alice.room.messaging.remote_participants))
        thread = await alice.open(PATH, "kim")
        await alice.say(thread, PATH, "hello")
        await alice.finished(PATH)
        await alice.until(lambda: texts(thread, "kim") == ["You said: hello"])


async def test_a_worker_joins_and_empties_its_queue(cli: CommandLine, server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await alice.queues.send("jobs", 'call send_queue_message {"queue": "done", "message": "worked"}')
        async with cli.start("worker", "join", "--queue", "jobs", "--model", "echo") as process:
            await lines_until(process.stderr, "worker is in room room")
            await alice.queues.send("jobs", "more")
            async with asyncio.timeout(20):
                for _ in range(1000):
                    if not any(queue.size for queue in await alice.queues.list()):
                        break
                    await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), 20)
        # A job that it had only just taken when it was stopped is back in the queue; the first one is done.
        left = await alice.queues.receive("jobs", wait=False)
        assert left in (None, "more")
        assert await alice.queues.receive("jobs", wait=False) is None


async def test_what_is_wrong_is_told_before_joining(cli: CommandLine) -> None:
    told = await cli.fails("chatbot", "join", "--rules-file", "missing.txt", code=2)
    assert "rules" in told
    assert "--queue" in await cli.fails("worker", "join", code=2)
