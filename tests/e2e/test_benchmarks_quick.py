"""Each benchmark runs to its end in quick mode and measures what it compares; what it measures is not judged."""

from __future__ import annotations

from math import isfinite

import pytest

from benchmarks import database, dialects, documents, fairness, fanout, files, joins, queues, tools
from benchmarks.running import Benchmark
from benchmarks.support import SERVER, YARDSTICK, Options, Samples

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ALL = [fanout.run, documents.run, tools.run, dialects.run, queues.run, database.run, joins.run, files.run, fairness.run]


@pytest.mark.parametrize("benchmark", ALL, ids=lambda run: run.__module__)
async def test_runs_to_the_end(benchmark: Benchmark) -> None:
    samples = Samples()
    await benchmark(Options(quick=True, rounds=1), samples)
    measured = {subject for figures in samples.values.values() for subject in figures}
    assert measured == ({SERVER} if benchmark is fairness.run else {SERVER, YARDSTICK})
    # Differences of memory can come out below zero in a run this short.
    assert all(
        isfinite(value) for figures in samples.values.values() for values in figures.values() for value in values
    )
