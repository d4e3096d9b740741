"""The accounts store on each kind of database."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import URL

from meshagent.server.accounts.database import Database, database_url
from meshagent.server.accounts.encryption import SecretBox
from meshagent.server.accounts.ownership import ServerFolder
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.stores.health import HealthMonitor
from tests.support.postgres import postgres_binaries, postgres_cluster

FOLDER = ServerFolder(path=Path("/srv/meshagent"), project_id="p")
"""Whose database it is; nothing is read or written there."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Path]:
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_cluster(binaries) as socket_folder:
        yield socket_folder


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return database_url(tmp_path, None)
    folder: Path = request.getfixturevalue("postgres")
    name = f"test_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(host=str(folder), user="tester", database="postgres")
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return database_url(tmp_path, f"postgresql://tester@/{name}?host={folder}")


@pytest.fixture
async def store(url: URL) -> AsyncIterator[AccountsStore]:
    database = await Database.open(url, box=SecretBox("a key"), health=HealthMonitor(), folder=FOLDER)
    yield AccountsStore(database)
    await database.close()
