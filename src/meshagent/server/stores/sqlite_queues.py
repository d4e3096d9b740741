"""Queue store in SQLite."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.server.stores.commit_log import CommitLog, Handler, Refused
from meshagent.server.stores.errors import CorruptDataError
from meshagent.server.stores.queues import DEFAULT_WINDOW, HeldMessage, QueueStore, StoredMessage, StoredQueue
from meshagent.server.stores.sqlite_queue_states import (
    Hold,
    Move,
    OnceMessage,
    append_once,
    finish_messages,
    held_messages,
    hold_messages,
    make_ready,
    move_messages,
    set_aside,
    was_sent,
)
from meshagent.server.stores.sqlite_schema import in_chunks, insert_rows

__all__ = ["SqliteQueueStore"]

log = logging.getLogger(__name__)

_WINDOW_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _OpenQueue:
    """A queue in use; `size` includes messages not yet on disk, and is used on the room's loop only."""

    name: str
    size: int


class SqliteQueueStore(QueueStore):
    """`QueueStore` in the database of a `CommitLog` opened with `ROOM_MIGRATIONS`; make it with `open_store`.

    Times in the database are those of the wall clock `now`, in seconds.
    """

    def __init__(self, log: CommitLog, *, first_message_id: int, now: Callable[[], float] = time.time) -> None:
        self._log = log
        self._now = now
        self._message_ids: Iterator[int] = itertools.count(first_message_id)
        self._open: dict[int, _OpenQueue] = {}
        self._insert: Handler[tuple[int, int, bytes], int] = _insert_messages
        self._remove: Handler[tuple[int, frozenset[int]], int] = _remove_messages
        self._hold: Handler[Hold, int] = hold_messages
        self._ready: Handler[tuple[int, tuple[int, ...]], int] = make_ready
        self._finish: Handler[tuple[int, int], int] = finish_messages
        self._move: Handler[Move, int] = move_messages
        self._once: Handler[OnceMessage, int] = append_once

    @classmethod
    async def open_store(cls, log: CommitLog, *, now: Callable[[], float] = time.time) -> SqliteQueueStore:
        """The queues in the database of `log`, which must be open."""
        newest = await log.read(_newest_message_id)
        return cls(log, first_message_id=newest + 1, now=now)

    async def open(
        self, room: str, name: str, *, create: bool = True, window: int = DEFAULT_WINDOW
    ) -> StoredQueue | None:
        now = self._milliseconds()
        found = await self._log.submit(lambda connection: _open_queue(connection, room, name, create, now))
        if found is None:
            return None
        queue_id, size, size_bytes, held = found
        queue = self._open.setdefault(queue_id, _OpenQueue(name, size))
        head = await self._load(queue_id, 0, window)
        size = queue.size - len(held)
        return StoredQueue(queue_id=queue_id, size=size, size_bytes=size_bytes, head=tuple(head), held=held)

    async def load(self, queue_id: int, *, after: int = 0, count: int = DEFAULT_WINDOW) -> list[StoredMessage]:
        return await self._load(queue_id, after, count)

    async def _load(self, queue_id: int, after: int, count: int) -> list[StoredMessage]:
        while True:
            messages, damaged = await self._log.read(lambda connection: _load(connection, queue_id, after, count))
            if damaged:
                await self._set_aside(queue_id, damaged)
            if messages or not damaged:
                return messages

    async def _set_aside(self, queue_id: int, damaged: Sequence[int]) -> None:
        now = self._milliseconds()
        queue = self._open.get(queue_id)
        error = CorruptDataError(
            f"{len(damaged)} damaged messages of queue {queue.name if queue else queue_id!r} were set aside in the"
            f" table queue_damaged: {', '.join(map(str, damaged[:20]))}"
        )
        log.error("%s", error)
        self._log.health.report_failure("queue messages", error)
        await self._log.submit(lambda connection: set_aside(connection, queue_id, damaged, now))
        if queue is not None:
            queue.size -= len(damaged)

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)

    def next_message_id(self) -> int:
        return next(self._message_ids)

    def append(self, queue_id: int, body: bytes, *, limit: int) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        if queue.size >= limit:
            raise LimitExceededError(f"the queue {queue.name!r} is full", limit=limit)
        return self._add(queue, queue_id, StoredMessage(self.next_message_id(), body))

    def append_once(
        self, queue_id: int, body: bytes, *, limit: int, delay: float = 0, deduplication_id: str | None = None
    ) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        if queue.size >= limit:
            raise LimitExceededError(f"the queue {queue.name!r} is full", limit=limit)
        item = OnceMessage(
            queue_id, self.next_message_id(), bytes(body), self._milliseconds(), int(delay * 1000), deduplication_id
        )
        future = self._log.submit_item(self._once, item, size=len(body), settle=partial(_added, queue))
        queue.size += 1
        return future

    async def was_sent(self, queue_id: int, deduplication_id: str) -> bool:
        now = self._milliseconds()
        return await self._log.read(lambda connection: was_sent(connection, queue_id, deduplication_id, now))

    def hold(self, queue_id: int, message_id: int, *, lease: str, attempts: int, seconds: float) -> asyncio.Future[int]:
        duration = int(seconds * 1000)
        item = Hold(queue_id, message_id, lease, attempts, self._milliseconds() + duration, duration)
        return self._log.submit_item(self._hold, item)

    def make_ready(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        return self._log.submit_item(self._ready, (queue_id, tuple(message_ids)))

    def finish(self, queue_id: int, message_id: int) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        return self._log.submit_item(self._finish, (queue_id, message_id), settle=partial(_removed, queue))

    def move(self, queue_id: int, message_id: int, *, to: int) -> asyncio.Future[int]:
        item = Move(queue_id, message_id, to, self.next_message_id())
        return self._log.submit_item(self._move, item, settle=partial(_moved, self._queue(queue_id), self._queue(to)))

    def restore(self, queue_id: int, message: StoredMessage) -> asyncio.Future[int]:
        restored = self._add(self._queue(queue_id), queue_id, message)
        if message.attempts:
            self._log.submit_item(
                self._hold, Hold(queue_id, message.message_id, "", message.attempts, None, 0)
            ).add_done_callback(_ignore)
        return restored

    def remove(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        return self._log.submit_item(
            self._remove, (queue_id, frozenset(message_ids)), settle=partial(_removed, self._queue(queue_id))
        )

    async def sizes(self, room: str) -> dict[str, int]:
        def read(connection: sqlite3.Connection) -> dict[str, int]:
            rows = connection.execute(
                "SELECT q.name, (SELECT count(*) FROM queue_messages WHERE queue = q.id)"
                " - (SELECT count(*) FROM queue_states WHERE queue = q.id AND due IS NOT NULL)"
                " FROM queues AS q WHERE q.room = ? ORDER BY q.id",
                (room,),
            )
            return dict(cast("list[tuple[str, int]]", rows.fetchall()))

        return await self._log.read(read)

    async def drain(self, queue_id: int) -> int:
        queue = self._queue(queue_id)
        return await self._log.submit_item(_drain_queues, queue_id, settle=partial(_removed, queue))

    async def delete(self, queue_id: int) -> None:
        queue = self._queue(queue_id)
        del self._open[queue_id]
        try:
            await asyncio.shield(self._log.submit(lambda connection: _delete_queue(connection, queue_id)))
        except Exception:
            self._open.setdefault(queue_id, queue)  # still stored: the caller can try again
            raise

    async def delete_room(self, room: str) -> None:
        def write(connection: sqlite3.Connection) -> list[int]:
            rows = connection.execute("SELECT id FROM queues WHERE room = ?", (room,)).fetchall()
            for (queue_id,) in rows:
                _delete_queue(connection, queue_id)
            return [queue_id for (queue_id,) in rows]

        for queue_id in await self._log.submit(write):
            self._open.pop(queue_id, None)

    def _queue(self, queue_id: int) -> _OpenQueue:
        try:
            return self._open[queue_id]
        except KeyError:
            raise NotFoundError("the queue was deleted or never opened") from None

    def _add(self, queue: _OpenQueue, queue_id: int, message: StoredMessage) -> asyncio.Future[int]:
        body = bytes(message.body)
        future = self._log.submit_item(
            self._insert,
            (queue_id, message.message_id, body),
            size=len(body),
            settle=partial(_added, queue),
        )
        queue.size += 1
        return future


def _added(queue: _OpenQueue, outcome: int | Exception) -> None:
    if isinstance(outcome, Exception) or not outcome:
        queue.size -= 1


def _moved(queue: _OpenQueue, to: _OpenQueue, outcome: int | Exception) -> None:
    if not isinstance(outcome, Exception) and outcome:
        queue.size -= 1
        to.size += 1


def _ignore(done: asyncio.Future[int]) -> None:
    """A failure to note attempts is no failure to store the message."""
    if not done.cancelled():
        done.exception()


def _removed(queue: _OpenQueue, outcome: int | Exception) -> None:
    if not isinstance(outcome, Exception):
        queue.size -= outcome


# --- inside the transaction ---


def _insert_messages(connection: sqlite3.Connection, items: Sequence[tuple[int, int, bytes]]) -> list[int | Refused]:
    present = {queue_id: _exists(connection, queue_id) for queue_id in {item[0] for item in items}}
    rows = [(queue, message, zlib.crc32(body), body) for queue, message, body in items if present[queue]]
    insert_rows(connection, "queue_messages", rows)
    return [
        message if present[queue] else Refused(NotFoundError("the queue was deleted")) for queue, message, _ in items
    ]


def _remove_messages(
    connection: sqlite3.Connection, items: Sequence[tuple[int, frozenset[int]]]
) -> list[int | Refused]:
    asked: dict[int, set[int]] = {}
    for queue, messages in items:
        asked.setdefault(queue, set()).update(messages)
    there = {queue: _take(connection, queue, sorted(messages)) for queue, messages in asked.items()}
    outcomes: list[int | Refused] = []
    for queue, messages in items:
        taken = there[queue] & messages
        there[queue] -= taken  # a second removal of the same message finds nothing
        outcomes.append(len(taken))
    return outcomes


def _take(connection: sqlite3.Connection, queue: int, messages: Sequence[int]) -> set[int]:
    """Remove those of the messages that are there, and say which they were."""
    there: set[int] = set()
    for chunk in in_chunks(messages):
        where = f"queue = ? AND id IN ({', '.join('?' * len(chunk))})"
        # All ids in one row, for the reason given at `insert_rows`.
        (found,) = connection.execute(
            f"SELECT group_concat(id) FROM queue_messages WHERE {where}",  # noqa: S608 - place holders only
            (queue, *chunk),
        ).fetchone()
        there.update(map(int, found.split(",") if found else ()))
        connection.execute(f"DELETE FROM queue_messages WHERE {where}", (queue, *chunk))  # noqa: S608 - place holders only
    return there


def _drain_queues(connection: sqlite3.Connection, queue_ids: Sequence[int]) -> list[int | Refused]:
    for queue_id in queue_ids:
        connection.execute("DELETE FROM queue_states WHERE queue = ?", (queue_id,))
    return [
        connection.execute("DELETE FROM queue_messages WHERE queue = ?", (queue_id,)).rowcount for queue_id in queue_ids
    ]


def _open_queue(
    connection: sqlite3.Connection, room: str, name: str, create: bool, now: int
) -> tuple[int, int, int, tuple[HeldMessage, ...]] | None:
    """Id, number of messages, bytes of those that can be received, and held messages."""
    row = connection.execute("SELECT id FROM queues WHERE room = ? AND name = ?", (room, name)).fetchone()
    if row is None:
        if not create:
            return None
        made = connection.execute("INSERT INTO queues (room, name) VALUES (?, ?)", (room, name))
        return cast("int", made.lastrowid), 0, 0, ()
    size, size_bytes = connection.execute(
        "SELECT count(*), coalesce(sum(length(body)), 0) FROM queue_messages WHERE queue = ?", row
    ).fetchone()
    held = held_messages(connection, row[0], now)
    return cast("int", row[0]), size, size_bytes - sum(message.size for message in held), held


def _delete_queue(connection: sqlite3.Connection, queue_id: int) -> None:
    for table in ("queue_messages", "queue_states", "queue_deduplication", "queue_damaged"):
        connection.execute(f"DELETE FROM {table} WHERE queue = ?", (queue_id,))  # noqa: S608 - constants
    connection.execute("DELETE FROM queues WHERE id = ?", (queue_id,))


def _exists(connection: sqlite3.Connection, queue_id: int) -> bool:
    return connection.execute("SELECT 1 FROM queues WHERE id = ?", (queue_id,)).fetchone() is not None


def _newest_message_id(connection: sqlite3.Connection) -> int:
    (newest,) = connection.execute(
        "SELECT max((SELECT max(id) FROM queue_messages WHERE queue = q.id)) FROM queues AS q"
    ).fetchone()
    return cast("int", newest or 0)


def _load(
    connection: sqlite3.Connection, queue_id: int, after: int, count: int
) -> tuple[list[StoredMessage], list[int]]:
    """Messages that can be received, and the ids of damaged ones among them."""
    messages: list[StoredMessage] = []
    damaged: list[int] = []
    loaded_bytes = 0
    rows = connection.execute(
        "SELECT m.id, m.crc, m.body, s.attempts FROM queue_messages AS m"
        " LEFT JOIN queue_states AS s ON s.queue = m.queue AND s.id = m.id"
        " WHERE m.queue = ? AND m.id > ? AND s.due IS NULL ORDER BY m.id LIMIT ?",
        (queue_id, after, count),
    )
    for message_id, crc, body, attempts in rows:
        if not isinstance(body, bytes) or zlib.crc32(body) != crc:
            damaged.append(message_id)
            continue
        messages.append(StoredMessage(message_id, body, attempts or 0))
        loaded_bytes += len(body)
        if loaded_bytes >= _WINDOW_BYTES:
            break
    return messages, damaged
