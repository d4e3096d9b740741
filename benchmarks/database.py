"""Tables: rows in, one at a time and by the thousand, and searches by filter and by nearness.

    python -m benchmarks.database [--quick] [--rounds N] [-- server flags]

The yardstick is the engine by hand, without a server (`yardstick_tables.py`): no JSON, no room, nothing synced to the
disk, one call after the other. The ratio is what a table costs that is shared and survives a power cut.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from typing import Any, Protocol

from benchmarks.requests import Requester, RoomAnswers, figures, room_request
from benchmarks.running import run_benchmark
from benchmarks.subjects import RoomServer, Session, start_server
from benchmarks.support import SERVER, YARDSTICK, Options, Samples, child, measure

DIMENSIONS = 64
BATCH = 1000
WINDOW = 32
SCHEMA = {
    "id": {"type": "int"},
    "text": {"type": "text"},
    "vector": {"type": "vector", "size": DIMENSIONS, "element_type": {"type": "float"}},
}

Row = dict[str, Any]


def rows(count: int, first: int = 0) -> list[Row]:
    """`count` rows with random vectors, the same ones every time."""
    numbers = random.Random(first)
    return [
        {"id": first + n, "text": f"row {first + n}", "vector": [numbers.random() for _ in range(DIMENSIONS)]}
        for n in range(count)
    ]


class Table(Protocol):
    """A table of one of the subjects."""

    async def insert_each(self, data: Sequence[Row]) -> dict[str, float]:
        """Insert rows one by one; figures for each."""
        ...

    async def insert_batches(self, data: Sequence[Sequence[Row]]) -> dict[str, float]:
        """Insert rows by the batch, one batch at a time; figures for each batch."""
        ...

    async def filter(self, ids: Sequence[int]) -> dict[str, float]:
        """Find one row by each of the ids; figures for each search."""
        ...

    async def nearest(self, vectors: Sequence[Sequence[float]]) -> dict[str, float]:
        """Find the ten rows nearest to each of the vectors; figures for each search."""
        ...


class RoomTable(Table):
    """`database.*` requests on one connection."""

    def __init__(self, server: RoomServer, session: Session) -> None:
        self._server = server
        self._session = session

    async def insert_each(self, data: Sequence[Row]) -> dict[str, float]:
        headers = [{"table": "rows", "records": [row]} for row in data]
        return await self._run("database.insert", headers, WINDOW, "insert")

    async def insert_batches(self, data: Sequence[Sequence[Row]]) -> dict[str, float]:
        return await self._run("database.insert", [{"table": "rows", "records": batch} for batch in data], 1, "batch")

    async def filter(self, ids: Sequence[int]) -> dict[str, float]:
        headers = [{"table": "rows", "where": f"id = {number}", "select": ["text"], "limit": 1} for number in ids]
        return await self._run("database.search", headers, 1, "search")

    async def nearest(self, vectors: Sequence[Sequence[float]]) -> dict[str, float]:
        headers = [{"table": "rows", "vector": vector, "select": ["text"], "limit": 10} for vector in vectors]
        return await self._run("database.search", headers, 1, "search")

    async def _run(self, operation: str, headers: Sequence[object], window: int, what: str) -> dict[str, float]:
        connection = await self._server.join("tables", self._server.token("tables", "writer"))
        requests = [room_request(number, operation, header) for number, header in enumerate(headers)]
        requester = Requester(connection, RoomAnswers(), requests)
        usage = await measure(self._server.pid, lambda: requester.run(len(requests), window))
        connection.close()
        return figures(usage, len(requests), requester.seconds, what)


async def work_through(table: Table, options: Options) -> dict[str, dict[str, float]]:
    """The figures of each piece of work on a fresh table."""
    single, batches, searches = options.scaled(1000, 40), options.scaled(10, 1), options.scaled(200, 10)
    ids = [number * BATCH * batches // searches for number in range(searches)]
    return {
        "table, insert 1,000 rows": await table.insert_batches(
            [rows(BATCH, BATCH * number) for number in range(batches)]
        ),
        "table, find by id in 10,000": await table.filter(ids),
        "table, 10 nearest of 10,000": await table.nearest([row["vector"] for row in rows(searches, -2)]),
        "table, insert 1 row": await table.insert_each(rows(single, BATCH * batches)),
    }


async def of_the_server(options: Options) -> dict[str, dict[str, float]]:
    """On a table of a server of its own."""
    async with start_server(options.server_flags) as server:
        session = Session(await server.join("tables", server.token("tables", "owner")))
        await session.request("database.create_table", {"name": "rows", "schema": SCHEMA, "data": rows(1, -1)})
        work = await work_through(RoomTable(server, session), options)
        session.connection.close()
    return work


async def of_the_engine(options: Options) -> dict[str, dict[str, float]]:
    """On a table without a server, in a process of its own."""
    flags = ["--quick"] if options.quick else []
    command = [sys.executable, "-m", "benchmarks.yardstick_tables", *flags]
    async with child(command, {"LANCEDB_LOG": "error"}) as process:
        printed, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(printed.decode())
    work: dict[str, dict[str, float]] = json.loads(printed.splitlines()[-1])
    return work


async def run(options: Options, samples: Samples) -> None:
    """Measure both subjects in turn, each round with fresh tables."""
    for _ in range(options.rounds):
        for subject, measured in ((SERVER, of_the_server), (YARDSTICK, of_the_engine)):
            for work, values in (await measured(options)).items():
                samples.add(subject, work, values)


if __name__ == "__main__":
    run_benchmark(run, __doc__)
