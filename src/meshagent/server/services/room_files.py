"""A room's files; every change publishes events and notifies observers, such as documents at these paths."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from meshagent.api.contracts.operation import Event
from meshagent.api.contracts.storage import FILE_DELETED, FILE_MOVED, FILE_UPDATED, FileEvent, FileMovedEvent
from meshagent.api.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
)
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.context import RoomContext
from meshagent.server.services.file_observers import FileObservers
from meshagent.server.services.media_types import media_type_of
from meshagent.server.stores.conditions import ChangeCondition
from meshagent.server.stores.files import DEFAULT_CHUNK_BYTES, FileInfo, FileReader, FileStore, FileWriter
from meshagent.server.stores.paths import normalize_path

__all__ = ["OpenedFile", "RoomFiles"]

T = TypeVar("T")

MAX_READ_WHOLE_BYTES = 64 * 1024 * 1024
"""Largest file that `read_file` reads into memory."""

_MAX_FORMER_FOLDERS = 10_000


class OpenedFile:
    """A file open for reading; its content stays the same if the path is replaced. Close it."""

    def __init__(self, path: str, reader: FileReader) -> None:
        self.path = path
        self.info = reader.info
        self.name = self.info.name
        self.size = reader.size
        self.media_type = media_type_of(self.name)
        self._reader = reader

    def fileno(self) -> int | None:
        """Descriptor for sendfile, valid until `close`; None if there is none."""
        return self._reader.fileno()

    async def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes `start … stop`; all of them by default."""
        return await self._reader.read(start, (self.size if stop is None else stop) - start)

    def chunks(
        self, start: int = 0, stop: int | None = None, *, chunk_bytes: int = DEFAULT_CHUNK_BYTES
    ) -> AsyncIterator[bytes]:
        """The bytes `start … stop`, in chunks."""
        return self._reader.iter_chunks(chunk_bytes, start=start, stop=stop)

    async def close(self) -> None:
        """Close the file; idempotent."""
        await self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


