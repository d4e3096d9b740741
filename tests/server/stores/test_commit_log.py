"""Group commit: what shares a transaction, and what happens when the disk or a write fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.errors import (
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
    UnavailableError,
)
from meshagent.server.stores.commit_log import CommitLog, CommitSettings, Refused
from meshagent.server.stores.disk import Durability
from meshagent.server.stores.errors import CorruptDataError, StoreFailedError
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.sqlite_schema import ROOM_MIGRATIONS
from tests.support.stores import CommitGate, disk_broken, disk_full, open_commit_log

Write = Callable[[sqlite3.Connection], int]


def insert(queue_id: int) -> Write:
    def write(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO queues VALUES (?, 'room', ?)", (queue_id, str(queue_id)))
        return queue_id

    return write


async def stored(log: CommitLog) -> list[int]:
    return await log.read(lambda connection: [row[0] for row in connection.execute("SELECT id FROM queues")])


async def held(log: CommitLog, gate: CommitGate) -> asyncio.Future[int]:
    """A write whose commit does not return before the gate opens; what comes after it has to wait."""
    gate.is_open.clear()
    gate.entered.clear()
    first = log.submit(insert(10_000))
    await asyncio.get_running_loop().run_in_executor(None, gate.entered.wait)
    return first


async def test_what_waits_shares_one_commit(tmp_path: Path) -> None:
    gate = CommitGate()
    async with open_commit_log(tmp_path, gate=gate) as log:
        first = await held(log, gate)
        others = [log.submit(insert(number)) for number in range(1, 101)]
        assert not first.done()
        gate.is_open.set()
        assert await asyncio.gather(*others) == list(range(1, 101))
        assert await first == 10_000
        assert gate.commits == 2
        assert await stored(log) == [*range(1, 101), 10_000]


async def test_neighbours_with_one_handler_come_together(tmp_path: Path) -> None:
    gate = CommitGate()
    runs: list[Sequence[int]] = []

    def handler(connection: sqlite3.Connection, items: Sequence[int]) -> list[int | Refused]:
        runs.append(list(items))
        return [item * 10 if item % 2 else Refused(NotFoundError(str(item))) for item in items]

    settled: list[object] = []
    async with open_commit_log(tmp_path, gate=gate) as log:
        await held(log, gate)
        odd = [log.submit_item(handler, item, settle=settled.append) for item in (1, 2, 3)]
        odd[2].cancel()
        between = log.submit(insert(5))
        last = log.submit_item(handler, 7)
        gate.is_open.set()
        assert (await odd[0], await between, await last) == (10, 5, 70)
        with pytest.raises(NotFoundError):
            await odd[1]
        assert runs == [[1, 2, 3], [7]]
        assert settled[0] == 10
        assert isinstance(settled[1], NotFoundError)
        assert settled[2] == 30


async def test_a_handler_that_loses_count_fails_alone(tmp_path: Path) -> None:
    def handler(connection: sqlite3.Connection, items: Sequence[int]) -> list[int | Refused]:
        insert(items[0])(connection)
        return []

    async with open_commit_log(tmp_path) as log:
        with pytest.raises(ValueError, match="outcomes"):
            await log.submit_item(handler, 1)
        assert await log.submit(insert(1)) == 1


async def test_a_write_that_refuses_before_writing_leaves_the_others_alone(tmp_path: Path) -> None:
    def refuse(connection: sqlite3.Connection) -> int:
        raise NotFoundError("nothing there")

    gate = CommitGate()
    async with open_commit_log(tmp_path, gate=gate) as log:
        await held(log, gate)
        good, bad = log.submit(insert(1)), log.submit(refuse)
        gate.is_open.set()
        assert await good == 1
        with pytest.raises(NotFoundError):
            await bad
        assert gate.commits == 2


@pytest.mark.parametrize("error", [NotFoundError("too late"), ValueError("a bug")])
async def test_a_write_that_fails_halfway_is_undone_alone(tmp_path: Path, error: Exception) -> None:
    def fail(connection: sqlite3.Connection) -> int:
        insert(7)(connection)
        raise error

    gate, health = CommitGate(), HealthMonitor()
    rollbacks: list[int] = []
    async with open_commit_log(tmp_path, gate=gate, health=health) as log:
        log.on_rollback(lambda: rollbacks.append(1))
        await held(log, gate)
        good = [log.submit(insert(number)) for number in range(1, 6)]
        bad = log.submit(fail)
        good += [log.submit(insert(number)) for number in range(10, 15)]
        duplicate = log.submit(insert(1))
        gate.is_open.set()
        with pytest.raises(type(error)):
            await bad
        with pytest.raises(sqlite3.IntegrityError):
            await duplicate
        assert await asyncio.gather(*good) == [*range(1, 6), *range(10, 15)]
        assert await stored(log) == [*range(1, 6), *range(10, 15), 10_000]
        assert health.healthy
        assert rollbacks


@pytest.mark.parametrize("error", [disk_full(), disk_broken(), sqlite3.OperationalError("disk I/O error")])
async def test_a_failed_commit_fails_loudly_and_later_writes_succeed(tmp_path: Path, error: Exception) -> None:
    gate, health = CommitGate(), HealthMonitor()
    async with open_commit_log(tmp_path, gate=gate, health=health) as log:
        first = await held(log, gate)
        lost = [log.submit(insert(number)) for number in range(1, 4)]
        gate.failures.append(error)
        gate.is_open.set()
        outcomes = await asyncio.gather(first, *lost, return_exceptions=True)
        assert all(isinstance(outcome, StoreFailedError) and outcome.retryable for outcome in outcomes[:1])
        assert outcomes[1:] == [1, 2, 3]
        assert health.healthy
        assert health.components()["room database"].failures == 1
        gate.failures.append(error)
        with pytest.raises(StoreFailedError):
            await log.submit(insert(20))
        assert not health.healthy
        gate.failures.append(error)
        with pytest.raises(StoreFailedError):
            await log.probe()
        assert await stored(log) == [1, 2, 3]
        await log.probe()
        assert health.healthy
        assert await log.submit(insert(20)) == 20


async def test_a_database_that_is_really_full(tmp_path: Path) -> None:
    health = HealthMonitor()

    def limit_pages(connection: sqlite3.Connection) -> int:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        return int(pages)

    def write_much(connection: sqlite3.Connection) -> int:
        return connection.execute("INSERT INTO document_snapshots VALUES (1, zeroblob(100000))").rowcount

    async with open_commit_log(tmp_path, health=health) as log:
        await log.submit(limit_pages)
        with pytest.raises(StoreFailedError):
            await log.submit(write_much)
        assert not health.healthy
        assert await log.submit(insert(1)) == 1
        assert health.healthy
        await log.submit(lambda connection: connection.execute("PRAGMA max_page_count = 100000").fetchone())
        assert await log.submit(write_much) == 1


async def test_too_many_waiting_writes_are_refused(tmp_path: Path) -> None:
    gate = CommitGate()
    settings = CommitSettings(max_pending=3, max_pending_bytes=100)
    async with open_commit_log(tmp_path, gate=gate, settings=settings) as log:
        await held(log, gate)
        large = log.submit(insert(1), size=1000)  # alone it may be of any size
        with pytest.raises(LimitExceededError) as refused:
            log.submit(insert(2), size=1)
        assert refused.value.limit == 100
        others = [log.submit(insert(number)) for number in (3, 4)]
        with pytest.raises(LimitExceededError) as refused:
            log.submit(insert(5))
        assert refused.value.limit == 3
        gate.is_open.set()
        await asyncio.gather(large, *others)
        assert await log.submit(insert(5), size=50) == 5


@pytest.mark.parametrize("window_seconds", [0.0, 0.02])
async def test_writers_that_come_back_are_waited_for(tmp_path: Path, window_seconds: float) -> None:
    settings = CommitSettings(window_seconds=window_seconds, max_batch=4)
    async with open_commit_log(tmp_path, settings=settings) as log:
        numbers = iter(range(1, 101))

        async def writer() -> None:
            for number in numbers:
                await log.submit(insert(number))

        await asyncio.gather(*(writer() for _ in range(10)))
        assert await stored(log) == list(range(1, 101))


async def test_closing_commits_what_waits(tmp_path: Path) -> None:
    gate = CommitGate()
    async with open_commit_log(tmp_path, gate=gate) as log:
        await held(log, gate)
        waiting = [log.submit(insert(number)) for number in range(1, 50)]
        closing = asyncio.create_task(log.close())
        await asyncio.sleep(0)
        with pytest.raises(UnavailableError):
            log.submit(insert(99))
        with pytest.raises(UnavailableError):
            await log.read(lambda connection: None)
        gate.is_open.set()
        await closing
        assert all(future.done() for future in waiting)
        await log.close()
    async with open_commit_log(tmp_path) as log:
        assert await stored(log) == [*range(1, 50), 10_000]


async def test_a_database_has_one_owner(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path):
        second = CommitLog(tmp_path / "rooms.db", ROOM_MIGRATIONS)
        with pytest.raises(UnavailableError):
            await second.open()
    async with open_commit_log(tmp_path) as log:
        assert await stored(log) == []


async def test_a_damaged_database_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "rooms.db").write_bytes(b"this is no database, whatever its name says" * 100)
    log = CommitLog(tmp_path / "rooms.db", ROOM_MIGRATIONS)
    with pytest.raises(CorruptDataError):
        await log.open()
    with pytest.raises(UnavailableError):
        log.submit(insert(1))


async def test_a_database_from_the_future_is_not_opened(tmp_path: Path) -> None:
    newer = [*ROOM_MIGRATIONS, ["CREATE TABLE later (id INTEGER PRIMARY KEY)"]]
    log = CommitLog(tmp_path / "rooms.db", newer)
    await log.open()
    await log.close()
    log = CommitLog(tmp_path / "rooms.db", ROOM_MIGRATIONS)
    with pytest.raises(InvalidStateError):
        await log.open()


async def test_an_older_database_is_brought_up_to_date(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        await log.submit(insert(1))
    log = CommitLog(tmp_path / "rooms.db", [*ROOM_MIGRATIONS, ["ALTER TABLE queues ADD COLUMN note TEXT"]])
    await log.open()
    assert await log.read(lambda connection: connection.execute("SELECT * FROM queues").fetchall()) == [
        (1, "room", "1", None)
    ]
    await log.close()


async def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        await log.submit(insert(1))
    log = CommitLog(tmp_path / "rooms.db", [*ROOM_MIGRATIONS, ["DROP TABLE queues", "no statement"]])
    with pytest.raises(sqlite3.OperationalError):
        await log.open()
    async with open_commit_log(tmp_path) as log:
        assert await stored(log) == [1]


class HeldMigrations(tuple[tuple[str, ...], ...]):
    """Migrations that do not begin before `is_open` is set."""

    started: threading.Event
    is_open: threading.Event

    def __getitem__(self, key: Any) -> Any:
        self.started.set()
        assert self.is_open.wait(10)
        return super().__getitem__(key)


async def test_opening_that_is_cancelled_during_a_migration_releases_everything(tmp_path: Path) -> None:
    migrations = HeldMigrations(ROOM_MIGRATIONS)
    migrations.started, migrations.is_open = threading.Event(), threading.Event()
    log = CommitLog(tmp_path / "room.sqlite", migrations, component="cancelled")
    opening = asyncio.create_task(log.open())
    await asyncio.to_thread(migrations.started.wait)
    opening.cancel()
    await asyncio.sleep(0)
    migrations.is_open.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert not [thread for thread in threading.enumerate() if thread.name == "cancelled-writer"]
    with pytest.raises(UnavailableError):
        log.submit(insert(1))
    next_log = CommitLog(tmp_path / "room.sqlite", ROOM_MIGRATIONS)
    await next_log.open()
    await next_log.close()


async def test_opening_that_is_cancelled_at_once_releases_the_lock(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "room.sqlite", ROOM_MIGRATIONS)
    opening = asyncio.create_task(log.open())
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    next_log = CommitLog(tmp_path / "room.sqlite", ROOM_MIGRATIONS)
    await next_log.open()
    await next_log.close()


def test_writes_come_from_several_loops(tmp_path: Path) -> None:
    log = CommitLog(tmp_path / "rooms.db", ROOM_MIGRATIONS)

    async def write(start: int) -> list[int]:
        return list(await asyncio.gather(*(log.submit(insert(start + number)) for number in range(50))))

    def run_loop(start: int) -> list[int]:
        return asyncio.run(write(start))

    async def main() -> None:
        await log.open()
        results = await asyncio.gather(*(asyncio.to_thread(run_loop, start) for start in (100, 200, 300)))
        assert [result[0] for result in results] == [100, 200, 300]
        assert len(await stored(log)) == 150
        await log.close()

    asyncio.run(main())


async def test_a_read_cannot_write(tmp_path: Path) -> None:
    async with open_commit_log(tmp_path) as log:
        with pytest.raises(StoreFailedError):
            await log.read(insert(1))
        assert await stored(log) == []


@pytest.mark.parametrize(("durability", "synchronous"), [("fsync", 2), ("process", 1)])
async def test_a_commit_is_synced_as_the_durability_says(
    tmp_path: Path, durability: Durability, synchronous: int
) -> None:
    log = CommitLog(tmp_path / "new" / "rooms.db", ROOM_MIGRATIONS, durability=durability)
    await log.open()
    assert await log.submit(lambda connection: connection.execute("PRAGMA synchronous").fetchone()) == (synchronous,)
    assert await log.submit(lambda connection: connection.execute("PRAGMA journal_mode").fetchone()) == ("wal",)
    await log.close()
