"""The outbox of webhooks in SQLite."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from meshagent.api.errors import LimitExceededError, NotFoundError, UnavailableError
from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.outbox import FINISHED, LONGEST_WAIT, Attempt, Delivery, DeliveryOutbox, Outcome, RoomRun

__all__ = ["SqliteOutbox"]

log = logging.getLogger(__name__)

_COLUMNS: Final = (
    "id, project, webhook, room, event, data, size, at, outcome, place, attempts, resends, status, error, due, expires,"
    " updated"
)
_INSERT: Final = f"INSERT INTO webhook_deliveries ({_COLUMNS}) VALUES ({', '.join('?' * 17)})"  # noqa: S608 - constants
_SELECT: Final = f"SELECT {_COLUMNS} FROM webhook_deliveries"  # noqa: S608 - constants
_READY: Final = "outcome IN ('waiting', 'retrying')"
_PENDING: Final = "outcome IN ('held', 'waiting', 'retrying')"
_GIVEN_UP: Final = "outcome IN ('dropped', 'abandoned', 'failed')"
"""Deliveries that were given up, maybe while they were posted: an answer that then arrives still counts."""
_BACKLOG: Final = "webhook_deliveries INDEXED BY webhook_deliveries_pending"
"""The pending deliveries, to be used with `_READY`. SQLite would rather read all deliveries of a webhook."""
_HEADS: Final = f"SELECT room, min(place), due FROM {_BACKLOG} WHERE webhook = ?1 AND {_READY} GROUP BY room"  # noqa: S608 - constants
"""The first pending delivery of each room: the others wait for it."""
_DUE: Final = f"""SELECT {_COLUMNS} FROM {_BACKLOG} WHERE webhook = ?1 AND {_READY}
    AND room NOT IN (SELECT room FROM ({_HEADS}) WHERE due > ?2 AND due <= ?3) ORDER BY place LIMIT ?4"""  # noqa: S608 - constants
_NEXT_DUE: Final = f"SELECT min(due) FROM ({_HEADS})"  # noqa: S608 - constants
_TOTALS: Final = f"SELECT count(*), coalesce(sum(size), 0) FROM {_BACKLOG} WHERE webhook = ? AND {_READY}"  # noqa: S608 - constants
_OLDEST: Final = f"SELECT {_COLUMNS} FROM {_BACKLOG} WHERE webhook = ? AND {_READY} ORDER BY place"  # noqa: S608 - constants
_RETRY_SECONDS: Final = 1.0
_PRUNE_ROWS: Final = 500
_SLACK: Final = 20
"""Bounds are checked after each twentieth part of them, because counting takes time: they are exceeded by 5 %."""

Operation = Callable[[sqlite3.Connection], Any]


class SqliteOutbox(DeliveryOutbox):
    """`DeliveryOutbox` in the database of a `CommitLog` opened with `ROOM_MIGRATIONS`.

    Args:
        log: The database; writes of one moment become durable together.
        max_pending: Deliveries that may be pending for one webhook; then its oldest are dropped.
        max_pending_bytes: The same for the sizes of their data.
        max_finished: Finished deliveries that are kept for one webhook.
    """

    def __init__(
        self, log: CommitLog, *, max_pending: int = 10_000, max_pending_bytes: int = 2**24, max_finished: int = 1000
    ) -> None:
        self._log = log
        self._max_pending = max_pending
        self._max_pending_bytes = max_pending_bytes
        self._max_finished = max_finished
        self._place = 0
        self._uncounted: Counter[str] = Counter()  # used by the writer thread only, as is the next
        self._uncounted_bytes: Counter[str] = Counter()

    # --- writes that are waited for ------------------------------------------------------------------

    async def recover(self, at: datetime) -> Sequence[RoomRun]:
        def write(connection: sqlite3.Connection) -> tuple[int, list[RoomRun]]:
            (place,) = connection.execute("SELECT coalesce(max(place), 0) FROM webhook_deliveries").fetchone()
            held = connection.execute("SELECT number FROM webhook_deliveries WHERE outcome = 'held' ORDER BY number")
            for (number,) in held.fetchall():
                place += 1
                connection.execute(
                    "UPDATE webhook_deliveries SET outcome = 'waiting', place = ?, updated = ? WHERE number = ?",
                    (place, _milliseconds(at), number),
                )
            rows = connection.execute("SELECT session, project, room FROM webhook_runs ORDER BY rowid").fetchall()
            runs = [RoomRun(session_id=session, project_id=project, room_name=room) for session, project, room in rows]
            return place, runs

        self._place, runs = await self._log.submit(write)
        return runs

    async def add(self, deliveries: Sequence[Delivery], runs: Sequence[RoomRun] = ()) -> Sequence[Delivery]:
        rows = [self._row(delivery) for delivery in deliveries]

        def write(connection: sqlite3.Connection) -> list[Delivery]:
            for run in runs:
                connection.execute(
                    "INSERT OR IGNORE INTO webhook_runs (session, project, room) VALUES (?, ?, ?)",
                    (run.session_id, run.project_id, run.room_name),
                )
            return self._insert(connection, rows)

        return await self._log.submit(write, size=sum(len(delivery.data) for delivery in deliveries))

    async def end_run(self, session_id: str, deliveries: Sequence[Delivery], at: datetime) -> Sequence[Delivery]:
        rows = [self._row(delivery) for delivery in deliveries]

        def write(connection: sqlite3.Connection) -> list[Delivery]:
            connection.execute("DELETE FROM webhook_runs WHERE session = ?", (session_id,))
            return self._insert(connection, rows)

        return await self._log.submit(write, size=sum(len(delivery.data) for delivery in deliveries))

    async def resend(self, ids: Sequence[str], at: datetime, expires_at: datetime) -> None:
        moment, expires = _milliseconds(at), _milliseconds(expires_at)
        places = [self._next_place() for _ in ids]

        def write(connection: sqlite3.Connection) -> None:
            for delivery_id, place in zip(ids, places, strict=True):
                again = connection.execute(
                    "UPDATE webhook_deliveries SET outcome = 'waiting', place = ?, due = ?, expires = ?, updated = ?,"
                    " attempts = 0, resends = resends + 1 WHERE id = ?"
                    " AND outcome IN ('delivered', 'failed', 'dropped', 'abandoned')",
                    (place, moment, expires, moment, delivery_id),
                ).rowcount
                if not again:
                    connection.execute(
                        f"UPDATE webhook_deliveries SET due = ? WHERE id = ? AND {_READY}",  # noqa: S608 - a constant
                        (moment, delivery_id),
                    )

        await self._log.submit(write)

    async def prune(self, at: datetime, finished_before: datetime) -> Sequence[Delivery]:
        await self._log.submit(lambda connection: _remove_old(connection, _milliseconds(finished_before)))
        await self._log.submit(lambda connection: _remove_surplus(connection, self._max_finished))
        return await self._log.submit(lambda connection: _expire(connection, _milliseconds(at)))

    # --- writes that nobody needs to wait for --------------------------------------------------------

    def release(self, ids: Sequence[str], at: datetime) -> asyncio.Future[None]:
        moment, place = _milliseconds(at), self._next_place()

        def write(connection: sqlite3.Connection) -> None:
            for delivery_id in ids:
                connection.execute(
                    "UPDATE webhook_deliveries SET outcome = 'waiting', place = ?, at = ?, updated = ?"
                    " WHERE id = ? AND outcome = 'held'",
                    (place, moment, moment, delivery_id),
                )

        return self._write(write)

    def cancel(self, ids: Sequence[str], session_id: str | None = None) -> asyncio.Future[None]:
        def write(connection: sqlite3.Connection) -> None:
            for delivery_id in ids:
                connection.execute("DELETE FROM webhook_deliveries WHERE id = ? AND outcome = 'held'", (delivery_id,))
            connection.execute("DELETE FROM webhook_runs WHERE session = ?", (session_id,))

        return self._write(write)

    def record(self, attempt: Attempt) -> asyncio.Future[None]:
        values = (
            attempt.outcome,
            attempt.attempts,
            attempt.status,
            attempt.error,
            _milliseconds(attempt.due_at),
            _milliseconds(attempt.at),
            attempt.id,
            attempt.outcome,
        )
        statement = (
            "UPDATE webhook_deliveries SET outcome = ?, attempts = ?, status = ?, error = ?, due = ?, updated = ?"  # noqa: S608 - a constant
            f" WHERE id = ? AND ({_READY} OR {_GIVEN_UP} AND ? = 'delivered')"
        )
        return self._write(lambda connection: connection.execute(statement, values))

    def abandon(self, webhook_id: str, error: str, at: datetime) -> asyncio.Future[None]:
        statement = (
            "UPDATE webhook_deliveries SET outcome = 'abandoned', error = ?, updated = ?"  # noqa: S608 - a constant
            f" WHERE webhook = ? AND {_READY}"
        )
        values = (error, _milliseconds(at), webhook_id)
        return self._write(lambda connection: connection.execute(statement, values))

    def forget(self, webhook_id: str) -> asyncio.Future[None]:
        statement = "DELETE FROM webhook_deliveries WHERE webhook = ?"
        return self._write(lambda connection: connection.execute(statement, (webhook_id,)))

    # --- reads ---------------------------------------------------------------------------------------

    async def due(self, webhook_id: str, at: datetime, limit: int) -> Sequence[Delivery]:
        return await self._select(_DUE, (webhook_id, _milliseconds(at), _milliseconds(at + LONGEST_WAIT), limit))

    async def next_due(self, webhook_id: str) -> datetime | None:
        def read(connection: sqlite3.Connection) -> int | None:
            return cast("int | None", connection.execute(_NEXT_DUE, (webhook_id,)).fetchone()[0])

        found = await self._log.read(read)
        return None if found is None else _datetime(found)

    async def pending_webhooks(self) -> Sequence[tuple[str, str]]:
        query = f"SELECT DISTINCT project, webhook FROM {_BACKLOG} WHERE {_READY}"  # noqa: S608 - a constant
        return await self._log.read(lambda connection: connection.execute(query).fetchall())

    async def page(
        self, project_id: str, webhook_id: str, *, outcomes: Sequence[Outcome] = (), limit: int, offset: int
    ) -> Sequence[Delivery]:
        wanted = outcomes or ("waiting", "retrying", *FINISHED)
        query = (
            f"{_SELECT} WHERE project = ? AND webhook = ? AND outcome IN ({', '.join('?' * len(wanted))})"
            " ORDER BY number DESC LIMIT ? OFFSET ?"
        )
        return await self._select(query, (project_id, webhook_id, *wanted, limit, offset))

    async def get(self, project_id: str, webhook_id: str, delivery_id: str) -> Delivery:
        query = f"{_SELECT} WHERE project = ? AND webhook = ? AND id = ? AND outcome != 'held'"
        found = await self._select(query, (project_id, webhook_id, delivery_id))
        if not found:
            raise NotFoundError("there is no such delivery")
        return found[0]

    # --- helpers -------------------------------------------------------------------------------------

    async def _select(self, query: str, values: tuple[object, ...]) -> list[Delivery]:
        rows = await self._log.read(lambda connection: connection.execute(query, values).fetchall())
        return [_delivery(row) for row in rows]

    def _next_place(self) -> int:
        self._place += 1
        return self._place

    def _row(self, delivery: Delivery) -> tuple[object, ...]:
        return _values(delivery, 0 if delivery.outcome == "held" else self._next_place())

    def _insert(self, connection: sqlite3.Connection, rows: Sequence[tuple[object, ...]]) -> list[Delivery]:
        connection.executemany(_INSERT, rows)
        for row in rows:
            webhook, size = cast("str", row[2]), cast("int", row[6])
            self._uncounted[webhook] += 1
            self._uncounted_bytes[webhook] += size
        dropped: list[Delivery] = []
        for webhook in dict.fromkeys(cast("str", row[2]) for row in rows):
            count_due = self._uncounted[webhook] > self._max_pending // _SLACK
            if count_due or self._uncounted_bytes[webhook] > self._max_pending_bytes // _SLACK:
                self._uncounted.pop(webhook)
                self._uncounted_bytes.pop(webhook)
                held = [cast("int", row[6]) for row in rows if row[2] == webhook and row[8] == "held"]
                dropped += self._drop_surplus(connection, webhook, held)
        return dropped

    def _drop_surplus(self, connection: sqlite3.Connection, webhook: str, held: Sequence[int]) -> list[Delivery]:
        """Drop the oldest deliveries of a webhook that has too many; `held` are sizes of new ones that will follow."""
        count, size = connection.execute(_TOTALS, (webhook,)).fetchone()
        too_many = count + len(held) - self._max_pending
        too_large = size + sum(held) - self._max_pending_bytes
        if too_many <= 0 and too_large <= 0:
            return []
        dropped: list[Delivery] = []
        for row in connection.execute(_OLDEST, (webhook,)):
            if too_many <= 0 and too_large <= 0:
                break
            dropped.append(_delivery(row))
            too_many -= 1
            too_large -= row[6]
        error = f"dropped: more than {self._max_pending} events or {self._max_pending_bytes} bytes were waiting"
        connection.executemany(
            "UPDATE webhook_deliveries SET outcome = 'dropped', error = ? WHERE id = ?",
            [(error, delivery.id) for delivery in dropped],
        )
        return dropped

    def _write(self, operation: Operation) -> asyncio.Future[None]:
        """Submit a write, again and again until the disk takes it; cancelled if the store is closed before."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._try_write(operation, written)
        return written

    def _try_write(self, operation: Operation, written: asyncio.Future[None]) -> None:
        loop = asyncio.get_running_loop()

        def settle(submitted: asyncio.Future[Any]) -> None:
            error = submitted.exception()
            if isinstance(error, StoreFailedError):
                loop.call_later(_RETRY_SECONDS, self._try_write, operation, written)
                return
            if error is not None:
                log.error("could not write to the outbox of webhooks", exc_info=error)
            if not written.done():
                written.set_result(None)

        try:
            self._log.submit(operation).add_done_callback(settle)
        except LimitExceededError:
            loop.call_later(_RETRY_SECONDS, self._try_write, operation, written)
        except UnavailableError:
            written.cancel()


