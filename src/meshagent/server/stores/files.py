"""Port of the file store: the files and folders of a room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from meshagent.server.stores.conditions import ChangeCondition

__all__ = ["DEFAULT_CHUNK_BYTES", "FileInfo", "FileReader", "FileStore", "FileStores", "FileWriter"]

DEFAULT_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """One file or folder.

    Attributes:
        name: Last part of its path; "" for the room's root.
        size: Bytes of a file, None for a folder.
        created_at: Creation time of the path, kept when the file is replaced; timezone-aware. Equals `updated_at` where
            the file system cannot store it.
        updated_at: When the content last changed; timezone-aware.
        version: Changes with every new content of a path.
    """

    name: str
    is_folder: bool
    size: int | None
    created_at: datetime
    updated_at: datetime
    version: str

    def fields(self) -> dict[str, Any]:
        """What programs outside are told of it; times in ISO 8601 with their offset (protocol 6.3)."""
        return {
            "name": self.name,
            "is_folder": self.is_folder,
            "size": self.size,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
        }


class FileReader(Protocol):
    """An open file; its content stays the same even if the path is replaced or deleted meanwhile."""

    @property
    def info(self) -> FileInfo: ...

    @property
    def size(self) -> int:
        """Bytes of the file."""
        ...

    async def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only at the end of the file."""
        ...

    def iter_chunks(
        self, chunk_bytes: int = DEFAULT_CHUNK_BYTES, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes `start … stop` in pieces of `chunk_bytes`, the last one smaller."""
        ...

    def fileno(self) -> int | None:
        """Descriptor for sendfile, valid until `close`; None if the store has no such thing."""
        ...

    async def close(self) -> None:
        """Close the file; idempotent."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class FileWriter(Protocol):
    """Content being written, invisible until it is published.

    End it with `FileStore.publish` or `FileStore.discard`; leftovers of a crash are removed at the next start.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    async def write(self, content: bytes | memoryview) -> None:
        """Append `content`, buffered: success says nothing about the disk until `publish`.

        Raises:
            LimitExceededError: The file would be longer than the writer's `max_bytes`.
            InvalidStateError: The writer was published or discarded, or an earlier write failed.
            StoreFailedError: The disk failed, for example because it is full; the writer is unusable.
        """
        ...


class FileStore(Protocol):
    """Files of one room. Every path goes through `paths.normalize_path`; "" is the room's root, always a folder.

    Folders are created with the first file in them and stay until deleted. When `publish`, `delete` or `move` return,
    the change is durable. All methods raise `InvalidRequestError` for an invalid path and `StoreFailedError` when the
    disk fails. `tests/server/stores/test_file_store_contract.py` specifies the behavior of every adapter.
    """

    async def stat(self, path: str) -> FileInfo | None:
        """The file or folder at `path`, or None."""
        ...

    async def exists(self, path: str) -> bool:
        """Whether there is a file or folder at `path`."""
        ...

    async def list_folder(self, path: str) -> list[FileInfo]:
        """Files and folders directly in the folder `path`, by name; empty if there is no such folder.

        Raises:
            ConflictError: `path` is a file.
        """
        ...

    async def open_read(self, path: str) -> FileReader:
        """The file, open.

        Raises:
            NotFoundError: There is no file at `path`; folders cannot be read.
        """
        ...

    async def start_write(self, *, max_bytes: int | None = None) -> FileWriter:
        """Start writing new content, invisible until published."""
        ...

    async def publish(
        self, writer: FileWriter, path: str, *, overwrite: bool, condition: ChangeCondition | None = None
    ) -> FileInfo:
        """Make the written content the file at `path`, atomically, creating missing folders.

        `condition` is checked in the same step. The writer cannot be used afterwards, whether this succeeds or fails.

        Raises:
            AlreadyExistsError: There is a file, and `overwrite` is false.
            ConflictError: `path` is a folder, or a part of it is a file.
            InvalidStateError: The writer was published or discarded before, or a write failed.
            PreconditionFailedError: `condition` does not hold.
        """
        ...

    async def discard(self, writer: FileWriter) -> None:
        """Delete the written content; does nothing after `publish` or `discard`."""
        ...

    async def delete(
        self, path: str, *, recursive: bool = False, condition: ChangeCondition | None = None
    ) -> tuple[str, ...]:
        """Delete a file or a folder and return the paths of the deleted files, sorted.

        `condition` is checked in the same step.

        Raises:
            NotFoundError: There is nothing at `path`.
            ConflictError: The folder is not empty and `recursive` is false.
            InvalidRequestError: `path` is the root.
            PreconditionFailedError: `condition` does not hold.
        """
        ...

    async def move(self, source: str, destination: str, *, overwrite: bool = False) -> FileInfo:
        """Move a file or folder, atomically, creating missing folders.

        `overwrite` replaces a file by a file; a folder is never replaced.

        Raises:
            NotFoundError: There is nothing at `source`.
            AlreadyExistsError: There is something at `destination`, and `overwrite` is false.
            ConflictError: A folder would be replaced or moved into itself, or a part of the path is a file.
            InvalidRequestError: One of the paths is the root, or the path of something in the folder would be too long.
        """
        ...


class FileStores(Protocol):
    """The file stores of all rooms."""

    async def open(self, project: str, room: str) -> FileStore:
        """The files of one room, which need not exist yet. Opening twice gives the same store."""
        ...

    async def delete_room(self, project: str, room: str) -> None:
        """Delete all files of a room, if it has any."""
        ...

    async def close(self) -> None:
        """Release threads and temporary files; open readers and writers become unusable."""
        ...
