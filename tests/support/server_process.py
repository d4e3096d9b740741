"""The real server as a process of its own, which tests may kill."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from meshagent.api.tokens.token import ParticipantToken
from tests.support.server import KEY_ID, PROJECT_ID, SECRET


class ServerProcess:
    """`meshagent serve` with one data folder, on one port, started and killed as often as a test wants."""

    def __init__(self, data_dir: Path, port: int, **settings: str) -> None:
        self._data_dir = data_dir
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def token(self, name: str, room: str = "room") -> str:
        token = ParticipantToken(name=name, project_id=PROJECT_ID, api_key_id=KEY_ID)
        token.add_room_grant(room_name=room)
        return token.to_jwt(secret=SECRET)

    async def start(self) -> None:
        """Start it, and return when it answers."""
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self._data_dir),
            "MESHAGENT_PROJECT_ID": PROJECT_ID,
            "MESHAGENT_KEY_ID": KEY_ID,
            "MESHAGENT_SECRET": SECRET,
            **self._settings,
        }
        command = ["-m", "meshagent.cli", "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            "--data",
            str(self._data_dir / "data"),
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                assert self._process.returncode is None, "the server ended while it started"
                try:
                    async with session.get(self.url + "/healthz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """kill -9, and wait for the end."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> int:
        """SIGTERM, and wait for the end; the exit code."""
        assert self._process is not None
        self._process.terminate()
        return await self._process.wait()


@asynccontextmanager
async def server_process(data_dir: Path, port: int, **settings: str) -> AsyncIterator[ServerProcess]:
    """A started server process that does not outlive the block; `settings` are environment variables."""
    process = ServerProcess(data_dir, port, **settings)
    try:
        await process.start()
        yield process
    finally:
        await process.kill()