def _remove_old(connection: sqlite3.Connection, before: int) -> None:
    connection.execute(
        "DELETE FROM webhook_deliveries WHERE number IN (SELECT number FROM webhook_deliveries"  # noqa: S608 - a constant
        f" WHERE NOT {_PENDING} AND updated < ? ORDER BY number LIMIT {_PRUNE_ROWS})",
        (before,),
    )


def _remove_surplus(connection: sqlite3.Connection, most: int) -> None:
    counts = f"SELECT webhook, count(*) FROM webhook_deliveries WHERE NOT {_PENDING} GROUP BY webhook"  # noqa: S608 - a constant
    for webhook, count in connection.execute(f"{counts} HAVING count(*) > ?", (most,)).fetchall():
        connection.execute(
            "DELETE FROM webhook_deliveries WHERE number IN (SELECT number FROM webhook_deliveries"  # noqa: S608 - a constant
            f" WHERE webhook = ? AND NOT {_PENDING} ORDER BY number LIMIT ?)",
            (webhook, count - most),
        )


def _expire(connection: sqlite3.Connection, at: int) -> list[Delivery]:
    query = f"SELECT {_COLUMNS} FROM {_BACKLOG} WHERE {_READY} AND expires < ? LIMIT {_PRUNE_ROWS}"  # noqa: S608 - constants
    expired = [_delivery(row) for row in connection.execute(query, (at,))]
    connection.executemany(
        "UPDATE webhook_deliveries SET outcome = 'failed', error = coalesce(error, '') || ?, updated = ? WHERE id = ?",
        [(" (given up: too old)" if delivery.error else "given up: too old", at, delivery.id) for delivery in expired],
    )
    return expired


def _values(delivery: Delivery, place: int) -> tuple[object, ...]:
    return (
        delivery.id,
        delivery.project_id,
        delivery.webhook_id,
        delivery.room_name,
        delivery.event,
        delivery.data,
        len(delivery.data),
        _milliseconds(delivery.created_at),
        delivery.outcome,
        place,
        delivery.attempts,
        delivery.resends,
        delivery.status,
        delivery.error,
        _milliseconds(delivery.due_at),
        _milliseconds(delivery.expires_at),
        _milliseconds(delivery.updated_at),
    )


def _delivery(row: Sequence[Any]) -> Delivery:
    return Delivery(
        id=row[0],
        project_id=row[1],
        webhook_id=row[2],
        room_name=row[3],
        event=row[4],
        data=row[5],
        created_at=_datetime(row[7]),
        outcome=row[8],
        attempts=row[10],
        resends=row[11],
        status=row[12],
        error=row[13],
        due_at=_datetime(row[14]),
        expires_at=_datetime(row[15]),
        updated_at=_datetime(row[16]),
    )


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _datetime(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
