"""Session records: participants, events and end of each run, written in batches off the hot path."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from time import time
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Text, column, delete, func, insert, select, table, update
from sqlalchemy.ext.asyncio import AsyncConnection

from meshagent.api import jsontext
from meshagent.api.errors import RoomException, UnavailableError
from meshagent.server.accounts import schema
from meshagent.server.accounts.database import Database
from meshagent.server.accounts.record_table import Page
from meshagent.server.accounts.records import Session, SessionEvent, now
from meshagent.server.kernel.participant import Participant

log = logging.getLogger(__name__)

JOINED: Final = "room.participant_joined"
DROPPED: Final = "session.events_dropped"
_BATCH: Final = 1000
_EVENT_ROWS: Final = insert(
    table(
        "session_events",
        column("session_id", Text),
        column("at", BigInteger),
        column("type", Text),
        column("data", Text),
    )
)
"""The table as it is stored: its values are in their final form, so that nothing is done to each of many rows."""
_PRUNE_CHUNK: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of what is kept.

    Attributes:
        max_waiting: Entries that wait to be written while the database fails; then the oldest are dropped.
        max_events: Events of one session; later ones are dropped, and the record says so.
        max_events_per_type: The same for one type, so that calls do not crowd out what is rare. Joins are exempt,
            for they are counted.
        max_event_bytes: Data of one event as JSON; larger data is left out.
        max_sessions: Sessions of the server; the oldest that have ended are removed.
        keep_days: Age at which sessions that have ended are removed.
        write_interval: Seconds between batches.
        prune_interval: Seconds between removals.
    """

    max_waiting: int = 20_000
    max_events: int = 10_000
    max_events_per_type: int = 2_000
    max_event_bytes: int = 16 * 1024
    max_sessions: int = 100_000
    keep_days: float = 30.0
    write_interval: float = 1.0
    prune_interval: float = 3600.0


@dataclass(frozen=True, slots=True)
class _SessionEnd:
    session_id: str


@dataclass(frozen=True, slots=True)
class _Event:
    """An event as it is stored: milliseconds since 1970, JSON text."""

    session_id: str
    at: int
    type: str
    data: str


_Entry = Session | _Event | _SessionEnd


