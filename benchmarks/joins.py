"""A storm of joins: 2,000 participants with tokens of their own, 64 at a time, into one room; then what idling costs.

python -m benchmarks.joins [--quick] [--rounds N] [-- server flags]
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.load import Connection
from benchmarks.running import run_benchmark
from benchmarks.subjects import Subject, both
from benchmarks.support import Options, Samples, measure, memory_kib, percentile

AT_A_TIME = 64
WARM_UP = 50
SETTLE_SECONDS = 1.5
IDLE_SECONDS = 1.0


async def join_all(subject: Subject, room: str, tokens: list[str]) -> tuple[list[Connection], list[float]]:
    """Join with every token; the connections, and the seconds that each join took until the room was ready."""
    connections: list[Connection] = []
    taken: list[float] = []
    waiting = iter(tokens)

    async def worker() -> None:
        for token in waiting:
            started = time.perf_counter()
            connections.append(await subject.join(room, token))
            taken.append(time.perf_counter() - started)

    async with asyncio.TaskGroup() as workers:
        for _ in range(AT_A_TIME):
            workers.create_task(worker())
    return connections, taken


async def storm(subject: Subject, room: str, count: int) -> dict[str, float]:
    """Join, idle, leave."""
    warm, _ = await join_all(subject, room, [subject.token(room, f"warm{n}") for n in range(WARM_UP)])
    tokens = [subject.token(room, f"member{n}") for n in range(count)]
    await asyncio.sleep(SETTLE_SECONDS)
    before = memory_kib(subject.pids())
    connections: list[Connection] = []
    taken: list[float] = []

    async def join() -> None:
        joined, seconds = await join_all(subject, room, tokens)
        connections.extend(joined)
        taken.extend(seconds)

    usage = await measure(subject.pid, join)
    await asyncio.sleep(SETTLE_SECONDS)
    grown = memory_kib(subject.pids()) - before
    idle = await measure(subject.pid, lambda: asyncio.sleep(IDLE_SECONDS))
    for connection in [*warm, *connections]:
        connection.close()
    await asyncio.sleep(SETTLE_SECONDS)
    left = memory_kib(subject.pids()) - before
    return {
        "joins/s": count / usage.wall,
        "server CPU µs/join": usage.server_microseconds(count),
        "p50 ms": percentile(taken, 50) * 1e3,
        "p99 ms": percentile(taken, 99) * 1e3,
        "KiB/idle connection": grown / count,
        "KiB kept after it left": left / count,
        "server cores while all idle": idle.server_cpu / idle.wall,
        "generator cores": usage.generator_cpu / usage.wall,
        "cores of other jobs": usage.other_cores,
    }


async def run(options: Options, samples: Samples) -> None:
    """Measure both subjects in turn, each round with fresh processes, for memory is only honest the first time."""
    for _ in range(options.rounds):
        async with both(options) as subjects:
            for subject in subjects:
                work = await storm(subject, "storm", options.scaled(2000, 100))
                samples.add(subject.name, "joins, 64 at a time", work)


if __name__ == "__main__":
    run_benchmark(run, __doc__)