class RoomFiles:
    """The files of one room, for the server's own use: callers check grants.

    Paths are normalised, in events too. Once started, a change completes and is announced to all participants, even if
    its caller is cancelled.

    A document's file is a view of the document. While a path is being replaced, deleted or moved, saving the view fails
    with `ConflictError`, so that an old state cannot overwrite the change.

    Args:
        room: The room.
        files: Stores them.
        max_file_bytes: Maximum size of a file.
        observers: Told of what happens to files.
    """

    def __init__(
        self, room: RoomContext, files: FileStore, *, max_file_bytes: int, observers: FileObservers | None = None
    ) -> None:
        self.max_file_bytes = max_file_bytes
        self._room = room
        self._files = files
        self._observers = observers or FileObservers()
        self._unfinished: set[asyncio.Task[Any]] = set()
        self._changing: Counter[str] = Counter()
        self._saving: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._former_folders: OrderedDict[str, None] = OrderedDict()

    # --- reading -------------------------------------------------------------------------------------

    async def exists(self, path: str) -> bool:
        """Whether there is a file or folder."""
        return await self._files.exists(path)

    async def stat(self, path: str) -> FileInfo | None:
        """The file or folder at `path`, or None."""
        normal = normalize_path(path)
        if normal:
            await self._observers.before_read(normal)
        return await self._files.stat(normal)

    async def list_folder(self, path: str) -> list[FileInfo]:
        """The entries of a folder, sorted by name; empty if it does not exist (protocol 6.3).

        Raises:
            ConflictError: `path` is a file.
        """
        return await self._files.list_folder(path)

    async def read(self, path: str) -> OpenedFile:
        """The file, open.

        Raises:
            NotFoundError: There is no file at `path`; folders cannot be read.
        """
        normal = normalize_path(path)
        await self._observers.before_read(normal)
        return OpenedFile(normal, await self._files.open_read(normal))

    async def read_file(self, path: str) -> bytes | None:
        """The content of a file as it is on disk, or None.

        Raises:
            LimitExceededError: It is larger than `MAX_READ_WHOLE_BYTES`.
        """
        try:
            reader = await self._files.open_read(path)
        except NotFoundError:
            return None
        async with reader:
            if reader.size > MAX_READ_WHOLE_BYTES:
                raise LimitExceededError(f"file {path!r} is too large to read into memory", limit=MAX_READ_WHOLE_BYTES)
            return await reader.read(0, reader.size)

    async def files_below(self, path: str) -> list[str]:
        """Paths of all files in a folder and its subfolders, in no particular order."""
        found: list[str] = []
        folders = [normalize_path(path)]
        while folders:
            folder = folders.pop()
            for info in await self._files.list_folder(folder):
                inner = f"{folder}/{info.name}" if folder else info.name
                (folders if info.is_folder else found).append(inner)
        return found

    # --- writing -------------------------------------------------------------------------------------

    async def write_file(
        self,
        path: str,
        content: bytes | AsyncIterator[bytes],
        *,
        overwrite: bool = True,
        condition: ChangeCondition | None = None,
        participant_id: str | None = None,
        scope: ApiScope | None = None,
    ) -> FileInfo:
        """Store a file, atomically: if `content` raises or the caller is cancelled before its end, nothing is stored.

        Raises:
            AlreadyExistsError: There is a file, and `overwrite` is false.
            ConflictError: `path` is a folder, or a part of it is a file.
            LimitExceededError: The content is longer than `max_file_bytes`.
            PermissionDeniedError: There is a document at `path`, which `scope` may not edit.
            PreconditionFailedError: `condition` does not hold, before or after the content came.
            StoreFailedError: The disk failed.
        """
        normal = normalize_path(path)
        if not overwrite or condition is not None:  # spares clients from sending a large file in vain
            await self.check_target(path, overwrite=overwrite, condition=condition)
        writer = await self.start_write()
        try:
            if isinstance(content, bytes):
                await writer.write(content)
            else:
                async for piece in content:
                    await writer.write(piece)
        except BaseException:
            await self.run_shielded(self._files.discard(writer))
            raise
        publishing = self.publish(
            writer, normal, overwrite=overwrite, condition=condition, participant_id=participant_id, scope=scope
        )
        return await self.run_shielded(publishing)

    async def check_target(self, path: str, *, overwrite: bool, condition: ChangeCondition | None = None) -> str:
        """Check that a path can be written to; returns it normalised. Errors as in `write_file`.

        An early check that saves clients from sending a large file in vain; publishing checks again.
        """
        normal = normalize_path(path)
        present = await (self._files.stat(normal) if condition is None else self.stat(normal))
        if present is not None and present.is_folder:
            raise ConflictError(f"{normal!r} is a folder" if normal else "the path is the root folder")
        if present is not None and not overwrite:
            raise AlreadyExistsError(f"file {normal!r} already exists")
        if condition is not None:
            condition.check_file(present)
        return normal

    async def start_write(self) -> FileWriter:
        """Start writing new content; pass the writer to `publish` or `abandon_write`."""
        return await self._files.start_write(max_bytes=self.max_file_bytes)

    async def abandon_write(self, writer: FileWriter) -> None:
        """Discard unpublished content; does nothing after `publish`."""
        await self._files.discard(writer)

    async def publish(
        self,
        writer: FileWriter,
        path: str,
        *,
        overwrite: bool,
        condition: ChangeCondition | None = None,
        participant_id: str | None,
        scope: ApiScope | None = None,
    ) -> FileInfo:
        """Make the written content the file at `path`, durably, and announce it. Run it with `run_shielded`.

        Replacing the file of a document replaces the document, which `scope` must allow; None is the server itself.
        """
        await self._require_document(path, scope)
        if condition is not None:
            await self._observers.before_read(path)  # so that the version is that of the document, if it is one
        async with self._expected(FILE_UPDATED, [path], participant_id) as announce, self._holding_off_saves(path):
            info = await self._files.publish(writer, path, overwrite=overwrite, condition=condition)
            try:
                await self._observers.replaced(path)
            finally:
                announce(0)
        return info

    async def publish_document(self, path: str, state: bytes, *, participant_id: str | None) -> None:
        """Write a document's state as the file at its path and announce it; watchers are not told.

        Raises:
            ConflictError: The path is being replaced, deleted or moved, or it is a folder.
            StoreFailedError: The disk failed.
        """
        await self.run_shielded(self._publish_document(normalize_path(path), state, participant_id))

    # --- deleting and moving -------------------------------------------------------------------------

    async def delete(
        self,
        path: str,
        *,
        recursive: bool = False,
        condition: ChangeCondition | None = None,
        participant_id: str | None = None,
    ) -> None:
        """Delete a file or an empty folder; with `recursive` a folder and its content.

        Deleting a folder again in the same run of the room succeeds: a client that empties a folder and then deletes it
        must not fail because another client did the same (protocol 6.6).

        Raises:
            NotFoundError: There is nothing at `path`, and there was no folder in this run.
            ConflictError: The folder is not empty, and `recursive` is false.
            InvalidRequestError: `path` is the root.
            PreconditionFailedError: `condition` does not hold.
        """
        await self.run_shielded(self._delete(_below_root(path), recursive, condition, participant_id))

    async def move(
        self,
        source: str,
        destination: str,
        *,
        overwrite: bool = False,
        participant_id: str | None = None,
        scope: ApiScope | None = None,
    ) -> None:
        """Move a file or folder with its documents. `overwrite` allows a file to replace a file.

        Raises:
            NotFoundError: There is nothing at `source`.
            AlreadyExistsError: There is something at `destination`, and `overwrite` is false.
            ConflictError: A folder would be replaced or moved into itself, or a part of the path is a file.
            InvalidRequestError: One of the paths is the root.
            PermissionDeniedError: There is a document at `destination`, which `scope` may not edit.
        """
        source, destination = _below_root(source), _below_root(destination)
        await self._require_document(destination, scope)
        await self.run_shielded(self._move(source, destination, overwrite, participant_id))

    def run_shielded(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Start `work`, shielded from cancellation of its caller; `wait_for_changes` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._unfinished.add(task)
        task.add_done_callback(self._unfinished.discard)
        return asyncio.shield(task)

    async def wait_for_changes(self) -> None:
        """Wait for all changes in progress."""
        while self._unfinished:  # `gather` does not yield when all are done already, and then nothing leaves the set
            await asyncio.wait(self._unfinished)

    # --- the changes themselves ----------------------------------------------------------------------

    async def _publish_document(self, path: str, state: bytes, participant_id: str | None) -> None:
        lock = self._saving.get(path)
        if lock is None:
            lock = self._saving[path] = asyncio.Lock()
        async with lock:  # saves in order, so that the newest state wins
            if any(_is_at_or_below(path, changing) for changing in self._changing):
                raise ConflictError(f"file {path!r} is being changed")
            writer = await self._files.start_write()
            try:
                await writer.write(state)
            except BaseException:
                await self._files.discard(writer)
                raise
            async with self._expected(FILE_UPDATED, [path], participant_id) as announce:
                await self._files.publish(writer, path, overwrite=True)
                announce(0)

    async def _delete(
        self, path: str, recursive: bool, condition: ChangeCondition | None, participant_id: str | None
    ) -> None:
        info = await (self._files.stat(path) if condition is None else self.stat(path))
        if info is None:
            if path in self._former_folders:
                if condition is not None:
                    condition.check(None)
                return
            raise NotFoundError(f"file or folder {path!r} not found")
        if info.is_folder and not recursive:  # contains no documents, or the store rejects it
            await self._files.delete(path, condition=condition)
            self._remember_folder(path)
            return
        files = await self._files_to_delete(path, info)
        async with self._expected(FILE_DELETED, files, participant_id) as announce, self._holding_off_saves(path):
            if condition is not None:  # before documents go; the store checks once more, in the same step
                condition.check_file(await self._files.stat(path))
            await self._observers.before_delete(path)
            deleted = await self._files.delete(path, recursive=recursive, condition=condition)
            if info.is_folder:
                self._remember_folder(path)
            for file in deleted:
                for folder in _folders_between(path, file):
                    self._remember_folder(folder)
            unexpected = dict.fromkeys(deleted)
            for index, file in enumerate(files):
                if file in unexpected:
                    del unexpected[file]
                    announce(index)
        async with self._expected(FILE_DELETED, list(unexpected), participant_id) as announce:
            for index in range(len(unexpected)):
                announce(index)

    async def _files_to_delete(self, path: str, info: FileInfo) -> list[str]:
        """The files that deleting `path` will delete, as far as somebody wants to know beforehand."""
        if not await self._observers.are_changes_expected(FILE_DELETED):
            return []
        return await self.files_below(path) if info.is_folder else [path]

    async def _move(self, source: str, destination: str, overwrite: bool, participant_id: str | None) -> None:
        replaces = await self._check_move(source, destination, overwrite)
        if source == destination:
            return
        await self._observers.before_read(source)
        async with self._holding_off_saves(source, destination):
            if replaces:
                await self._observers.before_delete(destination)
            try:
                await self._observers.before_move(source, destination)
                await self._files.move(source, destination, overwrite=overwrite)
            except BaseException:
                await self._observers.before_move(destination, source)
                raise
        event = FileMovedEvent(source_path=source, destination_path=destination, participant_id=participant_id)
        self._room.publish(FILE_MOVED, event)

    async def _check_move(self, source: str, destination: str, overwrite: bool) -> bool:
        """Check a move before documents are moved; returns whether a file is replaced."""
        moved = await self._files.stat(source)
        if moved is None:
            raise NotFoundError(f"file or folder {source!r} not found")
        if destination.startswith(f"{source}/"):
            raise ConflictError(f"cannot move {source!r} into itself")
        present = await self._files.stat(destination)
        if present is None:
            return False
        if not overwrite:
            raise AlreadyExistsError(f"{destination!r} already exists")
        if source != destination and (moved.is_folder or present.is_folder):
            raise ConflictError(f"cannot move {source!r} to {destination!r}: folders are not replaced")
        return True

    async def _require_document(self, path: str, scope: ApiScope | None) -> None:
        if scope is not None and not scope.can_write_document(path) and await self._observers.holds(path):
            scope.require_sync(path, write=True)

    # --- helpers -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _holding_off_saves(self, *paths: str) -> AsyncIterator[None]:
        """Prevent saving of documents at or below `paths` during the block."""
        self._changing.update(paths)
        try:
            for saved, lock in list(self._saving.items()):
                if any(_is_at_or_below(saved, path) for path in paths):
                    async with lock:  # wait for a save in progress
                        pass
            yield
        finally:
            self._changing.subtract(paths)
            self._changing += Counter()  # drops the zeros

    @asynccontextmanager
    async def _expected(
        self, event: Event[FileEvent], paths: Sequence[str], participant_id: str | None
    ) -> AsyncIterator[Callable[[int], None]]:
        """Change files in the block, and call what it gets with the index of each path that was changed.

        Observers hear of the changes beforehand: when a change is acknowledged, its event cannot be lost any more.
        """
        changes = [FileEvent(path=path, participant_id=participant_id) for path in paths]
        expected = await self._observers.files_changing(event, changes)

        def announce(index: int) -> None:
            self._room.publish(event, changes[index])
            expected.happened(index)

        try:
            yield announce
        finally:
            expected.close()

    def _remember_folder(self, path: str) -> None:
        self._former_folders[path] = None
        self._former_folders.move_to_end(path)
        if len(self._former_folders) > _MAX_FORMER_FOLDERS:
            self._former_folders.popitem(last=False)


def _below_root(path: str) -> str:
    normal = normalize_path(path)
    if not normal:
        raise InvalidRequestError("the root folder cannot be moved or deleted")
    return normal


def _is_at_or_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _folders_between(folder: str, file: str) -> list[str]:
    """Folders below `folder` on the way to `file`."""
    parts = file.split("/")
    return ["/".join(parts[:depth]) for depth in range(folder.count("/") + 2, len(parts))]
