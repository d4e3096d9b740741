"""Port of the document log: each document's CRDT history, as a snapshot and the updates after it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

__all__ = ["DocumentInfo", "DocumentLogStore", "StoredDocument"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentInfo:
    """What a listing shows of one document.

    Attributes:
        path: Normalised path in its room.
        incarnation: Identifies this document; one created later at the same path has another number.
        updated_at: Time of the newest update or snapshot, timezone-aware.
        stored_bytes: Size of the snapshot and the updates after it.
    """

    path: str
    incarnation: int
    schema_name: str
    created_at: datetime
    updated_at: datetime
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDocument:
    """A complete document: applying `snapshot`, then `updates` in order, gives its state.

    Attributes:
        snapshot: One update that holds everything up to and including `snapshot_seq`; None if never written.
        snapshot_seq: Sequence number the snapshot covers, 0 without one.
        updates: The updates `snapshot_seq + 1 …`, without a gap.
    """

    path: str
    incarnation: int
    schema_name: str
    schema_json: str
    snapshot: bytes | None
    snapshot_seq: int
    updates: tuple[bytes, ...]
    created_at: datetime

    @property
    def last_seq(self) -> int:
        """Sequence number of the newest update; the next one gets the number after it."""
        return self.snapshot_seq + len(self.updates)


class DocumentLogStore(Protocol):
    """Documents of all rooms, by room key and normalised path; an open document is named by its incarnation.

    Writes are applied in the order of the calls, and reads see every earlier write.
    `tests/server/stores/test_document_log_contract.py` specifies the behavior of every adapter.
    """

    async def load(self, room: str, path: str) -> StoredDocument | None:
        """The complete document at `path`, or None.

        Raises:
            CorruptDataError: A part is missing or damaged.
            StoreFailedError: The disk could not be read.
        """
        ...

    async def stat(self, room: str, path: str) -> DocumentInfo | None:
        """What a listing shows of the document at `path`, or None."""
        ...

    async def list_documents(self, room: str) -> list[DocumentInfo]:
        """All documents of the room, by path."""
        ...

    async def create(
        self, room: str, path: str, *, schema_name: str, schema_json: str, state: bytes | None = None
    ) -> StoredDocument:
        """Create a document, with `state` as its first update if given.

        Raises:
            AlreadyExistsError: There is a document at `path`.
            StoreFailedError: It may not be stored.
        """
        ...

    def append(self, incarnation: int, update: bytes) -> asyncio.Future[int]:
        """Add one update; the future gives its sequence number once it is durable.

        Cancelling the future does not undo the update. After a failure later updates may be stored without
        this one: keep the document loaded, and repair the log with `write_snapshot` of the whole state.

        Raises:
            LimitExceededError: At once: too many writes are waiting for the disk. Nothing was stored.
            NotFoundError: From the future: this incarnation was deleted.
            StoreFailedError: From the future: the update may not be stored.
        """
        ...

    async def write_snapshot(self, incarnation: int, state: bytes, *, upto_seq: int) -> None:
        """Replace everything up to and including `upto_seq` by `state`, in one step.

        Args:
            state: One update that holds at least what the replaced ones hold.
            upto_seq: Newest sequence number in `state`; updates after it stay.

        Raises:
            NotFoundError: This incarnation was deleted.
            ConflictError: `upto_seq` is older than the current snapshot, or was never assigned.
            StoreFailedError: It may not be stored; the older history is still there.
        """
        ...

    async def move(self, room: str, source: str, destination: str) -> None:
        """Move a document; it keeps its incarnation and history.

        Raises:
            NotFoundError: No document at `source`.
            AlreadyExistsError: There is one at `destination`.
        """
        ...

    async def delete(self, room: str, path: str) -> None:
        """Remove a document and its history; appends to its incarnation fail from now on.

        Raises:
            NotFoundError: No document at `path`.
        """
        ...

    async def delete_room(self, room: str) -> None:
        """Remove every document of the room."""
        ...
