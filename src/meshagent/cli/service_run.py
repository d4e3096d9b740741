"""Running a service while it is written: start it, call it into a room, start it again when it changes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from meshagent.cli.call import post_call
from meshagent.cli.context import RoomTarget, find_entry
from meshagent.cli.output import CommandError, exit_code_of, note

START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 15.0
LOOK_EVERY: Final = 0.3
MAX_WATCHED_FILES: Final = 5000
_NOT_WATCHED: Final = frozenset({"node_modules", "__pycache__"})


class ServiceRun:
    """One program, run again and again.

    Args:
        target: The room that it is called into.
        file: The program.
        participant_name: The name under which its paths join; None takes each path's own.
        port: What the program is told to listen on.
        reload: Whether it is started again when a Python file in its folder changes.
    """

    def __init__(
        self, target: RoomTarget, file: Path, *, participant_name: str | None, port: int, reload: bool
    ) -> None:
        self._target = target
        self._file = file.resolve()
        self._participant_name = participant_name
        self._port = port
        self._reload = reload

    async def run(self) -> None:
        """Run until interrupted; without `reload`, until the program ends.

        Raises:
            CommandError: Without `reload`, the program failed, or could not be called.
        """
        room_name = (await find_entry(self._target)).room_name  # what is wrong with that, is wrong before the start
        note(f"running {self._file.name} for room {room_name}; Ctrl+C stops it")
        while True:
            seen = self._fingerprint()
            process, hosts = await self._start()
            try:
                await self._serve(process, hosts, seen)
            finally:
                await _stop(process)
            if not self._reload:
                return
            note("a file has changed: starting again")

    async def _serve(
        self, process: asyncio.subprocess.Process, hosts: asyncio.StreamReader, seen: dict[str, int]
    ) -> None:
        """Call the program's paths, and return when it has ended or is to be started again."""
        if not self._reload:
            await self._call_all(process, hosts)
            if code := await process.wait():
                raise CommandError(f"{self._file.name} ended with exit code {code}")
            return
        calling = asyncio.create_task(self._call_or_tell(process, hosts))
        try:
            await self._change(process, seen)
        finally:
            calling.cancel()
            await asyncio.wait([calling])

    async def _call_or_tell(self, process: asyncio.subprocess.Process, hosts: asyncio.StreamReader) -> None:
        """Call the program's paths; a failure is for the person to see and to correct."""
        try:
            await self._call_all(process, hosts)
        except Exception as error:
            if exit_code_of(error) is None:
                raise
            note(f"error: {error}")

    async def _start(self) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        """The running program, and the stream on which it tells of its hosts."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "meshagent.cli.service_program", str(writing), str(self._file)),
                env=self._environment(),
                pass_fds=(writing,),
                start_new_session=True,  # Ctrl+C is for this process, which then stops the program gracefully
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        hosts = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(hosts), os.fdopen(reading, "rb"))
        return process, hosts

    def _environment(self) -> dict[str, str]:
        from meshagent.api.helpers import meshagent_base_url

        room = {"MESHAGENT_ROOM": self._target.room} if self._target.room else {}
        return {
            **os.environ,
            **room,
            "MESHAGENT_API_URL": meshagent_base_url(self._target.api_url),
            "MESHAGENT_PORT": str(self._port),
            "PYTHONUNBUFFERED": "1",
        }

    async def _call_all(self, process: asyncio.subprocess.Process, hosts: asyncio.StreamReader) -> None:
        """Wait until the program listens, and call each of its paths into the room; returns when it has ended."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                line = await hosts.readline()
        except TimeoutError:
            raise CommandError(f"{self._file.name} started no ServiceHost within {START_TIMEOUT:g} seconds") from None
        if not line:
            code = await process.wait()
            raise CommandError(f"{self._file.name} ended with exit code {code} before it listened")
        while line:
            host: dict[str, Any] = json.loads(line)
            for path in host["paths"]:
                name = self._participant_name or path.strip("/").replace("/", "-") or self._file.stem
                await post_call(self._target, url=f"http://127.0.0.1:{host['port']}{path}", name=name)
                note(f"{path} was called into the room as {name}")
            line = await hosts.readline()

    async def _change(self, process: asyncio.subprocess.Process, seen: dict[str, int]) -> None:
        """Return when a file has changed; a program that ended is told of and waited for."""
        told = False
        while self._fingerprint() == seen:
            if process.returncode is not None and not told:
                note(
                    f"{self._file.name} ended with exit code {process.returncode}; it starts again when a file changes"
                )
                told = True
            await asyncio.sleep(LOOK_EVERY)

    def _fingerprint(self) -> dict[str, int]:
        """The Python files beside the program, and when each was changed last."""
        found = {}
        for path in self._watched():
            with suppress(OSError):  # gone meanwhile
                found[path] = os.stat(path).st_mtime_ns
            if len(found) >= MAX_WATCHED_FILES:
                break
        return found

    def _watched(self) -> Iterator[str]:
        yield str(self._file)
        for folder, folders, files in os.walk(self._file.parent):
            folders[:] = [
                name
                for name in folders
                if not name.startswith(".")
                and name not in _NOT_WATCHED
                and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
            ]
            yield from (os.path.join(folder, name) for name in files if name.endswith(".py"))


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the program: it gets a while to leave its rooms."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        note("the program does not stop: ending it")
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
