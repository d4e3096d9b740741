"""What every database must do with records."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncConnection

from meshagent.api.errors import AlreadyExistsError, NotFoundError
from meshagent.server.accounts.database import Database, DatabaseStartError, create_engine, database_url
from meshagent.server.accounts.encryption import DecryptionError, SecretBox
from meshagent.server.accounts.records import ApiKey, Project, Secret, Service, User, Webhook
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.stores.health import HealthMonitor
from tests.server.accounts.conftest import FOLDER


async def _project(store: AccountsStore, name: str = "one") -> Project:
    project = Project(name=name, settings={"theme": "dark", "深": [1, None, "\x00"]})
    await store.projects.add(project)
    return project


async def test_a_record_comes_back_as_it_went_in(store: AccountsStore) -> None:
    project = await _project(store)
    webhook = Webhook(project_id=project.id, name="w", url="http://x", events=["room.started"], payload={"a": 1.5})
    await store.webhooks.add(webhook)
    assert await store.projects.get(id=project.id) == project
    assert await store.webhooks.get(project_id=project.id, id=webhook.id) == webhook


async def test_a_record_of_another_project_is_not_found(store: AccountsStore) -> None:
    one, two = await _project(store), await _project(store, "two")
    webhook = Webhook(project_id=one.id, name="w", url="http://x", events=[])
    await store.webhooks.add(webhook)
    assert await store.webhooks.find(project_id=two.id, id=webhook.id) is None
    with pytest.raises(NotFoundError):
        await store.webhooks.delete(project_id=two.id, id=webhook.id)
    with pytest.raises(NotFoundError):
        await store.webhooks.update({"name": "stolen"}, project_id=two.id, id=webhook.id)
    assert await store.webhooks.get(project_id=one.id, id=webhook.id) == webhook


async def test_names_are_taken_once(store: AccountsStore) -> None:
    project = await _project(store)
    await store.services.add(Service(project_id=project.id, name="s", definition={}))
    with pytest.raises(AlreadyExistsError):
        await store.services.add(Service(project_id=project.id, name="s", definition={}))
    other = Service(project_id=project.id, name="t", definition={})
    await store.services.add(other)
    with pytest.raises(AlreadyExistsError):
        await store.services.update({"name": "s"}, project_id=project.id, id=other.id)


async def test_a_record_needs_its_project(store: AccountsStore) -> None:
    with pytest.raises(NotFoundError):
        await store.services.add(Service(project_id="nowhere", name="s", definition={}))


async def test_what_belongs_to_a_project_goes_with_it(store: AccountsStore) -> None:
    project = await _project(store)
    await store.services.add(Service(project_id=project.id, name="s", definition={}))
    await store.projects.delete(id=project.id)
    assert await store.services.all() == []


async def test_pages_cover_the_list_once(store: AccountsStore) -> None:
    for number in range(5):
        await store.users.add(User(email=f"{number}@example.com"))
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        page = await store.users.page(limit=2, offset=offset)
        seen += [user.email for user in page.entries]
        offset = page.next_offset
    assert sorted(seen) == [f"{number}@example.com" for number in range(5)]
    assert len(seen) == 5


async def test_secrets_lie_encrypted_in_the_database(store: AccountsStore) -> None:
    project = await _project(store)
    await store.secrets.add(Secret(project_id=project.id, name="s", type="keys", data={"TOKEN": "very secret"}))
    await store.api_keys.add(ApiKey(project_id=project.id, name="k", secret="very secret"))
    async with store.database.transaction() as connection:
        for table, column in (("secrets", "data"), ("api_keys", "secret")):
            stored = (await connection.execute(text(f"SELECT {column} FROM {table}"))).scalar_one()
            assert "very secret" not in stored
            assert "TOKEN" not in stored
    [secret] = await store.secrets.all()
    assert secret.data == {"TOKEN": "very secret"}


async def test_another_encryption_key_is_told_apart_from_damage(store: AccountsStore, url: URL) -> None:
    project = await _project(store)
    await store.api_keys.add(ApiKey(project_id=project.id, name="k", secret="s"))
    await store.database.close()
    database = Database(create_engine(url), box=SecretBox("another key"), health=HealthMonitor())
    try:
        with pytest.raises(DecryptionError, match="different encryption key"):
            await AccountsStore(database).api_keys.all()
    finally:
        await database.close()


async def test_a_failed_transaction_leaves_nothing(store: AccountsStore) -> None:
    async def add_both(connection: AsyncConnection) -> None:
        await store.users.add(User(email="a@example.com"), within=connection)
        await store.users.add(User(email="a@example.com"), within=connection)

    with pytest.raises(AlreadyExistsError):
        async with store.database.transaction() as connection:
            await add_both(connection)
    assert await store.users.all() == []


async def test_many_writers_at_once_all_succeed(store: AccountsStore) -> None:
    await asyncio.gather(*(store.users.add(User(email=f"{number}@example.com")) for number in range(50)))
    assert len(await store.users.all()) == 50


async def test_opening_again_keeps_what_is_there(store: AccountsStore, url: URL) -> None:
    project = await _project(store)
    await store.database.close()
    database = await Database.open(url, box=SecretBox("a key"), health=HealthMonitor(), folder=FOLDER)
    try:
        assert await AccountsStore(database).projects.all() == [project]
    finally:
        await database.close()


async def test_two_servers_start_on_one_database_at_once(url: URL) -> None:
    databases = await asyncio.gather(
        *(Database.open(url, box=SecretBox("a key"), health=HealthMonitor(), folder=FOLDER) for _ in range(3))
    )
    try:
        await AccountsStore(databases[0]).users.add(User(email="a@example.com"))
        assert len(await AccountsStore(databases[2]).users.all()) == 1
    finally:
        for database in databases:
            await database.close()


async def test_a_database_of_a_newer_server_is_left_alone(store: AccountsStore, url: URL) -> None:
    async with store.database.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.database.close()
    with pytest.raises(DatabaseStartError, match="schema"):
        await Database.open(url, box=SecretBox("a key"), health=HealthMonitor(), folder=FOLDER)


@pytest.mark.parametrize("configured", ["nonsense", "mysql://user:hidden@host/name"])
def test_other_databases_are_refused_without_repeating_the_password(configured: str, tmp_path: object) -> None:
    with pytest.raises(DatabaseStartError) as caught:
        database_url(tmp_path, configured)  # type: ignore[arg-type]  # the folder is not used here
    assert "hidden" not in str(caught.value)


async def test_a_database_out_of_reach_is_told_in_words(tmp_path: object) -> None:
    url = database_url(tmp_path, "postgresql://user:hidden@127.0.0.1:1/name")  # type: ignore[arg-type]  # as above
    with pytest.raises(DatabaseStartError) as caught:
        await Database.open(url, box=SecretBox("a key"), health=HealthMonitor(), folder=FOLDER)
    assert "hidden" not in str(caught.value)
