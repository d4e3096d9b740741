"""What every benchmark needs: servers as child processes, their CPU time and memory, samples and the table.

CPU time comes from the scheduler (`/proc/PID/task/*/schedstat`, all threads, children included) and memory is the
proportional set size, so Linux only. CPU per unit of work is the figure to compare: unlike wall-clock figures it
hardly depends on what else the machine is doing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

STOP_TIMEOUT = 10.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Options:
    """How much work to do: `quick` is a smoke test of a few seconds whose figures mean nothing."""

    quick: bool = False
    rounds: int = 3
    server_flags: tuple[str, ...] = ()

    def scaled(self, full: int, quick: int) -> int:
        """`full`, or `quick` in a smoke test."""
        return quick if self.quick else full


def parse_options(description: str | None) -> Options:
    """Options from the command line; everything after `--` goes to the server under test."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a few seconds of work, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=3, help="server and yardstick take turns this often")
    parser.add_argument("server_flags", nargs="*", help="flags for `meshagent serve`, after --")
    given = parser.parse_args()
    return Options(given.quick, 1 if given.quick else given.rounds, tuple(given.server_flags))


# --- processes ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def child(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child process with its output on one pipe; ended, by force if it must be, when the block is left."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()


async def read_until(process: asyncio.subprocess.Process, found: Callable[[str], bool], seconds: float = 30.0) -> None:
    """Read the child's output until `found` accepts a line.

    Raises:
        RuntimeError: The child ended, or said nothing acceptable in time; the message holds what it printed.
    """
    assert process.stdout is not None
    seen: list[str] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while line := (await process.stdout.readline()).decode(errors="replace"):
                seen.append(line)
                if found(line):
                    return
    raise RuntimeError("the server did not start:\n" + "".join(seen))


@asynccontextmanager
async def drained(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Keeps reading the child's output, so that a full pipe never stops it."""
    assert process.stdout is not None
    stream = process.stdout

    async def drain() -> None:
        while await stream.read(65536):
            pass

    task = asyncio.create_task(drain())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def raise_descriptor_limit() -> None:
    """Allow this process, and the servers it starts, as many open sockets as the system permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- accounting ---------------------------------------------------------------------------------------------------


def process_tree(root: int) -> list[int]:
    """`root` and its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += children.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes' threads have used so far."""
    nanoseconds = 0
    for pid in pids:
        with suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                with suppress(OSError):
                    nanoseconds += int((task / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def memory_kib(pids: Iterable[int]) -> int:
    """Proportional set size of these processes in KiB; kernel socket buffers are not in it."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def machine_cpu_seconds() -> float:
    """CPU time that the whole machine has used so far."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / CLOCK_TICKS


@dataclass(frozen=True, slots=True)
class Usage:
    """What a measured piece of work took, in seconds; `other_cores` is what other jobs used meanwhile."""

    wall: float
    server_cpu: float
    generator_cpu: float
    other_cores: float

    def server_microseconds(self, units: int) -> float:
        """Server CPU per unit of work, in µs."""
        return self.server_cpu / units * 1e6


async def measure(pid: int, work: Callable[[], Awaitable[None]]) -> Usage:
    """Run `work` and say what it cost the process tree of `pid`, this process and the clock."""
    pids = process_tree(pid)
    started = time.perf_counter()
    server, own, machine = cpu_seconds(pids), cpu_seconds([os.getpid()]), machine_cpu_seconds()
    await work()
    wall = time.perf_counter() - started
    server = cpu_seconds(pids) - server
    own = cpu_seconds([os.getpid()]) - own
    others = max(0.0, machine_cpu_seconds() - machine - server - own)
    return Usage(wall, server, own, others / wall)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of 100 of `values` lie; not a number where there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))]


# --- results ------------------------------------------------------------------------------------------------------

SERVER = "server"
YARDSTICK = "yardstick"


@dataclass(slots=True)
class Samples:
    """Figures by work, measure and subject, one value for each round."""

    values: dict[tuple[str, str], dict[str, list[float]]] = field(default_factory=dict)

    def add(self, subject: str, work: str, figures: Mapping[str, float]) -> None:
        """Note one round's figures; a key is a measure with its unit."""
        for name, value in figures.items():
            self.values.setdefault((work, name), {}).setdefault(subject, []).append(value)

    def table(self) -> str:
        """Medians of server and yardstick side by side, and the server's share of the yardstick's figure."""
        rows = [("work", "measure", SERVER, YARDSTICK, "ratio", "spread")]
        for (work, name), by_subject in self.values.items():
            server, yardstick = (by_subject.get(subject, []) for subject in (SERVER, YARDSTICK))
            both = bool(server and yardstick and statistics.median(yardstick))
            ratio = f"{statistics.median(server) / statistics.median(yardstick):.2f}" if both else "-"
            rows.append((work, name, _median(server), _median(yardstick), ratio, _spread(server)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if n < 2 else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _median(values: Sequence[float]) -> str:
    return _number(statistics.median(values)) if values else "-"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} .. {_number(max(values))}" if len(values) > 1 else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
