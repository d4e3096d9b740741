"""Starts engine processes: forks of one template process, which all servers of this process share."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO

from meshagent.api.visible_text import visible_line
from meshagent.server.engines.template import COMMAND, FORK, KILL

__all__ = ["EngineProcess", "launch"]

log = logging.getLogger(__name__)

_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_KEPT_PREFIXES = ("PYTHON", "LANCE", "RUST_", "ARROW_", "MALLOC_", "COVERAGE_")


class EngineProcess:
    """One engine process.

    Attributes:
        calls: The socket on which it takes calls.
        exited: Done when it has ended, with its exit code; minus the number of the signal that killed it.
    """

    def __init__(self, calls: socket.socket, status: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.calls = calls
        self.pid: int | None = None
        self.exited: asyncio.Future[int] = loop.create_future()
        self._started = asyncio.Event()
        self._killed = False
        self._watching = loop.create_task(self._watch(status), name="watch an engine process")

    async def started(self) -> int:
        """Its process id, once it has one.

        Raises:
            ChildProcessError: It ended before.
        """
        await self._started.wait()
        if self.pid is None:
            raise ChildProcessError("the process that starts table engines ended; the server's log says more")
        return self.pid

    def kill(self) -> None:
        """Kill it, now or as soon as it has started."""
        self._killed = True
        if self.pid is not None and not self.exited.done():
            _template.kill(self.pid)

    async def _watch(self, status: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=status)
        try:
            if line := await reader.readline():
                self.pid = int(line)
                if self._killed:
                    self.kill()
                self._started.set()
                line = await reader.readline()
            self.exited.set_result(int(line or -9))  # the template is gone, and took its processes along
        finally:
            self._started.set()
            writer.close()


class _Template:
    """The template process, started when it is first needed and again when it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self, *descriptors: int) -> None:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._control is not None
            socket.send_fds(self._control, [COMMAND.pack(FORK, 0)], descriptors)

    def kill(self, pid: int) -> None:
        with self._lock, suppress(OSError):  # if it is gone, so are its processes
            if self._control is not None:
                self._control.send(COMMAND.pack(KILL, pid))

    def stop(self) -> None:
        """End it; its processes end with it."""
        with self._lock:
            if self._process is not None and self._control is not None:
                self._control.close()
                self._process.wait()
                self._process = self._control = None

    def _start(self) -> None:
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
                [sys.executable, "-P", "-m", "meshagent.server.engines.template", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_environment(),
            )
        assert self._process.stderr is not None
        threading.Thread(target=_log_lines, args=(self._process.stderr,), name="engine log", daemon=True).start()


_template = _Template()
atexit.register(_template.stop)


def launch(lock: int) -> EngineProcess:
    """Begin to start a process. It holds a copy of the descriptor `lock` as long as it lives.

    Raises:
        OSError: The system has no process or descriptor left.
    """
    ours, theirs = socket.socketpair()
    status, status_theirs = socket.socketpair()
    with theirs, status_theirs:
        try:
            _template.fork(theirs.fileno(), status_theirs.fileno(), lock)
        except BaseException:
            ours.close()
            status.close()
            raise
    ours.setblocking(False)
    status.setblocking(False)
    return EngineProcess(ours, status)


def _environment() -> dict[str, str]:
    """What engines need of the environment: no secrets of the server."""
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES or name.startswith(_KEPT_PREFIXES)
    }
    return {**kept, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}


def _log_lines(stream: IO[bytes]) -> None:
    """Log what engines print when they crash; it may quote what strangers sent."""
    with stream:
        for line in stream:
            text = line.decode(errors="replace").rstrip()[:2_000]
            log.warning("engine: %s", visible_line(text))
