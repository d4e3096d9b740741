"""A real server, and the command line as a process beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.command_line import CommandLine, command_line
from tests.support.server import TestServer, serve
from tests.support.warm_commands import WarmCommands


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    async with serve(tmp_path / "data", idle_grace=60) as running:
        yield running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def warm() -> Iterator[WarmCommands]:
    commands = WarmCommands()
    yield commands
    commands.close()


@pytest.fixture
def cli(home: Path, server: TestServer, warm: WarmCommands) -> CommandLine:
    """A command line that is set up for the server; commands are about the room `room`."""
    return command_line(home, server, warm, MESHAGENT_ROOM="room")
