"""Queue store in SQLite."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.server.stores.commit_log import CommitLog, Handler, Refused
from meshagent.server.stores.errors import CorruptDataError
from meshagent.server.stores.queues import DEFAULT_WINDOW, QueueStore, StoredMessage, StoredQueue
from meshagent.server.stores.sqlite_schema import in_chunks, insert_rows

__all__ = ["SqliteQueueStore"]

_WINDOW_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class _OpenQueue:
    """A queue in use; `size` includes messages not yet on disk, and is used on the room's loop only."""

    name: str
    size: int


class SqliteQueueStore(QueueStore):
    """`QueueStore` in the database of a `CommitLog` opened with `ROOM_MIGRATIONS`; make it with `open_store`."""

    def __init__(self, log: CommitLog, *, first_message_id: int) -> None:
        self._log = log
        self._message_ids: Iterator[int] = itertools.count(first_message_id)
        self._open: dict[int, _OpenQueue] = {}
        self._insert: Handler[tuple[int, int, bytes], int] = _insert_messages
        self._remove: Handler[tuple[int, frozenset[int]], int] = _remove_messages

    @classmethod
    async def open_store(cls, log: CommitLog) -> SqliteQueueStore:
        """The queues in the database of `log`, which must be open."""
        newest = await log.read(_newest_message_id)
        return cls(log, first_message_id=newest + 1)

    async def open(
        self, room: str, name: str, *, create: bool = True, window: int = DEFAULT_WINDOW
    ) -> StoredQueue | None:
        found = await self._log.submit(lambda connection: _open_queue(connection, room, name, create))
        if found is None:
            return None
        queue_id, size = found
        queue = self._open.setdefault(queue_id, _OpenQueue(name, size))
        head = await self.load(queue_id, count=window)
        return StoredQueue(queue_id=queue_id, size=queue.size, head=tuple(head))

    async def load(self, queue_id: int, *, after: int = 0, count: int = DEFAULT_WINDOW) -> list[StoredMessage]:
        return await self._log.read(lambda connection: _load(connection, queue_id, after, count))

    def next_message_id(self) -> int:
        return next(self._message_ids)

    def append(self, queue_id: int, body: bytes, *, limit: int) -> asyncio.Future[int]:
        queue = self._queue(queue_id)
        if queue.size >= limit:
            raise LimitExceededError(f"the queue {queue.name!r} is full", limit=limit)
        return self._add(queue, queue_id, StoredMessage(self.next_message_id(), body))

    def restore(self, queue_id: int, message: StoredMessage) -> asyncio.Future[int]:
        return self._add(self._queue(queue_id), queue_id, message)

    def remove(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        return self._log.submit_item(
            self._remove, (queue_id, frozenset(message_ids)), settle=partial(_removed, self._queue(queue_id))
        )

    async def sizes(self, room: str) -> dict[str, int]:
        def read(connection: sqlite3.Connection) -> dict[str, int]:
            rows = connection.execute(
                "SELECT q.name, (SELECT count(*) FROM queue_messages WHERE queue = q.id)"
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
    if isinstance(outcome, Exception):
        queue.size -= 1


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
    return [
        connection.execute("DELETE FROM queue_messages WHERE queue = ?", (queue_id,)).rowcount for queue_id in queue_ids
    ]


def _open_queue(connection: sqlite3.Connection, room: str, name: str, create: bool) -> tuple[int, int] | None:
    row = connection.execute("SELECT id FROM queues WHERE room = ? AND name = ?", (room, name)).fetchone()
    if row is None:
        if not create:
            return None
        made = connection.execute("INSERT INTO queues (room, name) VALUES (?, ?)", (room, name))
        return cast("int", made.lastrowid), 0
    (size,) = connection.execute("SELECT count(*) FROM queue_messages WHERE queue = ?", row).fetchone()
    return cast("int", row[0]), cast("int", size)


def _delete_queue(connection: sqlite3.Connection, queue_id: int) -> None:
    connection.execute("DELETE FROM queue_messages WHERE queue = ?", (queue_id,))
    connection.execute("DELETE FROM queues WHERE id = ?", (queue_id,))


def _exists(connection: sqlite3.Connection, queue_id: int) -> bool:
    return connection.execute("SELECT 1 FROM queues WHERE id = ?", (queue_id,)).fetchone() is not None


def _newest_message_id(connection: sqlite3.Connection) -> int:
    (newest,) = connection.execute(
        "SELECT max((SELECT max(id) FROM queue_messages WHERE queue = q.id)) FROM queues AS q"
    ).fetchone()
    return cast("int", newest or 0)


def _load(connection: sqlite3.Connection, queue_id: int, after: int, count: int) -> list[StoredMessage]:
    messages: list[StoredMessage] = []
    loaded_bytes = 0
    rows = connection.execute(
        "SELECT id, crc, body FROM queue_messages WHERE queue = ? AND id > ? ORDER BY id LIMIT ?",
        (queue_id, after, count),
    )
    for message_id, crc, body in rows:
        if not isinstance(body, bytes) or zlib.crc32(body) != crc:
            raise CorruptDataError(f"message {message_id} of a queue is damaged: its checksum does not match")
        messages.append(StoredMessage(message_id, body))
        loaded_bytes += len(body)
        if loaded_bytes >= _WINDOW_BYTES:
            break
    return messages
