"""API keys in the database, with a version that tells other servers what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from meshagent.server.accounts import schema
from meshagent.server.accounts.database import Database
from meshagent.server.accounts.record_table import RecordTable
from meshagent.server.accounts.records import ApiKey

_KEYS: Final = schema.api_keys
_COUNTERS: Final = schema.change_counters
_IS_OURS: Final = _COUNTERS.c.name == "api_keys"

KeyIds = tuple[str, str]
"""Project id and key id."""


class KeysState(NamedTuple):
    """Differs from an earlier one if keys were added, changed or removed since, by whichever server."""

    version: int
    key_count: int


class ApiKeyTable(RecordTable[ApiKey]):
    """API keys of all projects.

    Every change takes the next number of a counter, whose row stays locked until the change is committed. Numbers
    therefore become visible in order: whoever has seen one has seen all changes before it.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database, _KEYS, ApiKey, "API key")

    async def state(self) -> KeysState:
        """What to compare with an earlier state. One small query, however many keys there are."""
        query = select(
            select(_COUNTERS.c.value).where(_IS_OURS).scalar_subquery(),
            select(func.count()).select_from(_KEYS).scalar_subquery(),  # also finds the keys of a deleted project
        )
        async with self._database.transaction() as connection:
            version, key_count = (await connection.execute(query)).one()
        return KeysState(version, key_count)

    async def changed_since(self, version: int) -> Sequence[ApiKey]:
        """The keys that were added or changed after a version."""
        return await self._select(_KEYS.c.version > version)

    async def all_ids(self) -> set[KeyIds]:
        """The ids of all keys; no secret is read."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(select(_KEYS.c.project_id, _KEYS.c.id))
        return {(project_id, key_id) for project_id, key_id in rows}

    async def add(self, record: ApiKey, *, within: AsyncConnection | None = None) -> None:
        async with self._transaction(within) as connection:
            version = await self._next_version(connection)
            await super().add(replace(record, version=version), within=connection)

    async def update(self, values: dict[str, Any], *, within: AsyncConnection | None = None, **keys: Any) -> None:
        async with self._transaction(within) as connection:
            version = await self._next_version(connection)
            await super().update(values | {"version": version}, within=connection, **keys)

    async def delete(self, *, within: AsyncConnection | None = None, **keys: Any) -> None:
        async with self._transaction(within) as connection:
            await self._next_version(connection)
            await super().delete(within=connection, **keys)

    async def _next_version(self, connection: AsyncConnection) -> int:
        statement = update(_COUNTERS).where(_IS_OURS).values(value=_COUNTERS.c.value + 1).returning(_COUNTERS.c.value)
        version: int = (await connection.execute(statement)).scalar_one()
        return version
