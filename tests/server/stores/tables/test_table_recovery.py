"""Versions that a power cut left incomplete are taken back; those that were acknowledged stay."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from meshagent.api.contracts import database as api
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.errors import CorruptDataError
from meshagent.server.stores.tables.recovery import recover
from tests.support.database import open_database

Damage = Callable[[Path], None]


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def remove(path: Path) -> None:
    path.unlink()


def newest(folder: Path) -> Path:
    """The file of the last write; manifests carry falling numbers."""
    files = [path for path in folder.iterdir() if path.suffix in (".manifest", ".lance", ".arrow", ".bin")]
    return min(files) if folder.name == "_versions" else max(files, key=lambda path: path.stat().st_mtime_ns)


async def make_table(root: Path) -> Path:
    """Rows 0 to 9 in one version, and row 10 in the next."""
    async with open_database(root) as database:
        await database.ask(api.CREATE_TABLE, name="t", data=[{"id": n} for n in range(10)])
        await database.ask(api.INSERT, table="t", records={"id": 10})
    return root / "project" / "room" / "t.lance"


async def make_durable_table(root: Path) -> Path:
    """As `make_table`, synced, and so marked as acknowledged; and a table `u`."""
    async with open_database(root, disk=Disk()) as database:
        await database.ask(api.CREATE_TABLE, name="t", data=[{"id": n} for n in range(10)])
        await database.ask(api.INSERT, table="t", records={"id": 10})
        await database.ask(api.CREATE_TABLE, name="u", data=[{"id": 1}])
    return root / "project" / "room" / "t.lance"


async def ids(root: Path) -> list[int]:
    async with open_database(root) as database:
        return [row["id"] for row in await database.rows("t")]


@pytest.mark.parametrize("damage", [truncate, zero, remove])
@pytest.mark.parametrize("folder", ["data", "_versions"])
async def test_an_incomplete_insert_is_taken_back(tmp_path: Path, folder: str, damage: Damage) -> None:
    table = await make_table(tmp_path)
    damage(newest(table / folder))
    assert await ids(tmp_path) == list(range(10))
    async with open_database(tmp_path) as database:
        await database.ask(api.INSERT, table="t", records={"id": 11})
        await database.ask(api.OPTIMIZE, table="t")
    assert await ids(tmp_path) == [*range(10), 11]


@pytest.mark.parametrize("damage", [truncate, zero])
async def test_an_incomplete_deletion_is_taken_back(tmp_path: Path, damage: Damage) -> None:
    table = await make_table(tmp_path)
    async with open_database(tmp_path) as database:
        await database.ask(api.DELETE, table="t", where="id = 3")
        await database.ask(api.DELETE, table="t", where="id = 4")
    damage(newest(table / "_deletions"))
    assert await ids(tmp_path) == [0, 1, 2, *range(4, 11)]


async def test_an_incomplete_index_is_taken_back(tmp_path: Path) -> None:
    table = await make_table(tmp_path)
    async with open_database(tmp_path) as database:
        await database.ask(api.CREATE_SCALAR_INDEX, table="t", column="id")
    for path in (table / "_indices").rglob("*.lance"):
        truncate(path)
    async with open_database(tmp_path) as database:
        assert await database.ask(api.LIST_INDEXES, table="t") == {"indexes": []}
        assert len(await database.rows("t", where="id = 7")) == 1


async def test_several_incomplete_versions(tmp_path: Path) -> None:
    table = await make_table(tmp_path)
    async with open_database(tmp_path) as database:
        for n in range(3):
            await database.ask(api.INSERT, table="t", records={"id": 20 + n})
    for path in sorted((table / "data").iterdir(), key=lambda path: path.stat().st_mtime_ns)[-3:]:
        truncate(path)
    assert await ids(tmp_path) == list(range(11))


@pytest.mark.parametrize("damage", [truncate, zero, remove])
@pytest.mark.parametrize("folder", ["data", "_versions"])
async def test_what_was_acknowledged_is_never_taken_back(
    tmp_path: Path, folder: str, damage: Damage, caplog: pytest.LogCaptureFixture
) -> None:
    table = await make_durable_table(tmp_path)
    damaged = newest(table / folder)
    content = damaged.read_bytes()
    damage(damaged)
    before = {path: path.stat().st_size for path in table.rglob("*")}
    async with open_database(tmp_path, disk=Disk()) as database:
        for operation, fields in ((api.SEARCH, {}), (api.INSERT, {"records": {"id": 11}}), (api.OPTIMIZE, {})):
            with pytest.raises(CorruptDataError, match="'t' is damaged"):
                await database.ask(operation, table="t", **fields)
        assert {path: path.stat().st_size for path in table.rglob("*")} == before
        await database.ask(api.INSERT, table="u", records={"id": 2})
        assert "restore" in caplog.text
        damaged.write_bytes(content)
        await database.ask(api.INSERT, table="t", records={"id": 11})
    assert await ids(tmp_path) == list(range(12))


@pytest.mark.parametrize("damage", [truncate, zero, remove])
@pytest.mark.parametrize("folder", ["data", "_versions"])
async def test_what_was_not_acknowledged_is_taken_back(tmp_path: Path, folder: str, damage: Damage) -> None:
    table = await make_durable_table(tmp_path)
    versions = table / "_versions"
    (mark,) = versions.glob("acknowledged-*")
    first = max(versions.glob("*.manifest"))
    mark.rename(versions / f"acknowledged-{first.stem}")  # as if the power had failed before the sync of the second one
    damage(newest(table / folder))
    assert await ids(tmp_path) == list(range(10))


async def test_the_mark_follows_the_newest_version(tmp_path: Path) -> None:
    table = await make_durable_table(tmp_path)
    async with open_database(tmp_path, disk=Disk()) as database:
        for operation, fields in (
            (api.UPDATE, {"where": "id = 3", "values": {"id": 30}}),
            (api.OPTIMIZE, {}),
            (api.DELETE, {"where": "id = 30"}),
        ):
            await database.ask(operation, table="t", **fields)
            manifests = sorted(path.stem for path in (table / "_versions").glob("*.manifest"))
            marks = [path.name for path in (table / "_versions").glob("acknowledged-*")]
            assert marks == [f"acknowledged-{manifests[0]}"]


async def test_a_table_without_a_whole_version_is_left_alone(tmp_path: Path) -> None:
    table = await make_table(tmp_path)
    for path in (table / "data").iterdir():
        truncate(path)
    before = sorted(table.rglob("*"))
    with pytest.raises(CorruptDataError):
        await ids(tmp_path)
    assert sorted(table.rglob("*")) == before


async def test_a_whole_table_loses_nothing(tmp_path: Path) -> None:
    table = await make_table(tmp_path)
    async with open_database(tmp_path) as database:
        await database.ask(api.DELETE, table="t", where="id = 3")
        await database.ask(api.CREATE_SCALAR_INDEX, table="t", column="id")
    before = sorted(table.rglob("*"))
    assert recover(table, None) == 4
    assert sorted(table.rglob("*")) == before
    assert recover(tmp_path / "nothing.lance", None) == 0
