"""File store kept in memory: for tests and for rooms without persistence."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from meshagent.api.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
)
from meshagent.server.stores.conditions import ChangeCondition
from meshagent.server.stores.files import (
    DEFAULT_CHUNK_BYTES,
    FileInfo,
    FileReader,
    FileStore,
    FileStores,
    FileWriter,
)
from meshagent.server.stores.paths import normalize_path

__all__ = ["MemoryFileStore", "MemoryFileStores"]


@dataclass(slots=True)
class _Node:
    """A file with its content, or a folder (None)."""

    content: bytes | None
    created_at: datetime
    updated_at: datetime
    version: int = 0

    def info(self, path: str) -> FileInfo:
        return FileInfo(
            name=path.rpartition("/")[2],
            is_folder=self.content is None,
            size=None if self.content is None else len(self.content),
            created_at=self.created_at,
            updated_at=self.updated_at,
            version=str(self.version),
        )


class _MemoryReader(FileReader):
    def __init__(self, info: FileInfo, content: bytes) -> None:
        self._info = info
        self._content = content

    @property
    def info(self) -> FileInfo:
        return self._info

    @property
    def size(self) -> int:
        return len(self._content)

    async def read(self, offset: int, length: int) -> bytes:
        return self._content[offset : offset + length]

    async def iter_chunks(
        self, chunk_bytes: int = DEFAULT_CHUNK_BYTES, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        end = self.size if stop is None else min(stop, self.size)
        for offset in range(start, end, chunk_bytes):
            yield self._content[offset : min(offset + chunk_bytes, end)]

    def fileno(self) -> int | None:
        return None

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


class _MemoryWriter(FileWriter):
    def __init__(self, max_bytes: int | None) -> None:
        self._max_bytes = max_bytes
        self._content: bytearray | None = bytearray()
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    async def write(self, content: bytes | memoryview) -> None:
        if self._content is None:
            raise InvalidStateError("the file was closed")
        if self._max_bytes is not None and self._size + len(content) > self._max_bytes:
            raise LimitExceededError("the file is too large", limit=self._max_bytes)
        self._content += content
        self._size += len(content)

    def finish(self) -> bytes | None:
        content, self._content = self._content, None
        return None if content is None else bytes(content)


class MemoryFileStore(FileStore):
    """`FileStore` without a disk."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._nodes: dict[str, _Node] = {"": self._folder()}
        self._versions = itertools.count(1)

    async def stat(self, path: str) -> FileInfo | None:
        path = normalize_path(path)
        node = self._nodes.get(path)
        return None if node is None else node.info(path)

    async def exists(self, path: str) -> bool:
        return normalize_path(path) in self._nodes

    async def list_folder(self, path: str) -> list[FileInfo]:
        folder = normalize_path(path)
        node = self._nodes.get(folder)
        if node is None:
            return []
        if node.content is not None:
            raise ConflictError(f"{folder!r} is a file")
        return [self._nodes[child].info(child) for child in sorted(self._children(folder))]

    async def open_read(self, path: str) -> FileReader:
        path = normalize_path(path)
        node = self._nodes.get(path)
        if node is None or node.content is None:
            raise NotFoundError(f"file {path!r} not found")
        return _MemoryReader(node.info(path), node.content)

    async def start_write(self, *, max_bytes: int | None = None) -> FileWriter:
        return _MemoryWriter(max_bytes)

    async def publish(
        self, writer: FileWriter, path: str, *, overwrite: bool, condition: ChangeCondition | None = None
    ) -> FileInfo:
        assert isinstance(writer, _MemoryWriter)
        content = writer.finish()
        if content is None:
            raise InvalidStateError("the file was closed")
        path = normalize_path(path)
        present = self._nodes.get(path)
        if present is not None and present.content is None:
            raise ConflictError(f"{path!r} is a folder")
        if present is not None and not overwrite:
            raise AlreadyExistsError(f"file {path!r} already exists")
        if condition is not None:
            condition.check_file(None if present is None else present.info(path))
        self._make_parents(path)
        now = self._now()
        self._nodes[path] = _Node(content, now if present is None else present.created_at, now, next(self._versions))
        return self._nodes[path].info(path)

    async def discard(self, writer: FileWriter) -> None:
        assert isinstance(writer, _MemoryWriter)
        writer.finish()

    async def delete(
        self, path: str, *, recursive: bool = False, condition: ChangeCondition | None = None
    ) -> tuple[str, ...]:
        path = _below_root(path)
        if path not in self._nodes:
            raise NotFoundError(f"file or folder {path!r} not found")
        if condition is not None:
            condition.check_file(self._nodes[path].info(path))
        gone = [path, *self._descendants(path)]
        if len(gone) > 1 and not recursive:
            raise ConflictError(f"the folder {path!r} is not empty")
        files = sorted(name for name in gone if self._nodes[name].content is not None)
        for name in gone:
            del self._nodes[name]
        return tuple(files)

    async def move(self, source: str, destination: str, *, overwrite: bool = False) -> FileInfo:
        source, destination = _below_root(source), _below_root(destination)
        node, present = self._nodes.get(source), self._nodes.get(destination)
        if node is None:
            raise NotFoundError(f"file or folder {source!r} not found")
        if destination.startswith(f"{source}/"):
            raise ConflictError(f"cannot move {source!r} into itself")
        if present is not None and not overwrite:
            raise AlreadyExistsError(f"{destination!r} already exists")
        if source == destination:
            return node.info(source)
        if present is not None and (present.content is None or node.content is None):
            raise ConflictError(f"cannot move {source!r} to {destination!r}: folders are not replaced")
        moves = {name: destination + name[len(source) :] for name in [source, *self._descendants(source)]}
        for new_name in moves.values():
            normalize_path(new_name)  # rejects paths that are too deep
        self._make_parents(destination)
        for name, new_name in moves.items():
            self._nodes[new_name] = self._nodes.pop(name)
        return node.info(destination)

    def _folder(self) -> _Node:
        now = self._now()
        return _Node(None, now, now)

    def _make_parents(self, path: str) -> None:
        parts = path.split("/")
        parents = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        for parent in parents:
            node = self._nodes.get(parent)
            if node is not None and node.content is not None:
                raise ConflictError(f"{parent!r} is a file")
        for parent in parents:
            self._nodes.setdefault(parent, self._folder())

    def _descendants(self, path: str) -> list[str]:
        return [name for name in self._nodes if name.startswith(f"{path}/")]

    def _children(self, path: str) -> list[str]:
        return [name for name in self._nodes if name and name.rpartition("/")[0] == path]


class MemoryFileStores(FileStores):
    """`FileStores` without a disk."""

    def __init__(self) -> None:
        self._stores: dict[tuple[str, str], MemoryFileStore] = {}

    async def open(self, project: str, room: str) -> FileStore:
        return self._stores.setdefault((project, room), MemoryFileStore())

    async def delete_room(self, project: str, room: str) -> None:
        self._stores.pop((project, room), None)

    async def close(self) -> None:
        self._stores.clear()


def _below_root(path: str) -> str:
    normalized = normalize_path(path)
    if not normalized:
        raise InvalidRequestError("the root folder cannot be moved or deleted")
    return normalized
