"""The yardstick of tables: LanceDB as its documentation shows it, one call after the other, and no server.

python -m benchmarks.yardstick_tables [--quick]     prints the figures as JSON; `database.py` runs it
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import lancedb

from benchmarks.database import Row, Table, rows, work_through
from benchmarks.requests import plural
from benchmarks.support import cpu_seconds, parse_options, percentile

T = TypeVar("T")


class EngineTable(Table):
    """A table in a folder."""

    def __init__(self, table: lancedb.AsyncTable) -> None:
        self._table = table

    async def insert_each(self, data: Sequence[Row]) -> dict[str, float]:
        return await timed(self._add, [[row] for row in data], "insert")

    async def insert_batches(self, data: Sequence[Sequence[Row]]) -> dict[str, float]:
        return await timed(self._add, data, "batch")

    async def filter(self, ids: Sequence[int]) -> dict[str, float]:
        return await timed(self._find, ids, "search")

    async def nearest(self, vectors: Sequence[Sequence[float]]) -> dict[str, float]:
        return await timed(self._find_near, vectors, "search")

    async def _add(self, batch: Sequence[Row]) -> None:
        await self._table.add(list(batch))

    async def _find(self, number: int) -> None:
        await self._table.query().where(f"id = {number}").select(["text"]).limit(1).to_list()

    async def _find_near(self, vector: Sequence[float]) -> None:
        await self._table.query().nearest_to(list(vector)).select(["text", "_distance"]).limit(10).to_list()


async def timed(call: Callable[[T], Awaitable[None]], arguments: Iterable[T], what: str) -> dict[str, float]:
    """Figures of one call for each argument."""
    seconds = []
    started, cpu = time.perf_counter(), cpu_seconds([os.getpid()])
    for argument in arguments:
        before = time.perf_counter()
        await call(argument)
        seconds.append(time.perf_counter() - before)
    wall, cpu = time.perf_counter() - started, cpu_seconds([os.getpid()]) - cpu
    return {
        f"{plural(what)}/s": len(seconds) / wall,
        f"server CPU µs/{what}": cpu / len(seconds) * 1e6,
        "p50 ms": percentile(seconds, 50) * 1e3,
        "p99 ms": percentile(seconds, 99) * 1e3,
    }


async def main() -> None:
    """Work through it all, and print the figures."""
    options = parse_options(__doc__)
    with tempfile.TemporaryDirectory(prefix="bench-tables-") as folder:
        connection = await lancedb.connect_async(folder)
        table = await connection.create_table("rows", rows(1, -1))
        print(json.dumps(await work_through(EngineTable(table), options)))


if __name__ == "__main__":
    asyncio.run(main())
