"""What participants used of the models: written in batches, summed up by day, and read for budgets and reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Column, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from meshagent.api.errors import RoomException, UnavailableError
from meshagent.server.accounts import schema
from meshagent.server.accounts.database import Database
from meshagent.server.accounts.record_table import Page

__all__ = ["BILLIONTH", "Grouping", "ModelUsage", "ModelUse", "Spender", "Spent"]

log = logging.getLogger(__name__)

BILLIONTH: Final = 1_000_000_000
"""Costs are whole billionths of the currency."""

Grouping = Literal["day", "room", "participant", "model"]
Spender = tuple[str, ...]
"""Who spends: `("token", project, key, participant)`, `("room", project, room)` or `("project", project)`."""

_MAX_NAME_BYTES: Final = 255
_MAX_ROOM_BYTES: Final = 1020
_MAX_WAITING: Final = 10_000
_WRITE_PATIENCE: Final = 10.0
_RETRY_INTERVAL: Final = 1.0
_FOLLOW_INTERVAL: Final = 10.0
_PRUNE_INTERVAL: Final = 3600.0
_KEY: Final = ("project_id", "day", "room_name", "key_id", "participant", "model")
_SUMS: Final = (
    "requests",
    "estimated_requests",
    "unpriced_requests",
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "cost",
)
_COLUMNS: Final = (*_KEY, *_SUMS)
_ADD: Final = text(
    f"INSERT INTO model_usage ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"  # noqa: S608 - constants
    f" ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET "
    + ", ".join(f"{name} = model_usage.{name} + excluded.{name}" for name in _SUMS)
)
_GROUP_COLUMNS: Final[dict[Grouping, tuple[Column[str], ...]]] = {
    "day": (schema.model_usage.c.day,),
    "room": (schema.model_usage.c.room_name,),
    "participant": (schema.model_usage.c.key_id, schema.model_usage.c.participant),
    "model": (schema.model_usage.c.model,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUse:
    """One request that a model answered.

    Attributes:
        cost: Billionths of the currency; None if the model has no price.
        is_estimate: Whether the provider did not say how many tokens it was.
    """

    project_id: str
    room_name: str
    key_id: str
    participant: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cost: int | None = None
    is_estimate: bool = False

    def spenders(self) -> tuple[Spender, ...]:
        """On whose budgets it counts."""
        return spenders(self.project_id, self.room_name, self.key_id, self.participant)


@dataclass(slots=True)
class Spent:
    """Tokens, and cost in billionths of the currency."""

    tokens: int = 0
    cost: int = 0


def spenders(project_id: str, room_name: str, key_id: str, participant: str) -> tuple[Spender, ...]:
    """The token, the room and the project of a request, each as the key of its sums."""
    token = ("token", project_id, clean_name(key_id), clean_name(participant))
    return token, ("room", project_id, clean_name(room_name, _MAX_ROOM_BYTES)), ("project", project_id)


def clean_name(name: str, limit: int = _MAX_NAME_BYTES) -> str:
    """A name as it is stored: at most so many bytes, because an index holds it, and nothing that a database refuses."""
    cleaned = name.encode("utf-8", "replace").replace(b"\0", b"?")
    return cleaned[:limit].decode("utf-8", "ignore")


@dataclass(slots=True)
class _Sums:
    """What was spent in the day and month of `day`, by spender."""

    day: date
    of_day: dict[Spender, Spent] = field(default_factory=dict)
    of_month: dict[Spender, Spent] = field(default_factory=dict)

    def roll_over(self, today: date) -> None:
        if today == self.day:
            return
        self.of_day = {}
        if (today.year, today.month) != (self.day.year, self.day.month):
            self.of_month = {}
        self.day = today

    def add(self, spender: Spender, tokens: int, cost: int, *, to_day: bool, to_month: bool = True) -> None:
        for sums, wanted in ((self.of_day, to_day), (self.of_month, to_month)):
            if wanted:
                spent = sums.setdefault(spender, Spent())
                spent.tokens += tokens
                spent.cost += cost


class ModelUsage:
    """The use of models, in the accounts database.

    Args:
        database: Where it is kept.
        keep_days: Days after which it is removed.
        follow: Whether `spent_today` and `spent_this_month` are asked for: only then the sums are kept in memory.
        now: The time, in UTC.
    """

    def __init__(
        self,
        database: Database,
        *,
        keep_days: int,
        follow: bool,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._keep_days = keep_days
        self._follow = follow
        self._now = now
        self._sums = _Sums(self.today())
        self._waiting: list[tuple[date, ModelUse, asyncio.Future[None]]] = []
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what was spent so far, and begin to write."""
        if self._follow:
            await self._read_sums()
        self._wake.set()  # prunes at once
        self._task = asyncio.create_task(self._run(), name="model usage")

    async def close(self) -> None:
        """Write what waits, and stop."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.flush()
        except UnavailableError:
            log.error("the use of models by %d requests could not be written", len(self._waiting))

    def today(self) -> date:
        """The day that counts, in UTC."""
        return self._now().date()

    def next_day(self) -> float:
        """Seconds until the next day begins."""
        now = self._now()
        return (datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC) - now).total_seconds()

    def next_month(self) -> float:
        """Seconds until the next month begins."""
        now = self._now()
        first = (now.date().replace(day=1) + timedelta(days=32)).replace(day=1)
        return (datetime.combine(first, datetime.min.time(), UTC) - now).total_seconds()

    def check_writable(self) -> None:
        """Refuse new requests while too many cannot be written.

        Raises:
            UnavailableError: The database has not worked for long.
        """
        if len(self._waiting) >= _MAX_WAITING:
            raise UnavailableError("the use of models cannot be recorded: the accounts database does not work")

    def add(self, use: ModelUse) -> asyncio.Future[None]:
        """Count a request; the future is done when it is durable."""
        today = self.today()
        if self._follow:
            self._sums.roll_over(today)
            for spender in use.spenders():
                self._sums.add(spender, use.input_tokens + use.output_tokens, use.cost or 0, to_day=True)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((today, use, stored))
        self._wake.set()
        return stored

    async def record(self, use: ModelUse) -> None:
        """Count a request, and return when it is durable.

        While the database does not work, return after 10 seconds: the write is tried again later.
        """
        stored = self.add(use)
        try:
            await asyncio.wait_for(asyncio.shield(stored), _WRITE_PATIENCE)
        except TimeoutError:
            log.error("the use of models is not written yet: the accounts database does not work")

    def spent_today(self, spender: Spender) -> Spent:
        """What a token, room or project spent since midnight."""
        self._sums.roll_over(self.today())
        return self._sums.of_day.get(spender, Spent())

    def spent_this_month(self, spender: Spender) -> Spent:
        """What a token, room or project spent since the first of the month."""
        self._sums.roll_over(self.today())
        return self._sums.of_month.get(spender, Spent())

    async def report(
        self, project_id: str, *, start: date, end: date, by: Sequence[Grouping], limit: int, offset: int
    ) -> Page[dict[str, Any]]:
        """Sums of a project from `start` to `end`, both included, grouped; without groups one row, or none.

        Rows have the columns of the groups and the sums; newest day first, then the most tokens.
        """
        await self.flush()
        kept = schema.model_usage.c
        columns = [column for group in by for column in _GROUP_COLUMNS[group]]
        sums = [func.sum(kept[name]).label(name) for name in _SUMS]
        tokens = func.sum(kept.input_tokens) + func.sum(kept.output_tokens)
        query = select(*columns, *sums).where(
            kept.project_id == project_id, kept.day >= start.isoformat(), kept.day <= end.isoformat()
        )
        query = query.having(func.count() > 0) if not columns else query.group_by(*columns)
        order = [*([kept.day.desc()] if "day" in by else []), tokens.desc(), *columns]
        query = query.order_by(*order).limit(limit + 1).offset(offset)
        async with self._database.transaction() as connection:
            rows = [dict(row) for row in (await connection.execute(query)).mappings()]
        for row in rows:
            row.update({name: int(row[name]) for name in _SUMS})  # PostgreSQL sums up to numeric
        return Page(rows[:limit], offset + limit if len(rows) > limit else None)

    async def prune(self) -> int:
        """Remove what is older than it is kept; returns how many rows."""
        oldest = (self.today() - timedelta(days=self._keep_days)).isoformat()
        async with self._database.transaction() as connection:
            return (
                await connection.execute(delete(schema.model_usage).where(schema.model_usage.c.day < oldest))
            ).rowcount

    async def flush(self) -> None:
        """Write all that waits now.

        Raises:
            UnavailableError: The database does not work; what waits goes on waiting.
        """
        async with self._writing:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await self._write_batch(batch)
                except BaseException:
                    self._waiting = [entry for entry in batch if not entry[2].done()] + self._waiting
                    raise

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_prune, next_read = loop.time(), loop.time() + _FOLLOW_INTERVAL
        follows_others = self._follow and self._database.is_shared
        while not self._stopping:
            timeout = _FOLLOW_INTERVAL if follows_others else _PRUNE_INTERVAL
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), timeout)
            self._wake.clear()
            try:
                await self.flush()
                if loop.time() >= next_prune:
                    next_prune = loop.time() + _PRUNE_INTERVAL
                    await self.prune()
                if follows_others and loop.time() >= next_read:
                    next_read = loop.time() + _FOLLOW_INTERVAL
                    await self._read_sums()
            except UnavailableError:
                self._wake.set()  # the database has reported it; the next round tries again
                await asyncio.sleep(_RETRY_INTERVAL)

    async def _write_batch(self, batch: list[tuple[date, ModelUse, asyncio.Future[None]]]) -> None:
        try:
            async with self._database.transaction() as connection:
                await _add_rows(connection, batch)
        except UnavailableError:
            raise
        except RoomException as error:  # an entry of a project that was deleted meanwhile spoils the others
            if len(batch) > 1:
                for entry in batch:
                    await self._write_batch([entry])
                return
            log.warning("dropped the use of a model: %s", error)
        for _, _, stored in batch:
            if not stored.done():
                stored.set_result(None)

    async def _read_sums(self) -> None:
        """What all servers on this database spent, for the budgets."""
        today = self.today()
        kept = schema.model_usage.c
        names = (kept.project_id, kept.room_name, kept.key_id, kept.participant, kept.day)
        query = (
            select(
                *names,
                func.sum(kept.input_tokens + kept.output_tokens).label("tokens"),
                func.sum(kept.cost).label("cost"),
            )
            .where(kept.day >= today.replace(day=1).isoformat())
            .group_by(*names)
        )
        async with self._writing:
            async with self._database.transaction() as connection:
                rows = (await connection.execute(query)).mappings().all()
            sums = _Sums(today)
            for row in rows:
                for spender in spenders(row["project_id"], row["room_name"], row["key_id"], row["participant"]):
                    sums.add(spender, int(row["tokens"]), int(row["cost"]), to_day=row["day"] == today.isoformat())
            for day, use, _ in self._waiting:  # not in the database yet
                for spender in use.spenders():
                    in_month = (day.year, day.month) == (today.year, today.month)
                    tokens = use.input_tokens + use.output_tokens
                    sums.add(spender, tokens, use.cost or 0, to_day=day == today, to_month=in_month)
            self._sums = sums


async def _add_rows(connection: AsyncConnection, batch: Sequence[tuple[date, ModelUse, object]]) -> None:
    """Add each use to its row; in the order of the rows, so that two servers cannot wait for each other."""
    rows: dict[tuple[str, ...], list[int]] = {}
    for day, use, _ in batch:
        key = (
            use.project_id,
            day.isoformat(),
            clean_name(use.room_name, _MAX_ROOM_BYTES),
            clean_name(use.key_id),
            clean_name(use.participant),
            clean_name(use.model),
        )
        sums = rows.setdefault(key, [0] * len(_SUMS))
        values = (
            1,
            int(use.is_estimate),
            int(use.cost is None),
            use.input_tokens,
            use.cached_input_tokens,
            use.output_tokens,
            use.cost or 0,
        )
        for index, value in enumerate(values):
            sums[index] += value
    await connection.execute(
        _ADD, [dict(zip(_COLUMNS, (*key, *sums), strict=True)) for key, sums in sorted(rows.items())]
    )
