"""Agents and tools by the command line: asking, calling, inviting, and chatting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshagent.agents import TaskRunner
from meshagent.api.contracts.content import FileBody
from meshagent.api.room.client import RoomClient
from meshagent.api.services import ServiceHost
from meshagent.api.transport.websocket import WebSocketClientProtocol
from meshagent.tools import RemoteToolkit, tool
from tests.support.command_line import CommandLine, lines_until
from tests.support.server import TestServer

THREAD = ".threads/echo/ann.thread"


def joined(server: TestServer, name: str = "host", role: str = "agent") -> RoomClient:
    return RoomClient(
        protocol=WebSocketClientProtocol(url=server.room_url(), token=server.token(name, room="room", role=role))
    )


class Adder(TaskRunner):
    async def ask(self, *, context: Any, arguments: Any) -> dict[str, Any]:
        if "a" not in arguments:
            raise ValueError("a is missing")
        return {"sum": arguments["a"] + arguments["b"]}


@tool
async def add(a: int, b: int) -> dict[str, int]:
    """Adds."""
    return {"sum": a + b}


@tool
async def shout(text: str) -> str:
    """Says it louder."""
    return text.upper()


@tool
async def picture() -> FileBody:
    """A picture."""
    return FileBody(data=b"\x89PNG", name="x.png", mime_type="image/png")


@tool
async def wait() -> str:
    """Takes its time."""
    await asyncio.sleep(3600)
    return ""


async def test_tools_are_listed_and_called(cli: CommandLine, server: TestServer) -> None:
    toolkit = RemoteToolkit(name="math", tools=[add, shout, picture, wait])
    async with joined(server) as room:
        await toolkit.start(room=room)
        call = ("agents", "invoke-tool", "--toolkit", "math", "--tool")
        listed, added, loud, file = await asyncio.gather(
            cli("agents", "list-toolkits"),
            cli(*call, "add", "--arguments", '{"a": 1, "b": 2}'),
            cli("room", *call, "shout", "--arg", "text=hey"),
            cli(*call, "picture", "-o", "x.png"),
        )
        late, wrong, unknown = await asyncio.gather(
            cli.fails(*call, "wait", "--timeout", "0.1", code=7),
            cli.fails(*call, "add", "--arguments", "[1]", code=2),
            cli.fails(*call, "nope", code=3),
        )
        await toolkit.stop()
    tools = [row[:2] for row in listed.rows if row[0] == "math"]
    assert tools == [["math", name] for name in ("add", "shout", "picture", "wait")]
    assert added.json == {"sum": 3}
    assert (loud.out, file.out) == ("HEY\n", "")
    assert (cli.home / "x.png").read_bytes() == b"\x89PNG"
    assert "timed out" in late
    assert "object" in wrong
    assert "nope" in unknown


async def test_agents_are_listed_and_asked(cli: CommandLine, server: TestServer) -> None:
    schema = {"type": "object"}
    agent = Adder(name="adder", description="adds two numbers", input_schema=schema, output_schema=schema)
    async with joined(server) as room:
        await agent.start(room=room)
        listed, answer = await asyncio.gather(
            cli("agents", "list-agents", "--json"),
            cli("agents", "ask", "--agent", "adder", "--input", '{"a": 1, "b": 2}'),
        )
        refused, unknown = await asyncio.gather(
            cli.fails("agents", "ask", "--agent", "adder", code=1),
            cli.fails("agents", "ask", "--agent", "nobody", code=3),
        )
        await agent.stop()
    assert [(entry["name"], entry["description"]) for entry in listed.json] == [("adder", "adds two numbers")]
    assert answer.json == {"sum": 3}
    assert "a is missing" in refused
    assert "nobody" in unknown


class Greeter:
    """Leaves a file in the room that calls it."""

    async def start(self, *, room: RoomClient) -> None:
        async with room.storage.open(f"{room.local_participant.get_attribute('name')}.txt") as file:
            await file.write(b"hello")

    async def stop(self) -> None:
        """Nothing to stop."""


async def until_exists(room: RoomClient, path: str) -> None:
    appeared = asyncio.Event()
    room.storage.on("file.updated", lambda: appeared.set())
    async with asyncio.timeout(30):
        while not await room.storage.exists(path):
            await appeared.wait()
            appeared.clear()


async def test_services_are_called_into_the_room(cli: CommandLine, server: TestServer) -> None:
    host = ServiceHost(host="127.0.0.1", port=0)
    host.add_path(path="/greet", cls=Greeter)
    async with host, joined(server) as room:
        url = f"http://127.0.0.1:{host.port}/greet"
        await cli("call", "agent", "--url", url)
        await until_exists(room, "greet.txt")
        await cli("room", "call", "toolkit", "--url", url, "--participant-name", "other", "--local")
        await until_exists(room, "other.txt")
        await cli("call", "agent", "--url", url, "--participant-name", "third", "--remote")
        await until_exists(room, "third.txt")
        refused, absent, wrong = await asyncio.gather(
            cli.fails("call", "tool", "--url", url + "x", code=3),
            cli.fails("call", "schema", "--url", "http://127.0.0.1:9/x", code=5),
            cli.fails("call", "tool", "--url", "ftp://x", code=2),
        )
    assert "404" in refused
    assert "cannot reach" in absent
    assert "ftp://x" in wrong


SERVICE = """\
version: v1
kind: Service
name: greeter
url: URL
ports: [{num: PORT, type: meshagent.callable, endpoints: [{path: /greet, identity: tried}]}]
"""


async def test_a_service_is_tried_in_a_room_of_its_own(cli: CommandLine, server: TestServer) -> None:
    host = ServiceHost(host="127.0.0.1", port=0)
    host.add_path(path="/greet", cls=Greeter)
    async with host:
        content = SERVICE.replace("URL", f"http://127.0.0.1:{host.port}").replace("PORT", str(host.port))
        (cli.home / "service.yaml").write_text(content)
        async with cli.start("service", "test", "-f", "service.yaml") as process:
            await lines_until(process.stderr, "as tried")
            async with joined(server) as room:
                await until_exists(room, "tried.txt")
            process.send_signal(2)
            assert await process.wait() == 130
        (cli.home / "service.yaml").write_text("version: v1\nkind: Service\nname: x\nimage: y\n")
        assert "url" in await cli.fails("service", "test", "-f", "service.yaml", code=2)


class Silent:
    """Begins an answer, and keeps what it is told."""

    def __init__(self, room: RoomClient) -> None:
        self._room = room
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(self, message: Any) -> None:
        self.told.put_nowait(message.type)


async def test_ctrl_c_stops_an_answer_and_then_leaves(cli: CommandLine, server: TestServer) -> None:
    async with joined(server, "quiet") as room, cli.start("chat", "--name", "ann") as process:
        agent = Silent(room)
        room.messaging.on("message", agent.hear)
        await room.messaging.enable()
        assert await agent.told.get() == "opened"
        assert process.stdin is not None
        process.stdin.write(b"hello?\n")
        assert await agent.told.get() == "chat"
        process.send_signal(2)
        assert await agent.told.get() == "cancel"
        await lines_until(process.stderr, "stopped")
        process.send_signal(2)
        assert await process.wait() == 0


class Echo:
    """A chat agent: streams what it hears, in upper case."""

    def __init__(self, room: RoomClient) -> None:
        self._room = room
        self._documents: dict[str, Any] = {}

    async def hear(self, message: Any) -> None:
        if message.type != "chat":
            return
        path, sender = message.message["path"], message.from_participant_id
        document = self._documents.get(path) or await self._room.sync.open(path)
        self._documents[path] = document
        await self._tell(sender, path, thinking=True)
        messages: Any = document.root.get_children()[1]
        names = [file["path"] for file in message.message["attachments"]]
        answer = " ".join([message.message["text"].upper(), *names])
        element = messages.append_child("message", {"text": "", "author_name": "echo"})
        for end in range(3, len(answer) + 3, 3):
            element["text"] = answer[:end]
            await asyncio.sleep(0.01)
        await self._tell(sender, path, thinking=False)

    async def _tell(self, sender: str, path: str, *, thinking: bool) -> None:
        await self._room.messaging.send_message(
            to=sender, type="thinking", message={"path": path, "thinking": thinking}
        )


@asynccontextmanager
async def echo(server: TestServer) -> AsyncIterator[RoomClient]:
    async with joined(server, "echo") as room:
        agent = Echo(room)
        room.messaging.on("message", agent.hear)
        await room.messaging.enable()
        yield room


async def test_chatting_by_option_and_by_pipe(cli: CommandLine, server: TestServer) -> None:
    async with echo(server) as room:
        once = await cli("chat", "--name", "ann", "-m", "good morning")
        assert once.out == "echo: GOOD MORNING\n"
        (cli.home / "note.txt").write_text("noted")
        talk = await cli("chat", "--name", "ann", stdin="/file note.txt\nlook\n\nbye\n/quit\nnever said\n")
        assert talk.out == ("ann: good morning\necho: GOOD MORNING\necho: LOOK uploaded-files/note.txt\necho: BYE\n")
        assert (await room.storage.download("uploaded-files/note.txt")).data == b"noted"
        document = await room.sync.open(THREAD, create=False)
        thread = document.to_json()["thread"]["properties"]
        assert [member["member"]["name"] for member in thread[0]["members"]["items"]] == ["ann", "echo"]
        texts = [entry["message"]["text"] for entry in thread[1]["messages"]["items"]]
        assert texts == ["good morning", "GOOD MORNING", "look", "LOOK uploaded-files/note.txt", "bye", "BYE"]


async def test_control_characters_of_an_agent_are_shown_as_escapes(cli: CommandLine, server: TestServer) -> None:
    async with echo(server):
        talk = await cli("chat", "--name", "ann", "-m", "\x1b[2J\x9b\u202e")
        assert talk.out == "echo: " r"\u001b[2J\u009b\u202e" "\n"


async def test_who_to_chat_with_must_be_clear(cli: CommandLine, server: TestServer) -> None:
    assert "no agent" in await cli.fails("chat", "-m", "x", "--wait", "0.1", code=3)
    async with joined(server, "one") as one, joined(server, "two") as two:
        await one.messaging.enable()
        await two.messaging.enable()
        assert "one, two" in await cli.fails("chat", "-m", "x", code=1)
        assert "no answer within" in await cli.fails("chat", "--agent", "two", "-m", "x", "--timeout", "0.1", code=7)


PROGRAM = """\
import asyncio
from meshagent.api import ServiceHost

