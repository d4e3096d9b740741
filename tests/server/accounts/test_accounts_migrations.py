"""A database of any earlier release comes to the newest schema with all that is in it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection

from meshagent.server.accounts import migrations
from meshagent.server.accounts.database import Database, create_engine, database_url
from meshagent.server.accounts.encryption import SecretBox
from meshagent.server.accounts.migrations.runner import upgrade
from meshagent.server.accounts.records import Mailbox, Share
from meshagent.server.accounts.schema import metadata
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.stores.health import HealthMonitor
from tests.server.accounts.conftest import FOLDER

FIRST_RELEASE = Path(__file__).parent / "data" / "first_release.sql"


async def test_a_database_of_the_first_release_keeps_its_data(tmp_path: Path) -> None:
    file = sqlite3.connect(tmp_path / "accounts.sqlite")
    file.executescript(FIRST_RELEASE.read_text())
    file.close()
    database = await Database.open(
        database_url(tmp_path, None), box=SecretBox("the first key"), health=HealthMonitor(), folder=FOLDER
    )
    try:
        store = AccountsStore(database)
        assert (await store.projects.get(id="p1")).settings == {"theme": "dark"}
        assert (await store.users.get(id="u1")).email == "ada@example.com"
        assert (await store.user_tokens.get(id="t1")).digest == "0" * 64
        assert (await store.members.get(project_id="p1", user_id="u1")).role == "developer"
        assert (await store.api_keys.get(project_id="p1", id="k1")).secret == "kept secret"
        assert (await store.secrets.get(id="s1")).data == {"TOKEN": "kept token"}
        assert (await store.webhooks.get(id="w1")).events == ["room.started"]
        assert (await store.services.get(id="v1")).definition["image"] == "bot:1"
        assert (await store.rooms.get(id="r1")).storage_name == "lobby"
        assert (await store.sessions.get(id="e1")).participants == 2
        await store.shares.add(Share(project_id="p1", settings={}))
        await store.mailboxes.add(Mailbox(address="a@example.com", project_id="p1", room="lobby", queue="mail"))
    finally:
        await database.close()


async def test_every_step_runs_alone_and_ends_at_the_tables_of_the_code(url: URL) -> None:
    folder = migrations.__path__[0]
    revisions = [script.revision for script in ScriptDirectory(folder).walk_revisions()]
    assert len(revisions) > 1
    engine = create_engine(url)

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    try:
        for revision in reversed(revisions):
            async with engine.begin() as connection:
                await connection.run_sync(upgrade, revision)
        async with engine.begin() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await engine.dispose()
