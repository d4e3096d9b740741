"""A server that starts on the database of another data folder is refused before it writes; the right one goes on."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import URL, text

from meshagent.server.accounts.database import Database, DatabaseStartError, create_engine, database_url
from meshagent.server.accounts.encryption import SecretBox
from meshagent.server.accounts.ownership import ServerFolder
from meshagent.server.accounts.records import User
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.app import running_server
from meshagent.server.config import ServerConfig
from meshagent.server.identity import load_identity
from meshagent.server.stores.health import HealthMonitor
from tests.server.accounts.conftest import FOLDER

FIRST_RELEASE = Path(__file__).parent / "data" / "first_release.sql"


def _config(folder: Path, url: URL | None, **settings: object) -> ServerConfig:
    configured = SecretStr(url.render_as_string(hide_password=False)) if url else None
    return ServerConfig.model_validate(
        {"host": "127.0.0.1", "port": 0, "data_dir": folder, "database_url": configured, "durability": "process"}
        | settings
    )


async def _content(url: URL) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables but those that every start writes."""
    engine = create_engine(url)
    try:
        async with engine.begin() as connection:
            return {
                table: sorted(map(tuple, await connection.execute(text(f"SELECT * FROM {table}"))), key=repr)
                for table in ("projects", "api_keys", "users", "rooms", "change_counters", "server_folders")
            }
    finally:
        await engine.dispose()


async def test_after_a_wrong_start_the_right_server_has_everything(url: URL, tmp_path: Path) -> None:
    right, wrong = _config(tmp_path / "a", url), _config(tmp_path / "b", url)
    async with running_server(right) as started:
        identity = started.identity
        await started.accounts.store.users.add(User(email="ada@example.com"))
        key = await started.accounts.keys.create(identity.project_id, name="ci", description="", created_by=None)
    before = await _content(url)

    with pytest.raises(DatabaseStartError) as caught:
        async with running_server(wrong):
            pass
    assert str(tmp_path / "a") in str(caught.value)
    assert identity.project_id in str(caught.value)
    assert "database_url" in str(caught.value)
    assert await _content(url) == before

    async with running_server(right) as started:
        assert [user.email for user in await started.accounts.store.users.all()] == ["ada@example.com"]
        assert started.accounts.keys.lookup(identity.project_id, key.id) == key.secret
        assert [project.id for project in await started.accounts.store.projects.all()] == [identity.project_id]


async def test_a_wrong_start_neither_migrates_nor_changes_a_database_of_an_earlier_release(tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    file = sqlite3.connect(path)
    file.executescript(FIRST_RELEASE.read_text())
    before = list(file.iterdump())
    file.close()
    with pytest.raises(DatabaseStartError, match="project_id p1"):
        await Database.open(
            database_url(tmp_path, None), box=SecretBox("another key"), health=HealthMonitor(), folder=FOLDER
        )
    file = sqlite3.connect(path)
    assert list(file.iterdump()) == before
    file.close()


async def test_servers_with_one_encryption_key_share_a_database(url: URL, tmp_path: Path) -> None:
    configs = [_config(tmp_path / name, url, encryption_key=SecretStr("shared")) for name in ("a", "b")]
    projects = {load_identity(config).project_id for config in configs}
    for config in configs:
        async with running_server(config) as started:
            pass
    async with running_server(configs[0]) as started:
        assert {project.id for project in await started.accounts.store.projects.all()} == projects


async def test_a_data_folder_may_be_moved(tmp_path: Path) -> None:
    async with running_server(_config(tmp_path / "a", None)) as started:
        project_id = started.identity.project_id
    shutil.move(tmp_path / "a", tmp_path / "b")
    async with running_server(_config(tmp_path / "b", None)) as started:
        assert started.identity.project_id == project_id


async def test_of_two_servers_that_start_at_once_on_a_new_database_one_gets_it(url: URL, tmp_path: Path) -> None:
    async def start(name: str) -> Database:
        folder = ServerFolder(path=tmp_path / name, project_id=name)
        return await Database.open(url, box=SecretBox(name), health=HealthMonitor(), folder=folder)

    results = await asyncio.gather(*(start(name) for name in "abc"), return_exceptions=True)
    opened = [result for result in results if isinstance(result, Database)]
    refused = [result for result in results if isinstance(result, DatabaseStartError)]
    try:
        assert (len(opened), len(refused)) == (1, 2)
        assert await AccountsStore(opened[0]).projects.all() == []
    finally:
        for database in opened:
            await database.close()
