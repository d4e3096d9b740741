"""The tutorial `first-room.md` works as it stands: its programs and commands, one after the other, on a real server."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.docs import section, text_of
from tests.support.examples import Example
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, serve

pytestmark = pytest.mark.slow

PAGE = text_of("tutorial/first-room.md")


def commands_below(heading: str) -> list[list[str]]:
    """The `meshagent` commands of a section."""
    blocks = re.findall(r"```sh\n(.*?)```", section(PAGE, heading), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.startswith("meshagent ")]


class Reader:
    """Somebody who does what the page says, in a folder of their own."""

    def __init__(self, folder: Path, url: str, hook_port: int) -> None:
        self._folder = folder
        self._hook_port = str(hook_port)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHAGENT_")}
        self._environment = kept | {
            "HOME": str(folder),
            "MESHAGENT_API_URL": url,
            "MESHAGENT_PROJECT_ID": PROJECT_ID,
            "MESHAGENT_KEY_ID": KEY_ID,
            "MESHAGENT_SECRET": SECRET,
            "MESHAGENT_ADMIN_TOKEN": "test-admin-token",
        }
        for name, text in re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL):
            (folder / name).write_text(text.replace("8090", self._hook_port))

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[Example]:
        """A program that is ended when the block is left."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments),
            env=self._environment,
            cwd=self._folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield Example(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, *arguments: str) -> str:
        async with self.running(*arguments) as program:
            return await program.rest()

    async def hook_listens(self) -> None:
        """Wait until somebody answers on the hook's port; the program itself says nothing."""
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", int(self._hook_port))
            except ConnectionRefusedError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return
        raise AssertionError("the hook does not listen")

    async def command(self, command: list[str]) -> str:
        return await self.run("-m", "meshagent.cli", *(word.replace("8090", self._hook_port) for word in command[1:]))


@pytest.fixture
async def reader(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[Reader]:
    folder = tmp_path / "home"
    folder.mkdir()
    async with serve(tmp_path / "data") as server:
        yield Reader(folder, server.url, unused_tcp_port)


async def test_two_programs_and_a_webhook(reader: Reader) -> None:
    expected = re.findall(r"```text\n(.*?)```", section(PAGE, "## 3 Write a program that works with it"), re.DOTALL)[0]
    async with reader.running("studio.py") as studio:
        await studio.says("in the room")
        assert await reader.run("visitor.py") == "Bring paint.\n"
        for line in expected.splitlines():
            assert await studio.says(line) == line
        commands = commands_below("## 3 Write a program that works with it")
        listing, shown = [await reader.command(each) for each in commands]
        assert "notes/today.txt" in listing
        assert "Paint the wall" in shown
    async with reader.running("hook.py") as hook:
        create, broadcast = commands_below("## 4 Receive a webhook")
        await reader.command(create)
        await reader.hook_listens()
        await reader.command(broadcast)
        assert await hook.says("started:") == "started: gallery"
