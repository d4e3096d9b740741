"""Runs a benchmark from the command line and prints its table."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import uvloop

from benchmarks.support import Options, Samples, parse_options

Benchmark = Callable[[Options, Samples], Awaitable[None]]

TIME_LIMIT = 180.0
"""Seconds after which a benchmark is given up; an ordinary run takes a third of this."""


async def _run_all(benchmarks: Mapping[str, Benchmark], options: Options, samples: Samples) -> None:
    for name, benchmark in benchmarks.items():
        print(f"{name} ...", flush=True)
        async with asyncio.timeout(TIME_LIMIT):
            await benchmark(options, samples)


def run_benchmarks(benchmarks: Mapping[str, Benchmark], description: str | None) -> None:
    """Run them one after the other and print one table."""
    options = parse_options(description)
    samples = Samples()
    uvloop.run(_run_all(benchmarks, options, samples))
    print(samples.table())


def run_benchmark(benchmark: Benchmark, description: str | None) -> None:
    """Run one of them."""
    run_benchmarks({(description or "").partition("\n")[0]: benchmark}, description)
