"""The command line as a process of its own, the way people and scripts run it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshagent.api.profile import Profile, save_profile
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer
from tests.support.warm_commands import WarmCommands

START_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as one JSON value."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        """Its output as lines of cells, the header left out."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]


class CommandLine:
    """Runs `meshagent …` with a home of its own, and nothing of this process's settings.

    Commands that end by themselves are forked from `warm`, if that is given; `start` starts a cold process.
    """

    def __init__(self, home: Path, warm: WarmCommands | None = None, **variables: str) -> None:
        self.home = home
        self._warm = warm
        self.profile = home / ".meshagent" / "profile.json"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHAGENT_")}
        self._environment = {**kept, "HOME": str(home), "MESHAGENT_PROFILE": str(self.profile), **variables}

    async def __call__(
        self, *arguments: str, code: int = 0, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> Ended:
        """Run a command to its end; `code` is the exit code that it must have."""
        if self._warm is not None:
            environment = {**self._environment, **(env or {})}
            ended = Ended(*await self._warm.run(arguments, stdin=stdin, environment=environment, cwd=self.home))
        else:
            async with self.start(*arguments, env=env) as process:
                out, err = await process.communicate(stdin.encode())
            ended = Ended(process.returncode or 0, out.decode(), err.decode())
        assert ended.code == code, f"{arguments}: exit code {ended.code}, {ended.err}{ended.out}"
        assert "Traceback" not in ended.err, ended.err
        return ended

    async def fails(self, *arguments: str, code: int, env: Mapping[str, str] | None = None, stdin: str = "") -> str:
        """Run a command that must fail with `code` and print nothing; returns what it says."""
        ended = await self(*arguments, code=code, env=env, stdin=stdin)
        assert ended.out == ""
        return ended.err

    @asynccontextmanager
    async def start(
        self, *arguments: str, env: Mapping[str, str] | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command that runs; it is ended with the block."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "meshagent.cli", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environment, **(env or {})},
            cwd=self.home,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # closes the pipes of a killed process at once


def command_line(home: Path, server: TestServer, warm: WarmCommands | None = None, **variables: str) -> CommandLine:
    """A command line whose profile leads to `server`, as its administrator."""
    line = CommandLine(home, warm, **variables)
    save_profile(
        Profile(
            api_url=server.url, project_id=PROJECT_ID, key_id=KEY_ID, secret=SECRET, admin_token="test-admin-token"
        ),
        line.profile,
    )
    return line


async def lines_until(stream: asyncio.StreamReader | None, wanted: str) -> list[str]:
    """The lines of a running command up to the one that contains `wanted`."""
    assert stream is not None
    lines: list[str] = []
    async with asyncio.timeout(START_TIMEOUT):
        while not lines or wanted not in lines[-1]:
            line = await stream.readline()
            assert line, f"it ended without {wanted!r}: {lines}"
            lines.append(line.decode().rstrip("\n"))
    return lines
