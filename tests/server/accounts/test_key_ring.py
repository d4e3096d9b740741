"""Keys: what the door looks up follows what the database holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from meshagent.api.errors import ConflictError, NotFoundError
from meshagent.server.accounts import keys as key_module
from meshagent.server.accounts import schema
from meshagent.server.accounts.keys import SERVER, KeyRing, seed_identity
from meshagent.server.accounts.records import ApiKey, Project
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.identity import ServerIdentity


def _identity(secret: str = "the default secret") -> ServerIdentity:
    return ServerIdentity(
        project_id="p",
        key_id="k",
        secret=secret,
        admin_token="admin",
        encryption_key="e",
        is_new=False,
        is_configured=True,
    )


class Revoked(list[tuple[str, str]]):
    """Project and key id of what was revoked."""

    async def note(self, project_id: str, key_id: str) -> None:
        self.append((project_id, key_id))


async def _ring(store: AccountsStore, secret: str = "the default secret", *, revoked: Revoked | None = None) -> KeyRing:
    await seed_identity(store, _identity(secret))
    told = Revoked() if revoked is None else revoked
    ring = KeyRing(store, default_project_id="p", default_key_id="k", on_revoked=told.note)
    await ring.refresh()
    return ring


async def test_the_servers_own_key_is_there_from_the_start(store: AccountsStore) -> None:
    ring = await _ring(store)
    assert ring.lookup("p", "k") == ring.lookup(None, "k") == "the default secret"
    assert ring.lookup("other", "k") is None
    with pytest.raises(ConflictError):
        await ring.revoke("p", "k")


async def test_a_changed_default_secret_replaces_the_old_one(store: AccountsStore) -> None:
    await _ring(store)
    ring = await _ring(store, "another secret")
    assert ring.lookup("p", "k") == "another secret"
    assert len(await store.api_keys.all()) == 1


async def test_a_key_works_from_its_creation_to_its_revocation(store: AccountsStore) -> None:
    revoked = Revoked()
    ring = await _ring(store, revoked=revoked)
    key = await ring.create("p", name="ci", description="for tests", created_by=None)
    assert ring.lookup("p", key.id) == key.secret == (await ring.get("p", key.id)).secret
    assert ring.find_by_secret(key.secret) == key
    assert revoked == []
    await ring.revoke("p", key.id)
    assert revoked == [("p", key.id)]
    assert ring.lookup("p", key.id) is None
    assert ring.find_by_secret(key.secret) is None
    with pytest.raises(NotFoundError):
        await ring.revoke("p", key.id)


async def test_a_refresh_finds_what_another_server_did(store: AccountsStore) -> None:
    revoked = Revoked()
    here, there = await _ring(store, revoked=revoked), await _ring(store)
    key = await there.create("p", name="ci", description="", created_by=None)
    await here.refresh()
    assert here.lookup("p", key.id) == key.secret
    await there.revoke("p", key.id)
    await here.refresh()
    assert here.lookup("p", key.id) is None
    assert revoked == [("p", key.id)]


async def test_keys_need_a_project(store: AccountsStore) -> None:
    ring = await _ring(store)
    with pytest.raises(NotFoundError):
        await ring.create("nowhere", name="x", description="", created_by=None)


def _held(ring: KeyRing, keys: list[ApiKey]) -> set[str]:
    """The ids of the keys that a ring knows, by id and by secret."""
    by_id = {key.id for key in keys if ring.lookup(key.project_id, key.id) == key.secret}
    by_secret = {key.id for key in keys if ring.find_by_secret(key.secret) == key}
    assert by_id == by_secret
    return by_id


def _noting(noted: list[str], function: Callable[[str], Any]) -> Callable[[str], Any]:
    def called(text: str) -> Any:
        noted.append(text)
        return function(text)

    return called


async def test_a_change_touches_no_other_key(store: AccountsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = await _ring(store), await _ring(store)
    for number in range(20):
        await here.create("p", name=f"k{number}", description="", created_by=None)
    await there.refresh()
    digested: list[str] = []
    opened: list[str] = []
    monkeypatch.setattr(key_module, "_digest", _noting(digested, key_module._digest))
    monkeypatch.setattr(store.database.box, "decrypt", _noting(opened, store.database.box.decrypt))
    key = await here.create("p", name="one more", description="", created_by=None)
    assert digested == [key.secret]
    assert opened == []
    await there.refresh()
    assert there.lookup("p", key.id) == key.secret
    assert (len(digested), len(opened)) == (2, 1)
    await here.revoke("p", key.id)
    await there.refresh()
    assert there.lookup("p", key.id) is None
    assert len(opened) == 1


async def test_a_refresh_without_changes_reads_no_keys(store: AccountsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = await _ring(store)

    async def unexpected(*_: Any, **__: Any) -> None:
        raise AssertionError("keys were read")

    monkeypatch.setattr(store.api_keys, "_select", unexpected)
    monkeypatch.setattr(store.api_keys, "all_ids", unexpected)
    await ring.refresh()
    assert ring.lookup("p", "k") == "the default secret"


async def test_any_changes_of_several_servers_are_followed(store: AccountsStore) -> None:
    revoked = [Revoked(), Revoked()]
    rings = [await _ring(store, revoked=seen) for seen in revoked]
    choose = random.Random(5)
    made: list[ApiKey] = []
    gone: list[str] = []
    for number in range(40):
        ring = choose.choice(rings)
        kept = [key for key in made if key.id not in gone]
        if kept and choose.random() < 0.4:
            key = choose.choice(kept)
            await ring.revoke("p", key.id)
            gone.append(key.id)
        else:
            made.append(await ring.create("p", name=f"k{number}", description="", created_by=None))
        if choose.random() < 0.3:
            await choose.choice(rings).refresh()
    for ring in rings:
        await ring.refresh()
        assert _held(ring, made) == {key.id for key in made} - set(gone)
    fresh = await _ring(store)
    assert _held(fresh, made) == _held(rings[0], made)
    for seen in revoked:
        assert len(seen) == len(set(seen))
        assert {key_id for _, key_id in seen} <= set(gone)


async def test_servers_that_change_keys_at_once_agree_afterwards(store: AccountsStore) -> None:
    rings = [await _ring(store) for _ in range(3)]
    creating = [ring.create("p", name="x", description="", created_by=None) for ring in rings for _ in range(5)]
    made = await asyncio.gather(*creating, *(ring.refresh() for ring in rings))
    keys = [key for key in made if key is not None]
    for ring in rings:
        await ring.refresh()
        assert _held(ring, keys) == {key.id for key in keys}


async def test_a_secret_that_another_server_changed_ends_what_the_old_one_opened(store: AccountsStore) -> None:
    revoked = Revoked()
    ring = await _ring(store, revoked=revoked)
    await _ring(store, "another secret")
    await ring.refresh()
    assert ring.lookup("p", "k") == "another secret"
    assert ring.find_by_secret("the default secret") is None
    assert revoked == [("p", "k")]


async def test_keys_of_a_deleted_project_are_gone(store: AccountsStore) -> None:
    ring = await _ring(store)
    await store.projects.add(Project(id="q", name="q"))
    key = await ring.create("q", name="x", description="", created_by=None)
    await store.projects.delete(id="q")
    await ring.refresh()
    assert _held(ring, [key]) == set()


async def test_keys_that_an_earlier_release_made_are_found(store: AccountsStore) -> None:
    ring = await _ring(store)
    key = ApiKey(project_id="p", name="x", secret="made elsewhere")
    await store.api_keys.add(key)
    async with store.database.transaction() as connection:
        await connection.execute(update(schema.api_keys).where(schema.api_keys.c.id == key.id).values(version=0))
    await ring.refresh()
    assert _held(ring, [key]) == {key.id}


async def test_a_secret_of_two_projects_outlives_one_of_them(store: AccountsStore) -> None:
    ring = await _ring(store)
    await store.projects.add(Project(id="q", name="q"))
    await store.api_keys.add(ApiKey(project_id="q", name="x", secret="the default secret", id="k2"))
    await ring.refresh()
    assert ring.find_by_secret("the default secret") is not None
    await ring.revoke("q", "k2")
    found = ring.find_by_secret("the default secret")
    assert found is not None
    assert found.id == "k"


async def test_the_servers_key_of_a_project_is_made_once_and_again_after_its_end(store: AccountsStore) -> None:
    ring = await _ring(store)
    first = await ring.server_key("p")
    assert await ring.server_key("p") == first
    assert first.created_by == SERVER
    await ring.revoke("p", first.id)
    assert (await ring.server_key("p")).id != first.id
