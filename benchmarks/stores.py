"""The durable stores without a server around them: writes a second and latency, next to the disk's own fsync.

python -m benchmarks.stores [FOLDER]    (FOLDER decides which disk; default: the system's temporary folder)
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from meshagent.server.stores.sqlite_queues import SqliteQueueStore
from meshagent.server.stores.sqlite_schema import ROOM_MIGRATIONS

DOCUMENTS = 64
UPDATE = b"u" * 60
MESSAGE = b"m" * 110
FILE = b"f" * 10_000


async def report(name: str, writes: int, in_flight: int, write: Callable[[int], Awaitable[object]]) -> None:
    """Print how `writes` calls fare with `in_flight` of them waiting at any time."""
    latencies: list[float] = []

    async def writer(number: int) -> None:
        for _ in range(writes // in_flight):
            start = time.perf_counter()
            await write(number)
            latencies.append(time.perf_counter() - start)

    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(writer(number) for number in range(in_flight)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    latencies.sort()
    p50, p99 = (1000 * latencies[len(latencies) * percent // 100] for percent in (50, 99))
    print(
        f"{name:<24} {in_flight:>3} in flight {len(latencies) / seconds:>9,.0f}/s"
        f"   p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   CPU {1e6 * cpu / len(latencies):6.1f} µs"
    )


def fsync_milliseconds(folder: Path) -> float:
    """Median time to write and sync 4 KB at the end of a file."""
    times = []
    with (folder / "probe").open("wb", buffering=0) as probe:
        for _ in range(100):
            start = time.perf_counter()
            probe.write(bytes(4096))
            os.fsync(probe.fileno())
            times.append(time.perf_counter() - start)
    return sorted(times)[50] * 1000


async def measure_database(folder: Path) -> None:
    log = CommitLog(folder / "rooms.db", ROOM_MIGRATIONS)
    await log.open()
    documents, queues = SqliteDocumentLog(log), await SqliteQueueStore.open_store(log)
    lives = [
        (await documents.create("room", f"{number}", schema_name="s", schema_json="{}")).incarnation
        for number in range(DOCUMENTS)
    ]
    jobs = await queues.open("room", "jobs")
    assert jobs is not None
    queue_id, sent = jobs.queue_id, []

    async def enqueue(_: int) -> None:
        sent.append(await queues.append(queue_id, MESSAGE, limit=10**9))

    async def remove(_: int) -> None:
        await queues.remove(queue_id, [sent.pop()])

    await report("append, a document each", 1_000, 1, lambda number: documents.append(lives[number], UPDATE))
    await report("append, a document each", 32_000, 64, lambda number: documents.append(lives[number], UPDATE))
    await report("append, one document", 32_000, 64, lambda _: documents.append(lives[0], UPDATE))
    await report("enqueue", 1_000, 1, enqueue)
    await report("enqueue", 32_000, 64, enqueue)
    await report("remove", 1_000, 1, remove)
    await report("remove", 32_000, 64, remove)
    await log.close()


async def measure_files(folder: Path) -> None:
    stores = LocalFileStores(folder / "files")
    await stores.start()
    files = await stores.open("project", "room")
    numbers = itertools.count()

    async def publish(_: int) -> None:
        writer = await files.start_write()
        await writer.write(FILE)
        await files.publish(writer, f"folder/{next(numbers)}", overwrite=False)

    await report("publish 10 KB", 300, 1, publish)
    await report("publish 10 KB", 1_600, 16, publish)
    await report("stat", 1_000, 1, lambda _: files.stat("folder/1"))
    await stores.close()


def main() -> None:
    parent = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        print(f"fsync of 4 KB: {fsync_milliseconds(folder):.2f} ms")
        asyncio.run(measure_database(folder))
        asyncio.run(measure_files(folder))


if __name__ == "__main__":
    main()
