"""API keys: kept encrypted in the database, and opened in memory for the look-up at each join."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from meshagent.api.errors import ConflictError, RoomException
from meshagent.server.accounts.record_table import Page
from meshagent.server.accounts.records import ApiKey, Project
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.identity import ServerIdentity

log = logging.getLogger(__name__)

OnKeyRevoked = Callable[[str, str], None]
"""Told the project id and the id of a key that is good no more."""

SERVER = "server"
"""Creator of the keys that the server uses itself."""

_SECRET_BYTES = 32


class KeyRing:
    """All keys of the server.

    The database decides; the copy in memory is read at the start, after each change, and by `refresh`, which finds
    what other servers on the same database did.

    Args:
        store: Where keys are kept.
        default_project_id: The project of tokens that name none.
    """

    def __init__(self, store: AccountsStore, *, default_project_id: str, default_key_id: str) -> None:
        self._store = store
        self._default_project_id = default_project_id
        self._default_key_id = default_key_id
        self._keys: dict[tuple[str, str], ApiKey] = {}
        self._by_digest: dict[bytes, ApiKey] = {}
        self._changing = asyncio.Lock()  # else a refresh that read before a change would undo it
        self.on_revoked: OnKeyRevoked = lambda project_id, key_id: None

    def lookup(self, project_id: str | None, key_id: str) -> str | None:
        """The secret of a key, or None; from memory, as it is asked at each join."""
        key = self._keys.get((project_id or self._default_project_id, key_id))
        return None if key is None else key.secret

    def with_secret(self, secret: str) -> ApiKey | None:
        """The key that has this secret. What is compared is a digest, so that time tells nothing about secrets."""
        return self._by_digest.get(_digest(secret))

    async def refresh(self) -> None:
        """Read all keys again, and report those that are gone."""
        async with self._changing:
            self._replace({(key.project_id, key.id): key for key in await self._store.api_keys.every()})

    async def create(self, project_id: str, *, name: str, description: str, created_by: str | None) -> ApiKey:
        """A new key with a secret of its own.

        Raises:
            NotFoundError: There is no such project.
        """
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        key = ApiKey(project_id=project_id, name=name, description=description, secret=secret, created_by=created_by)
        async with self._changing:
            await self._store.api_keys.add(key)
            self._replace(self._keys | {(project_id, key.id): key})
        return key

    async def server_key(self, project_id: str) -> ApiKey:
        """The key with which the server signs tokens of its own for a project; made at first use.

        Raises:
            NotFoundError: There is no such project.
        """
        for key in self._keys.values():
            if key.project_id == project_id and key.created_by == SERVER:
                return key
        text = "Signs the tokens that the server issues; deleting it ends them."
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
            raise ConflictError("this key is the server's own; change it in the server's configuration")
        async with self._changing:
            await self._store.api_keys.remove(project_id=project_id, id=key_id)
            self._replace({ids: key for ids, key in self._keys.items() if ids != (project_id, key_id)})

    def _replace(self, keys: dict[tuple[str, str], ApiKey]) -> None:
        gone = [ids for ids, key in self._keys.items() if ids not in keys or keys[ids].secret != key.secret]
        self._keys = keys
        self._by_digest = {_digest(key.secret): key for key in keys.values()}
        for project_id, key_id in gone:
            try:
                self.on_revoked(project_id, key_id)
            except RoomException:
                log.exception("what the revoked key %s opened could not be closed", key_id)


async def seed_identity(store: AccountsStore, identity: ServerIdentity) -> None:
    """See that the server's default project and key are in the database, as its configuration has them."""
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
            await store.api_keys.change({"secret": wanted.secret}, within=connection, **keys)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()  # headers hold any bytes
