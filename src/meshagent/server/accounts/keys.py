"""API keys, encrypted in the database and decrypted in memory for the look-up at each join."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from meshagent.api.errors import ConflictError, RoomException
from meshagent.server.accounts.api_key_table import KeyIds, KeysState
from meshagent.server.accounts.record_table import Page
from meshagent.server.accounts.records import ApiKey, Project
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.identity import ServerIdentity

log = logging.getLogger(__name__)

OnKeyRevoked = Callable[[str, str], Awaitable[None]]
"""Closes what a key opened that is good no more; takes the project id and the key's id."""

SERVER = "server"
"""Creator of the keys that the server uses itself."""

_SECRET_BYTES = 32

_IndexT = TypeVar("_IndexT")


class KeyRing:
    """All keys of the server.

    The database decides. The copy in memory is read at the start and follows each change; `refresh` finds what other
    servers on the same database did. The cost of a change does not depend on how many keys there are.

    Args:
        store: Where keys are kept.
        default_project_id: The project of tokens that name none.
        default_key_id: The server's own key, which cannot be revoked here.
        on_revoked: Called for each key that is good no more.
    """

    def __init__(
        self, store: AccountsStore, *, default_project_id: str, default_key_id: str, on_revoked: OnKeyRevoked
    ) -> None:
        self._store = store
        self._default_project_id = default_project_id
        self._default_key_id = default_key_id
        self._state = KeysState(version=-1, key_count=0)
        self._keys: dict[KeyIds, ApiKey] = {}
        self._by_digest: dict[bytes, list[ApiKey]] = {}  # several if projects were configured with one secret
        self._server_keys: dict[str, list[ApiKey]] = {}  # by project
        self._changing = asyncio.Lock()  # else a refresh that read before a change would undo it
        self._on_revoked = on_revoked

    def lookup(self, project_id: str | None, key_id: str) -> str | None:
        """The secret of a key, or None; from memory, as it is asked at each join."""
        key = self._keys.get((project_id or self._default_project_id, key_id))
        return None if key is None else key.secret

    def find_by_secret(self, secret: str) -> ApiKey | None:
        """The key with this secret. Digests are compared, so that response times reveal nothing about secrets."""
        keys = self._by_digest.get(_digest(secret))
        return keys[-1] if keys else None

    async def refresh(self) -> None:
        """Read what other servers changed, and report the keys that are gone.

        Without a change this is one small query; with one, the keys that changed are read, and if keys were removed
        the ids of all.
        """
        async with self._changing:
            state = await self._store.api_keys.state()
            if state == KeysState(self._state.version, len(self._keys)):
                return
            for key in await self._store.api_keys.changed_since(self._state.version):
                await self._put(key)
            if state.key_count != len(self._keys):
                ids = await self._store.api_keys.all_ids()
                for gone in self._keys.keys() - ids:
                    await self._drop(gone)
                if ids - self._keys.keys():  # made by a server of an earlier release, which numbers no changes
                    for key in await self._store.api_keys.all():
                        await self._put(key)
            self._state = state

    async def create(self, project_id: str, *, name: str, description: str, created_by: str | None) -> ApiKey:
        """A new key with a secret of its own.

        Raises:
            NotFoundError: There is no such project.
        """
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        key = ApiKey(project_id=project_id, name=name, description=description, secret=secret, created_by=created_by)
        async with self._changing:
            await self._store.api_keys.add(key)
            await self._put(key)
        return key

    async def server_key(self, project_id: str) -> ApiKey:
        """The key with which the server signs tokens of its own for a project; made at first use.

        Raises:
            NotFoundError: There is no such project.
        """
        if keys := self._server_keys.get(project_id):
            return keys[0]
        text = "Signs the tokens that the server issues; deleting it revokes them."
        return await self.create(project_id, name="server", description=text, created_by=SERVER)

    async def page(self, project_id: str, *, limit: int, offset: int) -> Page[ApiKey]:
        """The keys of a project, oldest first."""
        return await self._store.api_keys.page(limit=limit, offset=offset, project_id=project_id)

    async def get(self, project_id: str, key_id: str) -> ApiKey:
        """One key, with its secret.

        Raises:
            NotFoundError: There is none.
        """
        return await self._store.api_keys.get(project_id=project_id, id=key_id)

    async def revoke(self, project_id: str, key_id: str) -> None:
        """Delete a key; what it opened is closed.

        Raises:
            NotFoundError: There is none.
            ConflictError: It is the server's default key, which its configuration holds.
        """
        if (project_id, key_id) == (self._default_project_id, self._default_key_id):
            raise ConflictError("cannot delete the server's default key: change it in the server's configuration")
        async with self._changing:
            await self._store.api_keys.delete(project_id=project_id, id=key_id)
            await self._drop((project_id, key_id))

    async def _put(self, key: ApiKey) -> None:
        known = self._keys.get((key.project_id, key.id))
        if known == key:
            return
        if known is not None:
            self._forget(known)
        self._keys[key.project_id, key.id] = key
        self._by_digest.setdefault(_digest(key.secret), []).append(key)
        if key.created_by == SERVER:
            self._server_keys.setdefault(key.project_id, []).append(key)
        if known is not None and known.secret != key.secret:
            await self._report_revoked(known)

    async def _drop(self, ids: KeyIds) -> None:
        if (key := self._keys.get(ids)) is not None:
            self._forget(key)
            await self._report_revoked(key)

    def _forget(self, key: ApiKey) -> None:
        del self._keys[key.project_id, key.id]
        _remove(self._by_digest, _digest(key.secret), key)
        if key.created_by == SERVER:
            _remove(self._server_keys, key.project_id, key)

    async def _report_revoked(self, key: ApiKey) -> None:
        try:
            await self._on_revoked(key.project_id, key.id)
        except RoomException:
            log.exception("could not close the connections of the revoked key %s", key.id)


async def seed_identity(store: AccountsStore, identity: ServerIdentity) -> None:
    """Write the server's default project and key to the database where they are missing or differ."""
    async with store.database.transaction() as connection:
        if await store.projects.find(within=connection, id=identity.project_id) is None:
            await store.projects.add(Project(id=identity.project_id, name="default"), within=connection)
        wanted = ApiKey(
            id=identity.key_id,
            project_id=identity.project_id,
            name="default",
            description="The key that the server made at its first start, or was configured with.",
            secret=identity.secret,
        )
        keys = {"project_id": wanted.project_id, "id": wanted.id}
        kept = await store.api_keys.find(within=connection, **keys)
        if kept is None:
            await store.api_keys.add(wanted, within=connection)
        elif kept != replace(kept, secret=wanted.secret):
            await store.api_keys.update({"secret": wanted.secret}, within=connection, **keys)


def _remove(index: dict[_IndexT, list[ApiKey]], entry: _IndexT, key: ApiKey) -> None:
    index[entry].remove(key)
    if not index[entry]:
        del index[entry]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()  # headers hold any bytes
