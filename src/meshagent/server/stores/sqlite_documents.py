"""Document log in SQLite: an append-only table of updates, and one snapshot for each document."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import cast

from meshagent.api.errors import AlreadyExistsError, ConflictError, NotFoundError
from meshagent.server.stores.commit_log import CommitLog, Handler, Refused
from meshagent.server.stores.documents import DocumentInfo, DocumentLogStore, StoredDocument
from meshagent.server.stores.errors import CorruptDataError
from meshagent.server.stores.sqlite_schema import insert_rows

__all__ = ["SqliteDocumentLog"]

_REMEMBERED_DOCUMENTS = 100_000

_INFO = """
    SELECT d.path, d.id, d.schema_name, d.created_at,
        max(d.updated_at, coalesce(
            (SELECT at FROM document_updates WHERE document = d.id ORDER BY seq DESC LIMIT 1), 0)),
        coalesce((SELECT length(state) FROM document_snapshots WHERE document = d.id), 0)
        + coalesce((SELECT sum(length(content)) FROM document_updates WHERE document = d.id), 0)
    FROM documents AS d WHERE d.room = ?
"""


class SqliteDocumentLog(DocumentLogStore):
    """`DocumentLogStore` in the database of a `CommitLog` opened with `ROOM_MIGRATIONS`.

    Sequence numbers are assigned in the writer thread, without gaps, so that `load` detects a missing row; a CRC-32
    detects a damaged one.
    """

    def __init__(self, log: CommitLog, *, now: Callable[[], float] = time.time) -> None:
        self._log = log
        self._now = now
        self._last_seqs: dict[int, int] = {}  # used by the writer thread only
        self._insert: Handler[tuple[int, bytes], int] = self._insert_updates
        log.on_rollback(self._last_seqs.clear)

    async def load(self, room: str, path: str) -> StoredDocument | None:
        return await self._log.read(lambda connection: _load(connection, room, path))

    async def stat(self, room: str, path: str) -> DocumentInfo | None:
        def read(connection: sqlite3.Connection) -> DocumentInfo | None:
            row = connection.execute(f"{_INFO} AND d.path = ?", (room, path)).fetchone()
            return None if row is None else _info(row)

        return await self._log.read(read)

    async def list_documents(self, room: str) -> list[DocumentInfo]:
        def read(connection: sqlite3.Connection) -> list[DocumentInfo]:
            rows = connection.execute(f"{_INFO} ORDER BY d.path", (room,))
            return [_info(row) for row in rows]

        return await self._log.read(read)

    async def create(
        self, room: str, path: str, *, schema_name: str, schema_json: str, state: bytes | None = None
    ) -> StoredDocument:
        first = None if state is None else bytes(state)

        def write(connection: sqlite3.Connection) -> StoredDocument:
            if _find(connection, room, path) is not None:
                raise AlreadyExistsError(f"document {path!r} already exists")
            at = self._milliseconds()
            inserted = connection.execute(
                "INSERT INTO documents (room, path, schema_name, schema_json, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (room, path, schema_name, schema_json, at, at),
            )
            incarnation = cast("int", inserted.lastrowid)
            if first is not None:
                insert_rows(connection, "document_updates", [(incarnation, 1, at, zlib.crc32(first), first)])
            return StoredDocument(
                path=path,
                incarnation=incarnation,
                schema_name=schema_name,
                schema_json=schema_json,
                snapshot=None,
                snapshot_seq=0,
                updates=() if first is None else (first,),
                created_at=_datetime(at),
            )

        return await self._log.submit(write, size=len(schema_json) + len(first or b""))

    def append(self, incarnation: int, update: bytes) -> asyncio.Future[int]:
        update = bytes(update)
        return self._log.submit_item(self._insert, (incarnation, update), size=len(update))

    async def write_snapshot(self, incarnation: int, state: bytes, *, upto_seq: int) -> None:
        state = bytes(state)

        def write(connection: sqlite3.Connection) -> None:
            last_seq = self._last_seq(connection, incarnation)
            if last_seq is None:
                raise NotFoundError("the document was deleted")
            (snapshot_seq,) = connection.execute(
                "SELECT snapshot_seq FROM documents WHERE id = ?", (incarnation,)
            ).fetchone()
            if not snapshot_seq <= upto_seq <= last_seq:
                raise ConflictError(f"snapshot sequence {upto_seq} is outside the log, {snapshot_seq} to {last_seq}")
            connection.execute(
                "INSERT OR REPLACE INTO document_snapshots (document, state) VALUES (?, ?)",
                (incarnation, state),
            )
            connection.execute("DELETE FROM document_updates WHERE document = ? AND seq <= ?", (incarnation, upto_seq))
            connection.execute(
                "UPDATE documents SET snapshot_seq = ?, snapshot_crc = ?, updated_at = ? WHERE id = ?",
                (upto_seq, zlib.crc32(state), self._milliseconds(), incarnation),
            )

        await self._log.submit(write, size=len(state))

    async def move(self, room: str, source: str, destination: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            incarnation = _find(connection, room, source)
            if incarnation is None:
                raise NotFoundError(f"document {source!r} not found")
            if _find(connection, room, destination) is not None:
                raise AlreadyExistsError(f"document {destination!r} already exists")
            connection.execute("UPDATE documents SET path = ? WHERE id = ?", (destination, incarnation))

        await self._log.submit(write)

    async def delete(self, room: str, path: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            incarnation = _find(connection, room, path)
            if incarnation is None:
                raise NotFoundError(f"document {path!r} not found")
            self._forget(connection, incarnation)

        await self._log.submit(write)

    async def delete_room(self, room: str) -> None:
        def write(connection: sqlite3.Connection) -> None:
            rows = connection.execute("SELECT id FROM documents WHERE room = ?", (room,)).fetchall()
            for (incarnation,) in rows:
                self._forget(connection, incarnation)

        await self._log.submit(write)

    # --- the writer thread's part ---

    def _insert_updates(
        self, connection: sqlite3.Connection, items: Sequence[tuple[int, bytes]]
    ) -> list[int | Refused]:
        outcomes: list[int | Refused] = []
        rows: list[tuple[object, ...]] = []
        at = self._milliseconds()
        for incarnation, update in items:
            last_seq = self._last_seq(connection, incarnation)
            if last_seq is None:
                outcomes.append(Refused(NotFoundError("the document was deleted")))
                continue
            seq = self._last_seqs[incarnation] = last_seq + 1
            rows.append((incarnation, seq, at, zlib.crc32(update), update))
            outcomes.append(seq)
        insert_rows(connection, "document_updates", rows)
        return outcomes

    def _last_seq(self, connection: sqlite3.Connection, incarnation: int) -> int | None:
        """Newest sequence number of a document, None if it was deleted."""
        last_seq = self._last_seqs.get(incarnation)
        if last_seq is not None:
            return last_seq
        row = connection.execute(
            "SELECT coalesce((SELECT max(seq) FROM document_updates WHERE document = d.id), d.snapshot_seq)"
            " FROM documents AS d WHERE d.id = ?",
            (incarnation,),
        ).fetchone()
        if row is None:
            return None
        if len(self._last_seqs) >= _REMEMBERED_DOCUMENTS:
            self._last_seqs.clear()
        self._last_seqs[incarnation] = cast("int", row[0])
        return self._last_seqs[incarnation]

    def _forget(self, connection: sqlite3.Connection, incarnation: int) -> None:
        self._last_seqs.pop(incarnation, None)
        connection.execute("DELETE FROM document_updates WHERE document = ?", (incarnation,))
        connection.execute("DELETE FROM document_snapshots WHERE document = ?", (incarnation,))
        connection.execute("DELETE FROM documents WHERE id = ?", (incarnation,))

    def _milliseconds(self) -> int:
        return int(self._now() * 1000)


def _find(connection: sqlite3.Connection, room: str, path: str) -> int | None:
    row = connection.execute("SELECT id FROM documents WHERE room = ? AND path = ?", (room, path)).fetchone()
    return None if row is None else cast("int", row[0])


def _load(connection: sqlite3.Connection, room: str, path: str) -> StoredDocument | None:
    row = connection.execute(
        "SELECT id, schema_name, schema_json, created_at, snapshot_seq, snapshot_crc"
        " FROM documents WHERE room = ? AND path = ?",
        (room, path),
    ).fetchone()
    if row is None:
        return None
    incarnation, schema_name, schema_json, created_at, snapshot_seq, snapshot_crc = row
    snapshot = _load_snapshot(connection, incarnation, path, snapshot_crc)
    if snapshot is None and snapshot_seq:
        raise CorruptDataError(f"document {path!r} is damaged: its snapshot is missing")
    updates = connection.execute(
        "SELECT seq, crc, content FROM document_updates WHERE document = ? ORDER BY seq", (incarnation,)
    )
    contents: list[bytes] = []
    for expected, (seq, crc, content) in enumerate(updates, start=snapshot_seq + 1):
        if seq != expected:
            raise CorruptDataError(f"document {path!r} is damaged: update {expected} is missing")
        contents.append(_verified(content, crc, path))
    return StoredDocument(
        path=path,
        incarnation=incarnation,
        schema_name=schema_name,
        schema_json=schema_json,
        snapshot=snapshot,
        snapshot_seq=snapshot_seq,
        updates=tuple(contents),
        created_at=_datetime(created_at),
    )


def _load_snapshot(connection: sqlite3.Connection, incarnation: int, path: str, crc: int | None) -> bytes | None:
    row = connection.execute("SELECT state FROM document_snapshots WHERE document = ?", (incarnation,)).fetchone()
    if row is None and crc is None:
        return None
    if row is None or crc is None:
        raise CorruptDataError(f"document {path!r} is damaged: its snapshot is missing")
    return _verified(row[0], crc, path)


def _verified(content: object, crc: int, path: str) -> bytes:
    if not isinstance(content, bytes) or zlib.crc32(content) != crc:
        raise CorruptDataError(f"document {path!r} is damaged: a checksum does not match")
    return content


def _info(row: tuple[str, int, str, int, int, int]) -> DocumentInfo:
    path, incarnation, schema_name, created_at, updated_at, stored_bytes = row
    return DocumentInfo(
        path=path,
        incarnation=incarnation,
        schema_name=schema_name,
        created_at=_datetime(created_at),
        updated_at=_datetime(updated_at),
        stored_bytes=stored_bytes,
    )


def _datetime(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
