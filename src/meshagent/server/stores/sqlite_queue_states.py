"""Messages of queues that are leased, delayed, moved, deduplicated or damaged: what runs inside the transaction."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.server.stores.commit_log import Refused
from meshagent.server.stores.queues import DEDUPLICATION_SECONDS, MAX_DEDUPLICATION_IDS, HeldMessage

__all__ = [
    "Hold",
    "Move",
    "OnceMessage",
    "append_once",
    "finish_messages",
    "held_messages",
    "hold_messages",
    "make_ready",
    "move_messages",
    "set_aside",
    "was_sent",
]

_WINDOW_MILLISECONDS: Final = DEDUPLICATION_SECONDS * 1000


@dataclass(frozen=True, slots=True)
class Hold:
    """Hold a message until `due`, or with `due` None note its attempts only. Times are milliseconds."""

    queue: int
    message: int
    lease: str
    attempts: int
    due: int | None
    duration: int


@dataclass(frozen=True, slots=True)
class OnceMessage:
    """A message with a delay, a deduplication id, or both. Times are milliseconds."""

    queue: int
    message: int
    body: bytes
    now: int
    delay: int
    key: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """Give a message another queue and id."""

    queue: int
    message: int
    to: int
    new_id: int


def hold_messages(connection: sqlite3.Connection, items: Sequence[Hold]) -> list[int | Refused]:
    return [_hold(connection, item) for item in items]


def _hold(connection: sqlite3.Connection, item: Hold) -> int:
    return connection.execute(
        "INSERT INTO queue_states (queue, id, lease, attempts, due, duration)"
        " SELECT queue, id, ?, ?, ?, ? FROM queue_messages WHERE queue = ? AND id = ?"
        " ON CONFLICT (queue, id) DO UPDATE SET lease = excluded.lease, attempts = excluded.attempts,"
        " due = excluded.due, duration = excluded.duration",
        (item.lease, item.attempts, item.due, item.duration, item.queue, item.message),
    ).rowcount


def make_ready(connection: sqlite3.Connection, items: Sequence[tuple[int, tuple[int, ...]]]) -> list[int | Refused]:
    return [sum(_make_ready(connection, queue, message) for message in messages) for queue, messages in items]


def _make_ready(connection: sqlite3.Connection, queue: int, message: int) -> int:
    unattempted = connection.execute(
        "DELETE FROM queue_states WHERE queue = ? AND id = ? AND due IS NOT NULL AND attempts = 0", (queue, message)
    ).rowcount
    attempted = connection.execute(
        "UPDATE queue_states SET due = NULL, lease = '' WHERE queue = ? AND id = ? AND due IS NOT NULL",
        (queue, message),
    ).rowcount
    return unattempted + attempted


def finish_messages(connection: sqlite3.Connection, items: Sequence[tuple[int, int]]) -> list[int | Refused]:
    outcomes: list[int | Refused] = []
    for item in items:
        outcomes.append(connection.execute("DELETE FROM queue_messages WHERE queue = ? AND id = ?", item).rowcount)
        connection.execute("DELETE FROM queue_states WHERE queue = ? AND id = ?", item)
    return outcomes


def move_messages(connection: sqlite3.Connection, items: Sequence[Move]) -> list[int | Refused]:
    return [_move(connection, item) for item in items]


def _move(connection: sqlite3.Connection, item: Move) -> int | Refused:
    if connection.execute("SELECT 1 FROM queues WHERE id = ?", (item.to,)).fetchone() is None:
        return Refused(NotFoundError("the queue was deleted"))
    moved = connection.execute(
        "UPDATE queue_messages SET queue = ?, id = ? WHERE queue = ? AND id = ?",
        (item.to, item.new_id, item.queue, item.message),
    ).rowcount
    connection.execute("DELETE FROM queue_states WHERE queue = ? AND id = ?", (item.queue, item.message))
    return item.new_id if moved else 0


def append_once(connection: sqlite3.Connection, items: Sequence[OnceMessage]) -> list[int | Refused]:
    return [_append_once(connection, item) for item in items]


def _append_once(connection: sqlite3.Connection, item: OnceMessage) -> int | Refused:
    if connection.execute("SELECT 1 FROM queues WHERE id = ?", (item.queue,)).fetchone() is None:
        return Refused(NotFoundError("the queue was deleted"))
    if item.key is not None:
        refused = _remember(connection, item.queue, item.key, item.now)
        if refused is not None:
            return refused
    connection.execute(
        "INSERT INTO queue_messages VALUES (?, ?, ?, ?)", (item.queue, item.message, zlib.crc32(item.body), item.body)
    )
    if item.delay:
        _hold(connection, Hold(item.queue, item.message, "", 0, item.now + item.delay, item.delay))
    return item.message


def _remember(connection: sqlite3.Connection, queue: int, key: str, now: int) -> int | Refused | None:
    """Remember a deduplication id; 0 if it is known. A time in the future was written before the clock was set back."""
    connection.execute(
        "DELETE FROM queue_deduplication WHERE queue = ? AND (at <= ? OR at > ?)",
        (queue, now - _WINDOW_MILLISECONDS, now + _WINDOW_MILLISECONDS),
    )
    if was_sent(connection, queue, key, now):
        return 0
    (count,) = connection.execute("SELECT count(*) FROM queue_deduplication WHERE queue = ?", (queue,)).fetchone()
    if count >= MAX_DEDUPLICATION_IDS:
        return Refused(LimitExceededError("too many deduplication ids of this queue", limit=MAX_DEDUPLICATION_IDS))
    connection.execute("INSERT INTO queue_deduplication VALUES (?, ?, ?)", (queue, key, now))
    return None


def was_sent(connection: sqlite3.Connection, queue: int, key: str, now: int) -> bool:
    """Whether a deduplication id is remembered, and not too old."""
    known = connection.execute(
        "SELECT 1 FROM queue_deduplication WHERE queue = ? AND key = ? AND at > ? AND at <= ?",
        (queue, key, now - _WINDOW_MILLISECONDS, now + _WINDOW_MILLISECONDS),
    ).fetchone()
    return known is not None


def held_messages(connection: sqlite3.Connection, queue: int, now: int) -> tuple[HeldMessage, ...]:
    """The messages that are held, with the time that they stay so: at most what they were held for."""
    rows = connection.execute(
        "SELECT s.id, s.lease, s.attempts, s.due, s.duration, length(m.body) FROM queue_states AS s"
        " JOIN queue_messages AS m ON m.queue = s.queue AND m.id = s.id WHERE s.queue = ? AND s.due IS NOT NULL",
        (queue,),
    ).fetchall()
    return tuple(
        HeldMessage(message_id, lease, attempts, min(max(due - now, 0), duration) / 1000, size)
        for message_id, lease, attempts, due, duration, size in cast("list[tuple[int, str, int, int, int, int]]", rows)
    )


def set_aside(connection: sqlite3.Connection, queue: int, messages: Sequence[int], now: int) -> int:
    """Take damaged messages out of their queue, and keep what is left of them."""
    for message in messages:
        connection.execute(
            "INSERT OR REPLACE INTO queue_damaged SELECT queue, id, crc, body, ? FROM queue_messages"
            " WHERE queue = ? AND id = ?",
            (now, queue, message),
        )
        finish_messages(connection, [(queue, message)])
    return len(messages)