class SessionRecorder:
    """Writes the record of all rooms of this server.

    A crash loses the last fraction of a second of it: this is a log, not an acknowledgement.

    Args:
        database: Where sessions are kept.
        server: Names this server among those that share the database; the same at each start.
        limits: Bounds.
    """

    def __init__(self, database: Database, *, server: str, limits: SessionLimits | None = None) -> None:
        self._database = database
        self._server = server
        self.limits = limits or SessionLimits()
        self._waiting: deque[_Entry] = deque()
        self._lost = 0
        self._writing = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Close what a crash of this server left open, and begin to write."""
        left_open = schema.sessions.c.ended_at.is_(None) & (schema.sessions.c.server == self._server)
        async with self._database.transaction() as connection:
            await connection.execute(update(schema.sessions).where(left_open).values(ended_at=now()))
        self._task = asyncio.create_task(self._run(), name="session recorder")

    async def close(self) -> None:
        """Write what waits, and stop."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            await self.flush()
        except UnavailableError:
            log.warning("could not write %d entries of session records", len(self._waiting))

    def open(self, project_id: str, room_name: str, session_id: str) -> SessionLog:
        """The record of a run that starts now."""
        session = Session(id=session_id, project_id=project_id, room_name=room_name, server=self._server)
        self.put(session)
        return SessionLog(self, session_id)

    def put(self, entry: _Entry) -> None:
        """Queue an entry; never waits."""
        if len(self._waiting) >= self.limits.max_waiting:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(entry)

    async def flush(self) -> None:
        """Write all that waits now.

        Raises:
            UnavailableError: The database does not work; the entries go on waiting.
        """
        async with self._writing:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                try:
                    await self._write_batch(batch)
                except (UnavailableError, asyncio.CancelledError):
                    self._waiting.extendleft(reversed(batch))
                    raise
            if self._lost:
                log.warning("dropped %d entries of session records while the database was unavailable", self._lost)
                self._lost = 0

    async def prune(self) -> int:
        """Remove the sessions that are too old or too many; returns how many."""
        sessions = schema.sessions.c
        removed = await self._remove_where(sessions.created_at < now() - timedelta(days=self.limits.keep_days))
        newest = select(sessions.created_at).order_by(sessions.created_at.desc()).offset(self.limits.max_sessions)
        async with self._database.transaction() as connection:
            oldest_kept = (await connection.execute(newest.limit(1))).scalar_one_or_none()
        if oldest_kept is not None:
            removed += await self._remove_where(sessions.created_at <= oldest_kept)
        return removed

    async def _remove_where(self, condition: ColumnElement[bool]) -> int:
        """In small transactions, so that others need not wait long."""
        removed = 0
        chosen = select(schema.sessions.c.id).where(condition, schema.sessions.c.ended_at.is_not(None))
        while True:
            async with self._database.transaction() as connection:
                ids = list((await connection.execute(chosen.limit(_PRUNE_CHUNK))).scalars())
                await connection.execute(delete(schema.sessions).where(schema.sessions.c.id.in_(ids)))
            removed += len(ids)
            if len(ids) < _PRUNE_CHUNK:
                return removed

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_prune = loop.time()
        while not self._stopping.is_set():
            try:
                await self.flush()
                if loop.time() >= next_prune:
                    next_prune = loop.time() + self.limits.prune_interval
                    await self.prune()
            except UnavailableError:
                pass  # the database has reported it; the next round tries again
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self.limits.write_interval)

    async def _write_batch(self, batch: list[_Entry]) -> None:
        try:
            async with self._database.transaction() as connection:
                await self._write(connection, batch)
        except UnavailableError:
            raise
        except RoomException as error:  # an entry of a project that was deleted meanwhile spoils the others
            if len(batch) == 1:
                log.warning("dropped an entry of a session record: %s", error)
                return
            for entry in batch:
                await self._write_batch([entry])

    async def _write(self, connection: AsyncConnection, batch: list[_Entry]) -> None:
        sessions = [asdict(entry) for entry in batch if isinstance(entry, Session)]
        if sessions:
            await connection.execute(insert(schema.sessions), sessions)
        events = [entry for entry in batch if isinstance(entry, _Event)]
        if events:
            rows = [{"session_id": e.session_id, "at": e.at, "type": e.type, "data": e.data} for e in events]
            await connection.execute(_EVENT_ROWS, rows)
        runs = schema.sessions
        for session_id, joined in Counter(event.session_id for event in events if event.type == JOINED).items():
            more = update(runs).where(runs.c.id == session_id).values(participants=runs.c.participants + joined)
            await connection.execute(more)
        ended = [entry.session_id for entry in batch if isinstance(entry, _SessionEnd)]
        if ended:
            await connection.execute(update(runs).where(runs.c.id.in_(ended)).values(ended_at=now()))

    async def events(self, session_id: str, *, limit: int, offset: int) -> Page[SessionEvent]:
        """What happened in a session, in order."""
        await self.flush()
        kept = schema.session_events
        query = select(kept).where(kept.c.session_id == session_id).order_by(kept.c.number)
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query.limit(limit + 1).offset(offset))).mappings().all()
        found = [
            SessionEvent(session_id=session_id, at=row["at"], type=row["type"], data=row["data"])
            for row in rows[:limit]
        ]
        return Page(found, offset + limit if len(rows) > limit else None)

    async def usage(self, project_id: str) -> list[dict[str, Any]]:
        """For each room: its sessions, how many participants they had, and the seconds that the ended ones ran."""
        runs = schema.sessions.c
        seconds = func.coalesce(func.sum(func.coalesce(runs.ended_at, runs.created_at) - runs.created_at), 0)
        query = (
            select(
                runs.room_name,
                func.count().label("sessions"),
                func.coalesce(func.sum(runs.participants), 0).label("participants"),
                seconds.label("milliseconds"),
            )
            .where(runs.project_id == project_id)
            .group_by(runs.room_name)
            .order_by(runs.room_name)
        )
        async with self._database.transaction() as connection:
            rows = (await connection.execute(query)).all()
        return [
            {
                "room_name": row.room_name,
                "sessions": int(row.sessions),
                "participants": int(row.participants),
                "seconds": int(row.milliseconds) / 1000,
            }
            for row in rows
        ]


class SessionLog:
    """The record of one run, as a service of its room: what the room records goes in, and its end closes it."""

    def __init__(self, recorder: SessionRecorder, session_id: str) -> None:
        self._recorder = recorder
        self._session_id = session_id
        self._events: Counter[str] = Counter()
        self._kept = 0

    def record(self, entry_type: str, data: Mapping[str, Any]) -> None:
        """Keep an entry of the server's own."""
        limits = self._recorder.limits
        self._events[entry_type] += 1
        surplus = self._events[entry_type] - limits.max_events_per_type
        if surplus > 0 and entry_type != JOINED:
            if surplus == 1:
                self._put(DROPPED, {"type": entry_type, "max_events": limits.max_events_per_type})
            return
        self._kept += 1
        if self._kept > limits.max_events:
            if self._kept == limits.max_events + 1:
                self._put(DROPPED, {"max_events": limits.max_events})
            return
        self._put(entry_type, data)

    def left(self, participant: Participant) -> None:
        """Nothing: the room records who leaves."""

    async def close(self) -> None:
        """The run has ended."""
        self._recorder.put(_SessionEnd(self._session_id))

    def _put(self, entry_type: str, data: Mapping[str, Any]) -> None:
        text = jsontext.dumps(dict(data))
        if len(text) > self._recorder.limits.max_event_bytes:
            text = jsontext.dumps({"omitted_bytes": len(text)})
        self._recorder.put(_Event(self._session_id, int(time() * 1000), entry_type, text.decode()))
