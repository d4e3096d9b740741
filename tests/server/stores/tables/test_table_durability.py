"""What is acknowledged is on the disk, failing disks fail loudly, and tables stay small."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from meshagent.api.contracts import database as api
from meshagent.api.errors import NotFoundError, RoomException
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.tables.durable_files import DurableFiles, table_names
from meshagent.server.stores.tables.errors import engine_errors, readable
from meshagent.server.stores.tables.settings import MaintenanceSettings
from tests.support.database import RoomDatabase, open_database
from tests.support.stores import FaultyDisk, disk_full


class SyncedDisk:
    """Remembers what was synced, by path."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.disk = Disk(sync=self._sync)

    def _sync(self, descriptor: int) -> None:
        self.paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))


def files_below(folder: Path) -> dict[str, int]:
    """Sizes of all files, by path."""
    return {
        os.path.join(parent, name): os.path.getsize(os.path.join(parent, name))
        for parent, _, names in os.walk(folder)
        for name in names
    }


async def make_table(database: RoomDatabase, rows: int = 1) -> None:
    await database.ask(api.CREATE_TABLE, name="t", data=[{"id": n, "text": "x"} for n in range(rows)])


# --- syncing -------------------------------------------------------------------------------------------


async def test_a_write_is_answered_when_its_files_and_their_folders_are_synced(tmp_path: Path) -> None:
    synced = SyncedDisk()
    async with open_database(tmp_path, disk=synced.disk) as database:
        await make_table(database)
        root = tmp_path / "project" / "room"
        assert str(root) in synced.paths
        for operation, fields in (
            (api.INSERT, {"records": {"id": 2}}),
            (api.UPDATE, {"where": "id = 2", "values": {"text": "y"}}),
            (api.DELETE, {"where": "id = 2"}),
            (api.MERGE, {"on": "id", "records": {"id": 0, "text": "z"}}),
            (api.ADD_COLUMNS, {"new_columns": {"c": "1"}}),
            (api.CREATE_SCALAR_INDEX, {"column": "id"}),
        ):
            before = files_below(root)
            synced.paths.clear()
            await database.ask(operation, table="t", **fields)
            made = [path for path in files_below(root) if path not in before and "_transactions" not in path]
            new = [path for path in made if "acknowledged-" not in path]
            assert new
            assert set(new) | {os.path.dirname(path) for path in new} <= set(synced.paths)


def test_each_file_is_synced_once_and_again_after_a_failure(tmp_path: Path) -> None:
    table = tmp_path / "t.lance"
    (table / "_versions").mkdir(parents=True)
    (table / "_transactions").mkdir()
    for path in (table / "_versions" / "1.manifest", table / "_transactions" / "x.txn"):
        path.write_text("x")
    (table / "_versions" / "latest_version_hint.json").write_text("x")
    disk = FaultyDisk()
    disk.sync_error = disk_full()
    files = DurableFiles(table, disk.disk)
    with pytest.raises(OSError):
        files.sync()
    disk.sync_error = None
    files.sync()
    assert (disk.synced_files, disk.synced_folders) == (1, 3)
    files.sync()
    assert (disk.synced_files, disk.synced_folders) == (1, 3)


def test_what_a_crash_left_of_a_creation_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "half.lance" / "_transactions").mkdir(parents=True)
    (tmp_path / "whole.lance" / "_versions").mkdir(parents=True)
    (tmp_path / "whole.lance" / "_versions" / "1.manifest").write_text("x")
    assert table_names(tmp_path) == ["whole"]
    assert table_names(tmp_path / "nothing") == []


async def test_a_failing_disk_fails_the_write_and_shows(tmp_path: Path) -> None:
    disk, health = FaultyDisk(), HealthMonitor()
    async with open_database(tmp_path, disk=disk.disk, health=health) as database:
        await make_table(database)
        disk.sync_error = disk_full()
        for operation, fields in ((api.INSERT, {"records": {"id": 2}}), (api.DELETE, {"where": "true"})):
            with pytest.raises(StoreFailedError):
                await database.ask(operation, table="t", **fields)
        assert not health.healthy
        disk.sync_error = None
        await database.ask(api.INSERT, table="t", records={"id": 3})
        assert health.healthy
        assert 3 in [row["id"] for row in await database.rows("t")]


