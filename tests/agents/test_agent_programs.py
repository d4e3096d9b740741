"""Programs from the documentation, run as they are written, against a real server."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.chatting import Person, person, texts
from tests.support.command_line import CommandLine, command_line, lines_until
from tests.support.server import TestServer, serve

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs"
PATH = "program.thread"

README_PROGRAM = """\
import asyncio
import os
from meshagent.agents.chat import ChatBot
from meshagent.api.services import ServiceHost

service = ServiceHost(
    port=int(os.getenv("MESHAGENT_PORT","7777"))
)

@service.path("/chat")
class SimpleChatbot(ChatBot):
    ...
print(f"running on port {service.port}")
asyncio.run(service.run())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serve(tmp_path / "data") as running:
        yield running


@pytest.fixture
def cli(tmp_path: Path, server: TestServer) -> CommandLine:
    home = tmp_path / "home"
    home.mkdir()
    return command_line(home, server, MESHAGENT_ROOM="room")


@asynccontextmanager
async def service_run(cli: CommandLine, program: str) -> AsyncIterator[None]:
    """The program of a service, called into the room; at the end it gets Ctrl+C."""
    async with cli.start("service", "run", program, "--no-reload") as process:
        await lines_until(process.stderr, f"running {program}")
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            out, err = await process.communicate()
            assert "Traceback" not in err.decode(), err.decode() + out.decode()


async def said(somebody: Person, text: str) -> str:
    """What the only agent in the room answers."""
    agents = somebody.room.messaging.remote_participants
    await somebody.until(lambda: bool(somebody.room.messaging.remote_participants))
    [agent] = agents or somebody.room.messaging.remote_participants
    name = str(agent.get_attribute("name"))
    thread = await somebody.open(PATH, name)
    await somebody.say(thread, PATH, text)
    await somebody.finished(PATH)
    return texts(thread, name)[-1]


async def test_the_service_host_of_the_product_readme_hosts_a_chat_bot(cli: CommandLine, server: TestServer) -> None:
    (cli.home / "main.py").write_text(README_PROGRAM)
    async with person(server, "bob") as bob, service_run(cli, "main.py"):
        assert await said(bob, "hello") == "You said: hello"


async def test_the_bot_of_the_tutorial_counts_files(cli: CommandLine, server: TestServer) -> None:
    tutorial = (DOCS / "tutorial" / "first-chat-bot.md").read_text()
    [program] = re.findall(r"```python\n(.*?)```", tutorial, re.DOTALL)
    (cli.home / "bot.py").write_text(program.replace("port=7777", "port=0"))
    async with person(server, "bob") as bob, service_run(cli, "bot.py"):
        async with bob.room.storage.open(path="folder/one.txt") as file:
            await file.write("1")
        assert await said(bob, 'call count_files {"folder": "folder"}') == 'The tool answered: {"result":1}'
