"""The programs in `examples/`, run as their readers run them: a process each, told of the server by its environment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer

FOLDER = Path(__file__).resolve().parents[2] / "examples"
PATIENCE = 30.0


class Example:
    """A running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, text: str) -> str:
        """The next line that contains `text`; the lines before it are skipped."""
        assert self._process.stdout is not None
        seen = ""
        async with asyncio.timeout(PATIENCE):
            while line := (await self._process.stdout.readline()).decode():
                if text in line:
                    return line.rstrip("\n")
                seen += line
        raise AssertionError(f"the program ended without saying {text!r}: {seen}")

    async def rest(self) -> str:
        """What it says until it ends by itself; it must not fail."""
        async with asyncio.timeout(PATIENCE):
            output, _ = await self._process.communicate()
        assert self._process.returncode == 0, output.decode()
        return output.decode()

    async def stop(self) -> None:
        """Ctrl+C; it must end well."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        rest = await self.rest()
        assert "Traceback" not in rest, rest


class Examples:
    """Starts programs that know `server`, with more environment variables where given."""

    def __init__(self, server: TestServer, **variables: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESHAGENT_")}
        self._environment = {
            **kept,
            "MESHAGENT_API_URL": server.url,
            "MESHAGENT_PROJECT_ID": PROJECT_ID,
            "MESHAGENT_KEY_ID": KEY_ID,
            "MESHAGENT_SECRET": SECRET,
            **variables,
        }

    @asynccontextmanager
    async def running(self, name: str, *arguments: str) -> AsyncIterator[Example]:
        """A program that runs until the block is left; then it gets Ctrl+C, and must end well."""
        process = await self._start(name, *arguments)
        try:
            example = Example(process)
            yield example
            await example.stop()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, name: str, *arguments: str) -> str:
        """What a program prints that ends by itself."""
        async with self.running(name, *arguments) as example:
            return await example.rest()

    async def _start(self, name: str, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, str(FOLDER / f"{name}.py"), *arguments),
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
