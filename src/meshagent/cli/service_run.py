"""`ServiceRun`: runs a service during development, invites it into a room and restarts it on changes."""

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
from meshagent.cli.context import RoomTarget, find_room_access
from meshagent.cli.output import CommandError, exit_code_of, note

START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 15.0
POLL_INTERVAL: Final = 0.3
MAX_WATCHED_FILES: Final = 5000
_IGNORED_FOLDERS: Final = frozenset({"node_modules", "__pycache__"})


class ServiceRun:
    """Runs a program, and restarts it when its files change.

    Args:
        target: The room to invite the program into.
        file: The program.
        participant_name: Name under which its paths join; None uses the name of each path.
        port: Port for the program's `ServiceHost`, passed as `MESHAGENT_PORT`.
        reload: Whether to restart when a Python file in the program's folder changes.
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
            CommandError: Without `reload`, the program failed or could not be invited.
        """
        room_name = (
            await find_room_access(self._target)
        ).room_name  # fail on bad credentials before starting the program
        note(f"running {self._file.name} for room {room_name}; press Ctrl+C to stop")
        while True:
            seen = self._fingerprint()
            process, hosts = await self._start()
            try:
                await self._serve(process, hosts, seen)
            finally:
                await _stop(process)
            if not self._reload:
                return
            note("a file has changed: restarting")

    async def _serve(
        self, process: asyncio.subprocess.Process, hosts: asyncio.StreamReader, seen: dict[str, int]
    ) -> None:
        """Invite the program's paths, and return when it has ended or must restart."""
        if not self._reload:
            await self._invite_all(process, hosts)
            if code := await process.wait():
                raise CommandError(f"{self._file.name} ended with exit code {code}")
            return
        inviting = asyncio.create_task(self._invite_or_print_error(process, hosts))
        try:
            await self._wait_for_change(process, seen)
        finally:
            inviting.cancel()
            await asyncio.wait([inviting])

    async def _invite_or_print_error(self, process: asyncio.subprocess.Process, hosts: asyncio.StreamReader) -> None:
        """Invite the program's paths. Errors are printed, not raised: the user can fix the program and save it."""
        try:
            await self._invite_all(process, hosts)
        except Exception as error:
            if exit_code_of(error) is None:
                raise
            note(f"error: {error}")

    async def _start(self) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
        """Start the program. Returns it with the stream on which it reports its hosts."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "meshagent.cli.service_program", str(writing), str(self._file)),
                env=self._environment(),
                pass_fds=(writing,),
                start_new_session=True,  # Ctrl+C reaches only this process, which then stops the program gracefully
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

    async def _invite_all(self, process: asyncio.subprocess.Process, hosts: asyncio.StreamReader) -> None:
        """Wait until the program listens, and invite each of its paths into the room. Returns when it has ended."""
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
                note(f"invited {path} into the room as {name}")
            line = await hosts.readline()

    async def _wait_for_change(self, process: asyncio.subprocess.Process, seen: dict[str, int]) -> None:
        """Return when a file has changed. Prints once if the program ends before."""
        is_reported = False
        while self._fingerprint() == seen:
            if process.returncode is not None and not is_reported:
                note(f"{self._file.name} ended with exit code {process.returncode}; it restarts when a file changes")
                is_reported = True
            await asyncio.sleep(POLL_INTERVAL)

    def _fingerprint(self) -> dict[str, int]:
        """Return the watched Python files with their modification times."""
        found = {}
        for path in self._watched():
            with suppress(OSError):  # deleted since it was listed
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
                and name not in _IGNORED_FOLDERS
                and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
            ]
            yield from (os.path.join(folder, name) for name in files if name.endswith(".py"))


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Terminate the program, giving it time to leave its rooms."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        note("the program does not stop: killing it")
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
