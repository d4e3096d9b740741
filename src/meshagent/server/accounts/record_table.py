"""Records in tables: the few statements that every kind of record needs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import ColumnElement, RowMapping, Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from meshagent.api import jsontext
from meshagent.api.errors import NotFoundError
from meshagent.server.accounts.database import Database
from meshagent.server.accounts.records import Record

RecordT = TypeVar("RecordT", bound=Record)
EntryT = TypeVar("EntryT")

MAX_PAGE: Final = 1000


@dataclass(frozen=True, slots=True)
class Page(Generic[EntryT]):
    """Some of a list; `next_offset` is where the rest begins, None at the end."""

    entries: Sequence[EntryT]
    next_offset: int | None


class RecordTable(Generic[RecordT]):
    """The records of one table.

    Keys and filters are columns by name. `within` joins a transaction of the caller; without it each call is one.

    Args:
        database: Where the table is.
        table: Its columns have the names of the record's fields; sealed ones are encrypted here.
        record_type: The class of its records.
        noun: What one is called in errors.
    """

    NOT_NULL: Final = object()
    """As a filter: any value but null."""

    def __init__(self, database: Database, table: Table, record_type: type[RecordT], noun: str) -> None:
        self._database = database
        self._table = table
        self._record_type = record_type
        self._noun = noun
        self._names = [field.name for field in fields(record_type)]
        self._encrypted_columns = [column.name for column in table.columns if column.info.get("encrypted")]
        self._tie_break = list(table.primary_key.columns)

    async def add(self, record: RecordT, *, within: AsyncConnection | None = None) -> None:
        """Store a new record.

        Raises:
            AlreadyExistsError: A unique value is taken.
            NotFoundError: It refers to a record that does not exist.
        """
        values = {name: getattr(record, name) for name in self._names}
        async with self._transaction(within) as connection:
            await connection.execute(insert(self._table).values(self._encoded(values)))

    async def find(self, *, within: AsyncConnection | None = None, **keys: Any) -> RecordT | None:
        """The record with these values, or None."""
        async with self._transaction(within) as connection:
            row = (await connection.execute(select(self._table).where(*self._where(keys)))).mappings().first()
        return None if row is None else self._decoded(row)

    async def get(self, *, within: AsyncConnection | None = None, **keys: Any) -> RecordT:
        """The record with these values.

        Raises:
            NotFoundError: There is none.
        """
        record = await self.find(within=within, **keys)
        if record is None:
            raise self._missing()
        return record

    async def page(
        self, *, limit: int = MAX_PAGE, offset: int = 0, newest_first: bool = False, **filters: Any
    ) -> Page[RecordT]:
        """Some of the records, by creation."""
        created = self._table.columns["created_at"]
        order = [created.desc() if newest_first else created, *self._tie_break]
        query = select(self._table).where(*self._where(filters)).order_by(*order).limit(limit + 1).offset(offset)
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
        more = offset + limit if len(rows) > limit else None
        return Page([self._decoded(row) for row in rows[:limit]], more)

    async def all(self, **filters: Any) -> list[RecordT]:
        """All records, by creation; for kinds of which there are few."""
        return await self._select(*self._where(filters))

    async def _select(self, *conditions: ColumnElement[bool]) -> list[RecordT]:
        query = select(self._table).where(*conditions)
        query = query.order_by(self._table.columns["created_at"], *self._tie_break)
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [self._decoded(row) for row in rows]

    async def update(self, values: dict[str, Any], *, within: AsyncConnection | None = None, **keys: Any) -> None:
        """Give the record with these keys other values.

        Raises:
            NotFoundError: There is none.
            AlreadyExistsError: A unique value is taken.
        """
        statement = update(self._table).where(*self._where(keys)).values(self._encoded(values))
        async with self._transaction(within) as connection:
            changed = (await connection.execute(statement)).rowcount
        if not changed:
            raise self._missing()

    async def delete(self, *, within: AsyncConnection | None = None, **keys: Any) -> None:
        """Delete the record with these keys, and what belongs to it.

        Raises:
            NotFoundError: There is none.
        """
        async with self._transaction(within) as connection:
            removed = (await connection.execute(delete(self._table).where(*self._where(keys)))).rowcount
        if not removed:
            raise self._missing()

    def _transaction(self, within: AsyncConnection | None) -> Any:
        return self._database.transaction() if within is None else nullcontext(within)

    def _where(self, keys: dict[str, Any]) -> list[ColumnElement[bool]]:
        columns = self._table.columns
        return [
            columns[name].is_not(None) if value is self.NOT_NULL else columns[name] == value
            for name, value in keys.items()
        ]

    def _missing(self) -> NotFoundError:
        return NotFoundError(f"there is no such {self._noun}")

    def _encoded(self, values: dict[str, Any]) -> dict[str, Any]:
        sealed = {
            name: self._database.box.encrypt(jsontext.dumps(values[name]).decode())
            for name in self._encrypted_columns
            if values.get(name) is not None
        }
        return values | sealed

    def _decoded(self, row: RowMapping) -> RecordT:
        values = {name: row[name] for name in self._names}
        for name in self._encrypted_columns:
            if values[name] is not None:
                values[name] = jsontext.loads(self._database.box.decrypt(values[name]))
        return self._record_type(**values)
