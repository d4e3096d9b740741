"""Keys: what the door looks up follows what the database holds."""

from __future__ import annotations

import pytest

from meshagent.api.errors import ConflictError, NotFoundError
from meshagent.server.accounts.keys import KeyRing, seed_identity
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
        is_given=True,
    )


async def _ring(store: AccountsStore, secret: str = "the default secret") -> KeyRing:
    await seed_identity(store, _identity(secret))
    ring = KeyRing(store, default_project_id="p", default_key_id="k")
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
    assert len(await store.api_keys.every()) == 1


async def test_a_key_works_from_its_creation_to_its_revocation(store: AccountsStore) -> None:
    ring = await _ring(store)
    revoked: list[tuple[str, str]] = []
    ring.on_revoked = lambda project_id, key_id: revoked.append((project_id, key_id))
    key = await ring.create("p", name="ci", description="for tests", created_by=None)
    assert ring.lookup("p", key.id) == key.secret == (await ring.get("p", key.id)).secret
    assert ring.with_secret(key.secret) == key
    assert revoked == []
    await ring.revoke("p", key.id)
    assert revoked == [("p", key.id)]
    assert ring.lookup("p", key.id) is None
    assert ring.with_secret(key.secret) is None
    with pytest.raises(NotFoundError):
        await ring.revoke("p", key.id)


async def test_a_refresh_finds_what_another_server_did(store: AccountsStore) -> None:
    here, there = await _ring(store), await _ring(store)
    revoked: list[str] = []
    here.on_revoked = lambda project_id, key_id: revoked.append(key_id)
    key = await there.create("p", name="ci", description="", created_by=None)
    await here.refresh()
    assert here.lookup("p", key.id) == key.secret
    await there.revoke("p", key.id)
    await here.refresh()
    assert here.lookup("p", key.id) is None
    assert revoked == [key.id]


async def test_keys_need_a_project(store: AccountsStore) -> None:
    ring = await _ring(store)
    with pytest.raises(NotFoundError):
        await ring.create("nowhere", name="x", description="", created_by=None)
