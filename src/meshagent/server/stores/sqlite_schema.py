"""Schema of the room database, version by version, and the statements that write many rows at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final, TypeVar

__all__ = ["ROOM_MIGRATIONS", "in_chunks", "insert_rows"]

T = TypeVar("T")

ROOM_MIGRATIONS: Final = (
    (
        # The id of a document or queue is never reused (AUTOINCREMENT).
        """CREATE TABLE documents (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            room TEXT NOT NULL,
            path TEXT NOT NULL,
            schema_name TEXT NOT NULL,
            schema_json TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            updated_at INTEGER NOT NULL,
            snapshot_seq INTEGER NOT NULL DEFAULT 0,
            snapshot_crc INTEGER,
            UNIQUE (room, path)
        )""",
        "CREATE TABLE document_snapshots (document INTEGER PRIMARY KEY, state BLOB NOT NULL)",
        """CREATE TABLE document_updates (
            document INTEGER NOT NULL,
            seq INTEGER NOT NULL,
            at INTEGER NOT NULL,
            crc INTEGER NOT NULL,
            content BLOB NOT NULL,
            PRIMARY KEY (document, seq)
        ) WITHOUT ROWID""",
        """CREATE TABLE queues (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            room TEXT NOT NULL,
            name TEXT NOT NULL,
            UNIQUE (room, name)
        )""",
        """CREATE TABLE queue_messages (
            queue INTEGER NOT NULL,
            id INTEGER NOT NULL,
            crc INTEGER NOT NULL,
            body BLOB NOT NULL,
            PRIMARY KEY (queue, id)
        ) WITHOUT ROWID""",
    ),
    (
        # Only messages that are or were held have a row. `due` is null when the message can be received again.
        """CREATE TABLE queue_states (
            queue INTEGER NOT NULL,
            id INTEGER NOT NULL,
            lease TEXT NOT NULL,
            attempts INTEGER NOT NULL,
            due INTEGER,
            duration INTEGER NOT NULL,
            PRIMARY KEY (queue, id)
        ) WITHOUT ROWID""",
        """CREATE TABLE queue_deduplication (
            queue INTEGER NOT NULL,
            key TEXT NOT NULL,
            at INTEGER NOT NULL,
            PRIMARY KEY (queue, key)
        ) WITHOUT ROWID""",
        "CREATE INDEX queue_deduplication_by_time ON queue_deduplication (queue, at)",
        """CREATE TABLE queue_damaged (
            queue INTEGER NOT NULL,
            id INTEGER NOT NULL,
            crc INTEGER,
            body BLOB,
            at INTEGER NOT NULL,
            PRIMARY KEY (queue, id)
        ) WITHOUT ROWID""",
    ),
    (
        # `number` is the order in which deliveries were stored, `place` that in which what they tell has happened.
        """CREATE TABLE webhook_deliveries (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            project TEXT NOT NULL,
            webhook TEXT NOT NULL,
            room TEXT NOT NULL,
            event TEXT NOT NULL,
            data TEXT NOT NULL,
            size INTEGER NOT NULL,
            at INTEGER NOT NULL,
            outcome TEXT NOT NULL,
            place INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            resends INTEGER NOT NULL,
            status INTEGER,
            error TEXT,
            due INTEGER NOT NULL,
            expires INTEGER NOT NULL,
            updated INTEGER NOT NULL
        )""",
        """CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook, room, place, due, size)
            WHERE outcome IN ('waiting', 'retrying')""",
        "CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook, number)",
        """CREATE TABLE webhook_runs (
            session TEXT PRIMARY KEY,
            project TEXT NOT NULL,
            room TEXT NOT NULL
        )""",
    ),
)
"""Times are milliseconds since 1970 in UTC; `crc` is the CRC-32 of the content beside it."""

_CHUNKS: Final = (64, 8, 1)
"""Rows per statement: few different sizes, so that prepared statements are reused."""


def in_chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """The rows in order, in chunks of a few fixed sizes."""
    start = 0
    while start < len(rows):
        size = next(size for size in _CHUNKS if size <= len(rows) - start)
        yield rows[start : start + size]
        start += size


@cache
def _row_values(rows: int, columns: int) -> str:
    """Place holders for a VALUES clause."""
    row = f"({', '.join('?' * columns)})"
    return ", ".join([row] * rows)


def insert_rows(connection: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Insert full rows.

    Many rows go into one statement, because each statement releases and reacquires the GIL: beside a busy event loop
    that would be slower than the disk.
    """
    for chunk in in_chunks(rows):
        values = [value for row in chunk for value in row]
        connection.execute(f"INSERT INTO {table} VALUES {_row_values(len(chunk), len(chunk[0]))}", values)  # noqa: S608 - the table is a constant of this package