service = ServiceHost(host="127.0.0.1")

@service.path("/maker")
class Maker:
    async def start(self, *, room):
        async with room.storage.open("VERSION.txt", overwrite=True) as file:
            await file.write(b"made")

    async def stop(self):
        pass

if __name__ == "__main__":
    asyncio.run(service.run())
"""


@pytest.mark.slow
async def test_a_service_is_run_called_and_started_again_when_it_changes(cli: CommandLine, server: TestServer) -> None:
    program = cli.home / "program.py"
    program.write_text(PROGRAM.replace("VERSION", "first"))
    async with joined(server) as room, cli.start("service", "run", "program.py") as process:
        await until_exists(room, "first.txt")
        program.write_text("raise SystemExit(3)")
        assert process.stderr is not None
        assert "restarting" in "".join(await lines_until(process.stderr, "exit code 3"))
        # Without the usual last lines, and on a host that is only made: it is run all the same.
        program.write_text(PROGRAM.replace("VERSION", "second").partition("if __name__")[0])
        await until_exists(room, "second.txt")
        process.send_signal(2)
        assert await process.wait() == 130
    (cli.home / "broken.py").write_text("import nothing_of_this_name")
    async with cli.start("service", "run", "broken.py", "--no-reload") as process:
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err.decode().splitlines()[-1] == "error: broken.py ended with exit code 1 before it listened"
