"""The process that has the engines loaded, and is forked for each engine process.

    python -P -m meshagent.server.engines.template DESCRIPTOR

Importing the engines takes seconds; a fork takes 50 ms and shares most of the memory. Nothing but imports has been
done with the engines when it forks: no runtime of theirs runs, no lock of theirs is held. It ends when the server
does, whatever ends it, and takes its processes along.
"""

from __future__ import annotations

import ctypes
import gc
import os
import selectors
import signal
import socket
import struct
import sys
import warnings
from contextlib import suppress

__all__ = ["COMMAND", "FORK", "KILL"]

COMMAND = struct.Struct("!cI")
FORK = b"F"
"""Fork; comes with the descriptors of the call socket, the status socket and the tables' lock."""

KILL = b"K"
"""Kill the process of that id, if it is one of ours and was not reaped."""

_PR_SET_PDEATHSIG = 1
_NICENESS = 5
"""Queries use what the event loop of the server leaves of the processors."""


class Template:
    """Forks, kills and reaps engine processes as the server says.

    Each has a status socket, on which the server reads its process id in one line, and its exit code in another.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._processes: dict[int, socket.socket] = {}
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)

    def run(self) -> None:
        """Take commands until the server is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # what counts is that it wakes the selector
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._control, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._wake_read in ready:
                    self._reap()
                if self._control in ready and not self._obey():
                    break
        for pid in self._processes:
            os.kill(pid, signal.SIGKILL)

    def _obey(self) -> bool:
        """Carry out one command; whether the server is still there."""
        try:
            command, descriptors, _, _ = socket.recv_fds(self._control, COMMAND.size, 3)
        except ConnectionError:
            return False
        if len(command) < COMMAND.size:
            return False
        kind, pid = COMMAND.unpack(command)
        if kind == FORK:
            self._fork(*descriptors)
        elif pid in self._processes:
            os.kill(pid, signal.SIGKILL)
        return True

    def _fork(self, calls: int, status: int, lock: int) -> None:
        own_pid = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forking with threads: see above
            pid = os.fork()
        if not pid:
            self._become_engine(own_pid, calls, status)
        os.close(calls)
        os.close(lock)
        self._processes[pid] = socket.socket(fileno=status)
        self._tell(pid, f"{pid}\n")

    def _become_engine(self, parent: int, calls: int, status: int) -> None:
        """In the new process: let go of what is the template's, and serve until the end. `lock` stays open for good."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.close(status)
            for other in (self._control, self._wake_read, self._wake_write, *self._processes.values()):
                other.close()
            die_with_parent(parent)
            from meshagent.server.engines.serving import serve

            serve(socket.socket(fileno=calls))
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of this process may go on to be a second template
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _reap(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_read.recv(4096):
                pass
        for pid in list(self._processes):
            reaped, status = os.waitpid(pid, os.WNOHANG)
            if reaped:
                self._tell(pid, f"{os.waitstatus_to_exitcode(status)}\n")
                self._processes.pop(pid).close()

    def _tell(self, pid: int, line: str) -> None:
        with suppress(OSError):  # nobody listens any more
            self._processes[pid].sendall(line.encode())


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; elsewhere than on Linux the closed socket has to do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these tell the server, which ends us
    os.nice(_NICENESS)
    os.environ.setdefault("LANCEDB_LOG", "error")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import meshagent.server.engines.serving  # noqa: F401 - for the engines that it loads

    gc.collect()
    gc.freeze()
    Template(socket.socket(fileno=int(sys.argv[1]))).run()
    os._exit(0)  # without the engines' complaints about what an interpreter leaves behind


if __name__ == "__main__":
    main()
