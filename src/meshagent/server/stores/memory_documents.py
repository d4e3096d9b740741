"""Document log kept in memory: for tests and for rooms without persistence."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from meshagent.api.errors import AlreadyExistsError, ConflictError, NotFoundError
from meshagent.server.stores.documents import DocumentInfo, DocumentLogStore, StoredDocument

__all__ = ["MemoryDocumentLog"]


@dataclass(slots=True, kw_only=True)
class _Document:
    room: str
    path: str
    incarnation: int
    schema_name: str
    schema_json: str
    created_at: datetime
    updated_at: datetime
    snapshot: bytes | None = None
    snapshot_seq: int = 0
    updates: list[bytes] = field(default_factory=list)

    @property
    def last_seq(self) -> int:
        return self.snapshot_seq + len(self.updates)

    def stored(self) -> StoredDocument:
        return StoredDocument(
            path=self.path,
            incarnation=self.incarnation,
            schema_name=self.schema_name,
            schema_json=self.schema_json,
            snapshot=self.snapshot,
            snapshot_seq=self.snapshot_seq,
            updates=tuple(self.updates),
            created_at=self.created_at,
        )

    def info(self) -> DocumentInfo:
        return DocumentInfo(
            path=self.path,
            incarnation=self.incarnation,
            schema_name=self.schema_name,
            created_at=self.created_at,
            updated_at=self.updated_at,
            stored_bytes=len(self.snapshot or b"") + sum(map(len, self.updates)),
        )


class MemoryDocumentLog(DocumentLogStore):
    """`DocumentLogStore` without a disk; every write is done when the call returns."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._incarnations = itertools.count(1)
        self._by_path: dict[tuple[str, str], _Document] = {}
        self._by_incarnation: dict[int, _Document] = {}

    async def load(self, room: str, path: str) -> StoredDocument | None:
        document = self._by_path.get((room, path))
        return None if document is None else document.stored()

    async def stat(self, room: str, path: str) -> DocumentInfo | None:
        document = self._by_path.get((room, path))
        return None if document is None else document.info()

    async def list_documents(self, room: str) -> list[DocumentInfo]:
        found = [document.info() for document in self._by_path.values() if document.room == room]
        return sorted(found, key=lambda info: info.path)

    async def create(
        self, room: str, path: str, *, schema_name: str, schema_json: str, state: bytes | None = None
    ) -> StoredDocument:
        if (room, path) in self._by_path:
            raise AlreadyExistsError(f"document {path!r} already exists")
        now = self._now()
        document = _Document(
            room=room,
            path=path,
            incarnation=next(self._incarnations),
            schema_name=schema_name,
            schema_json=schema_json,
            created_at=now,
            updated_at=now,
            updates=[] if state is None else [bytes(state)],
        )
        self._by_path[room, path] = self._by_incarnation[document.incarnation] = document
        return document.stored()

    def append(self, incarnation: int, update: bytes) -> asyncio.Future[int]:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        document = self._by_incarnation.get(incarnation)
        if document is None:
            done.set_exception(NotFoundError("the document was deleted"))
            return done
        document.updates.append(bytes(update))
        document.updated_at = self._now()
        done.set_result(document.last_seq)
        return done

    async def write_snapshot(self, incarnation: int, state: bytes, *, upto_seq: int) -> None:
        document = self._by_incarnation.get(incarnation)
        if document is None:
            raise NotFoundError("the document was deleted")
        if not document.snapshot_seq <= upto_seq <= document.last_seq:
            raise ConflictError(f"snapshot sequence {upto_seq} is outside the log of {document.path!r}")
        del document.updates[: upto_seq - document.snapshot_seq]
        document.snapshot, document.snapshot_seq = bytes(state), upto_seq
        document.updated_at = self._now()

    async def move(self, room: str, source: str, destination: str) -> None:
        if (room, source) not in self._by_path:
            raise NotFoundError(f"document {source!r} not found")
        if (room, destination) in self._by_path:
            raise AlreadyExistsError(f"document {destination!r} already exists")
        document = self._by_path.pop((room, source))
        document.path = destination
        self._by_path[room, destination] = document

    async def delete(self, room: str, path: str) -> None:
        document = self._by_path.pop((room, path), None)
        if document is None:
            raise NotFoundError(f"document {path!r} not found")
        del self._by_incarnation[document.incarnation]

    async def delete_room(self, room: str) -> None:
        for key in [key for key in self._by_path if key[0] == room]:
            del self._by_incarnation[self._by_path.pop(key).incarnation]