async def test_an_interrupted_drop_is_finished_at_the_next_start(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        await make_table(database)
    root = tmp_path / "project" / "room"
    os.rename(root / "t.lance", root / ".dropped-1234")
    async with open_database(tmp_path) as database:
        assert await database.ask(api.LIST_TABLES) == {"tables": []}
        with pytest.raises(NotFoundError):
            await database.rows("t")
    assert os.listdir(root) == []


async def test_columns_that_an_interrupted_update_left_go_away(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        await make_table(database)
        tables = database.engine._tables
        assert tables is not None
        with tables.using("t") as table, engine_errors("t"):
            await (await table._opened()).add_columns({"_updating_12": "1"})
    async with open_database(tmp_path) as database:
        assert await database.rows("t") == [{"id": 0, "text": "x"}]
        await database.ask(api.INSERT, table="t", records={"id": 1})
        assert len(await database.rows("t")) == 2


# --- maintenance ---------------------------------------------------------------------------------------


async def test_maintenance_keeps_a_table_small(tmp_path: Path) -> None:
    async with open_database(tmp_path, maintenance=MaintenanceSettings(after_writes=10)) as database:
        await make_table(database)
        for n in range(1, 35):
            await database.ask(api.INSERT, table="t", records={"id": n, "text": "y"})
        assert len(files_below(tmp_path)) < 40
        assert [row["id"] for row in await database.rows("t")] == list(range(35))


async def test_maintenance_counts_versions_of_earlier_runs(tmp_path: Path) -> None:
    for _ in range(6):
        async with open_database(tmp_path, maintenance=MaintenanceSettings(after_writes=10)) as database:
            await database.ask(api.CREATE_TABLE, name="t", data=[{"id": 0}], mode="create_if_not_exists")
            for n in range(3):
                await database.ask(api.INSERT, table="t", records={"id": n})
    versions = os.listdir(tmp_path / "project" / "room" / "t.lance" / "_versions")
    assert len(versions) < 14


async def test_readers_keep_the_files_of_their_version(tmp_path: Path) -> None:
    async with open_database(tmp_path, maintenance=MaintenanceSettings(reader_timeout=0.02)) as database:
        await make_table(database, rows=3)
        await database.ask(api.INSERT, table="t", records={"id": 3})
        tables = database.engine._tables
        assert tables is not None
        with tables.using("t") as table:
            async with table.reading():
                before = files_below(tmp_path)
                await database.ask(api.OPTIMIZE, table="t")
                assert before.keys() - files_below(tmp_path).keys() == set()
            await database.ask(api.OPTIMIZE, table="t")
        assert before.keys() - files_below(tmp_path).keys()
        assert len(await database.rows("t")) == 4


@pytest.mark.slow
async def test_searches_during_writes_and_maintenance_see_whole_versions(tmp_path: Path) -> None:
    async with open_database(tmp_path, maintenance=MaintenanceSettings(after_writes=3, max_time_share=1.0)) as database:
        await make_table(database)
        writing = True

        async def write() -> None:
            nonlocal writing
            for n in range(1, 40):
                await database.ask(api.INSERT, table="t", records=[{"id": n, "text": "a"}, {"id": n, "text": "b"}])
                if n % 10 == 0:
                    await database.ask(api.UPDATE, table="t", where="id > 5", values_sql={"text": "upper(text)"})
            writing = False

        async def search() -> None:
            last = 0
            while writing:
                rows = await database.rows("t", where="id > 0")
                assert len(rows) % 2 == 0
                assert len(rows) >= last
                last = len(rows)

        await asyncio.gather(write(), search(), search())
        assert len(await database.rows("t")) == 79


@pytest.mark.slow
async def test_ten_thousand_inserts_of_one_row_leave_a_small_table(tmp_path: Path) -> None:
    noise = random.Random(1)
    numbers = iter(range(10_000))
    async with open_database(tmp_path) as database:
        await database.ask(api.CREATE_TABLE, name="t", schema={"id": {"type": "int"}, "text": {"type": "text"}})

        async def write() -> None:
            for n in numbers:
                record = {"id": n, "text": noise.randbytes(50).hex()}
                await database.ask(api.INSERT, table="t", records=record)

        started = time.perf_counter()
        await asyncio.gather(*(write() for _ in range(32)))
        seconds = time.perf_counter() - started
        before = time.perf_counter()
        assert [row["id"] for row in await database.rows("t", where="id = 7777")] == [7777]
        query = time.perf_counter() - before
        rows = await database.rows("t", select=["id"])
        assert sorted(row["id"] for row in rows) == list(range(10_000))
    size = sum(files_below(tmp_path).values())
    print(f"{10_000 / seconds:.0f} inserts/s, {size / 1e6:.2f} MB, a point query {query * 1000:.1f} ms")
    assert size < 20_000_000


# --- crashes -------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_acknowledged_inserts_survive_kill(tmp_path: Path) -> None:
    writer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.database_writer",
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
    )
    assert writer.stdout is not None
    acknowledged: set[int] = set()
    try:
        while len(acknowledged) < 400:
            acknowledged.add(int(await writer.stdout.readline()))
    finally:
        writer.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in (await writer.stdout.read()).split(b"\n")[:-1]}
        await writer.wait()
    async with open_database(tmp_path) as database:
        found = [row["id"] for row in await database.rows("t")]
        assert len(found) == len(set(found))
        assert acknowledged <= set(found)
        await database.ask(api.INSERT, table="t", records={"id": -1})
        await database.ask(api.OPTIMIZE, table="t")
        assert len(await database.rows("t")) == len(found) + 1


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "Invalid input, Schema error: No field named nope. Valid fields are `id`.",
            "No field named nope. Valid fields are `id`.",
        ),
        (
            "lance error: LanceError(Index): Index name 'a' already exists, /build/.cargo/registry/a.rs:377:24",
            "Index name 'a' already exists",
        ),
        (
            "Invalid input, Error parsing statement: SELECT 1 FROM t (sql parser error: Expected: an expression)",
            "Error parsing statement: Expected: an expression",
        ),
        (
            "lance error: LanceError(IO): Generic error on /srv/data/rooms/t.lance/data: full",
            "Generic error on …: full",
        ),
    ],
)
def test_texts_of_the_engine_lose_labels_and_paths(said: str, expected: str) -> None:
    assert readable(said) == expected


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ValueError("Table 't' was not found"), "not_found"),
        (ValueError("Table 't' already exists"), "already_exists"),
        (ValueError("Invalid input, x"), "invalid_request"),
        (
            RuntimeError("Query Execution error: Arrow error: Cast error: Cannot cast string '' to Float64"),
            "invalid_request",
        ),
        (RuntimeError("lance error: Unprocessable: KMeans cannot train"), "invalid_state"),
        (RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)"), "store_failed"),
        (OSError(errno.EIO, "broken"), "store_failed"),
        (RuntimeError("something else"), "internal"),
        (type("PanicException", (BaseException,), {})("oops"), "internal"),
    ],
)
def test_failures_of_the_engine_by_kind(raised: BaseException, code: str) -> None:
    with pytest.raises(RoomException) as caught, engine_errors("t"):
        raise raised
    assert caught.value.code == code


def test_cancelling_passes_through() -> None:
    with pytest.raises(asyncio.CancelledError), engine_errors("t"):
        raise asyncio.CancelledError


async def test_a_schema_read_during_a_change_is_not_kept(tmp_path: Path) -> None:
    async with open_database(tmp_path) as database:
        await make_table(database)
        tables = database.engine._tables
        assert tables is not None
        with tables.using("t") as table:
            handle = await table._opened()
            read_schema, changed = handle.schema, False

            async def schema_of_before() -> Any:
                nonlocal changed
                schema = await read_schema()
                if not changed:
                    changed = True
                    await table.change(lambda opened: opened.drop_columns(["text"]))
                return schema

            table._forget_schema()
            handle.schema = schema_of_before  # type: ignore[method-assign]  # a change between two turns of the loop
            assert (await table.reader()).schema.names == ["id", "text"]
            assert (await table.reader()).schema.names == ["id"]
