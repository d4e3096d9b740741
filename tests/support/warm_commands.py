"""Commands as processes that need not import anything first: each is forked from one that has imported it all.

Starting Python and importing the SDK takes half a second, and the tests run hundreds of commands. What a cold start
costs, and imports, is tested by itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class WarmCommands:
    """Runs commands; `close` it at the end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-commands-")
        self._count = 0
        self._source = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm_commands"], stdin=subprocess.PIPE, cwd=ROOT, text=True
        )

    async def run(
        self, arguments: Sequence[str], *, stdin: str, environment: Mapping[str, str], cwd: Path
    ) -> tuple[int, str, str]:
        """Exit code, output and errors of a command."""
        place = self._new_place(stdin)
        request = {"arguments": list(arguments), "environment": dict(environment), "cwd": str(cwd), "place": str(place)}
        assert self._source.stdin is not None
        self._source.stdin.write(json.dumps(request) + "\n")
        self._source.stdin.flush()
        while not (place / "code").exists():
            assert self._source.poll() is None, "the process that commands are forked from has ended"
            await asyncio.sleep(0.005)
        return int((place / "code").read_text()), (place / "out").read_text(), (place / "err").read_text()

    def _new_place(self, stdin: str) -> Path:
        """A folder for a command's input, output and exit code."""
        self._count += 1
        place = Path(self._folder.name, str(self._count))
        place.mkdir()
        (place / "in").write_text(stdin)
        return place

    def close(self) -> None:
        """End the source; it ends by itself when this process does."""
        assert self._source.stdin is not None
        self._source.stdin.close()
        self._source.wait()
        self._folder.cleanup()


def main() -> None:
    """The source: reads requests, and forks a process for each."""
    import meshagent.api.accounts_client
    import meshagent.api.helpers
    import meshagent.api.room.client
    import meshagent.api.transport.websocket
    import meshagent.cli.app  # noqa: F401 - all of these for the processes that are forked

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for the commands
    for line in sys.stdin:
        if os.fork() == 0:
            _supervise(json.loads(line))


def _supervise(request: dict[str, Any]) -> None:
    """Run a command in a process of its own, and write down its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        os._exit(_run(request))
    _, status = os.waitpid(process, 0)
    place = Path(request["place"])
    (place / "code.part").write_text(str(os.waitstatus_to_exitcode(status)))
    (place / "code.part").rename(place / "code")
    os._exit(0)


def _run(request: dict[str, Any]) -> int:
    """The command itself, with everything that a fresh process would have."""
    from meshagent.cli import main as run_command_line

    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    for number, (name, flags) in enumerate({"in": os.O_RDONLY, "out": _NEW, "err": _NEW}.items()):
        os.dup2(os.open(Path(request["place"], name), flags, 0o600), number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.argv = ["meshagent", *request["arguments"]]
    try:
        run_command_line()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - shown, as a process shows it at its end
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


if __name__ == "__main__":
    main()
