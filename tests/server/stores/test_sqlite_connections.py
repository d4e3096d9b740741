"""Opening SQLite databases: settings, migrations, which errors are the disk's, and the pool for reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from meshagent.api.errors import InvalidStateError, NotFoundError, UnavailableError
from meshagent.server.stores.errors import CorruptDataError, StoreFailedError
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.sqlite_connections import ReadPool, connect, is_disk_failure, migrate, store_error
from tests.support.stores import disk_broken, disk_full

MIGRATIONS = (("CREATE TABLE numbers (n INTEGER)", "INSERT INTO numbers VALUES (1)"),)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a.sqlite"
    connection = connect(path, durability="process")
    migrate(connection, MIGRATIONS)
    connection.close()
    return path


def numbers(connection: sqlite3.Connection) -> list[int]:
    return [n for (n,) in connection.execute("SELECT n FROM numbers")]


def test_each_version_is_one_step(database: Path) -> None:
    connection = connect(database, durability="fsync")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, (*MIGRATIONS, ("INSERT INTO numbers VALUES (2)", "no SQL")))
    assert numbers(connection) == [1]
    migrate(connection, (*MIGRATIONS, ("INSERT INTO numbers VALUES (2)",)))
    migrate(connection, (*MIGRATIONS, ("INSERT INTO numbers VALUES (2)",)))
    assert numbers(connection) == [1, 2]
    with pytest.raises(InvalidStateError):
        migrate(connection, MIGRATIONS)
    connection.close()


@pytest.mark.parametrize("error", [disk_full(), disk_broken(), OSError(5, "input/output error")])
def test_errors_of_the_disk(error: Exception) -> None:
    assert is_disk_failure(error)
    assert isinstance(store_error(error), StoreFailedError)


def test_errors_that_are_not_the_disks(database: Path) -> None:
    connection = connect(database, durability="process")
    with pytest.raises(sqlite3.Error) as caught:
        connection.execute("SELECT nonsense")
    connection.close()
    assert not is_disk_failure(caught.value)
    assert store_error(caught.value) is caught.value
    refused = NotFoundError("nothing there")
    assert store_error(refused) is refused


def test_a_file_that_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        connect(path, durability="process")
    assert isinstance(store_error(caught.value), CorruptDataError)


async def test_the_pool_reads_reports_damage_and_ends(database: Path) -> None:
    health = HealthMonitor()
    pool = ReadPool(database, durability="process", health=health, component="db")
    assert await pool.run(numbers) == [1]

    def raising(error: Exception) -> Callable[[sqlite3.Connection], None]:
        def read(connection: sqlite3.Connection) -> None:
            raise error

        return read

    with pytest.raises(NotFoundError):
        await pool.run(raising(NotFoundError("nothing there")))
    with pytest.raises(KeyError):
        await pool.run(raising(KeyError("a mistake of the program")))
    assert health.healthy
    for raised, expected in ((CorruptDataError("a bad row"), CorruptDataError), (disk_broken(), StoreFailedError)):
        with pytest.raises(expected):
            await pool.run(raising(raised))
    assert not health.healthy
    await pool.close()
    await pool.close()
    with pytest.raises(UnavailableError):
        await pool.run(numbers)
