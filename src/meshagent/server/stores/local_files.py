"""File store on a local file system: plain files; changes are atomic, and durable when acknowledged.

root/
  files.lock             one server at a time
  rooms/PROJECT/ROOM/    the files of a room, and nothing else
  tmp/                   content being written and folders being deleted; emptied at start
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from meshagent.api.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    UnavailableError,
)
from meshagent.server.stores.conditions import ChangeCondition
from meshagent.server.stores.confined_folders import (
    depth_below,
    entry_info,
    file_info,
    files_below,
    find,
    list_entries,
    made_folder,
    mark_created,
    open_file,
    opened_folder,
)
from meshagent.server.stores.disk import Disk, Durability, lock_file
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.files import FileInfo, FileReader, FileStore, FileStores, FileWriter
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.local_file_handles import LocalReader, LocalWriter
from meshagent.server.stores.paths import MAX_PARTS, normalize_path, room_folder

__all__ = ["LocalFileStore", "LocalFileStores"]

T = TypeVar("T")

COMPONENT = "file store"


class LocalFileStores(FileStores):
    """File stores of all rooms below one folder, with a thread pool for disk access.

    The threads sync files in parallel, so that the journal of the file system writes them together. The number of
    requests that the server admits bounds the queue of the pool.
    """

    def __init__(
        self,
        root: Path,
        *,
        durability: Durability = "fsync",
        health: HealthMonitor | None = None,
        disk: Disk | None = None,
        threads: int = 8,
    ) -> None:
        """Configure the stores; `start` opens them. Tests pass `disk` to make it fail."""
        self._root = root
        self._temp = root / "tmp"
        self._disk = disk or Disk.of(durability)
        self._health = health or HealthMonitor()
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="files")
        self._stores: WeakValueDictionary[tuple[str, str], LocalFileStore] = WeakValueDictionary()
        self._folder_lock = threading.Lock()
        self._lock_descriptor: int | None = None

    async def start(self) -> None:
        """Lock the folder, creating it if needed, and remove leftovers of a crash.

        Raises:
            UnavailableError: Another server uses the folder.
            StoreFailedError: It cannot be created or cleaned.
        """
        await self.run(self._prepare)

    async def open(self, project: str, room: str) -> FileStore:
        return self._store(project, room)

    async def delete_room(self, project: str, room: str) -> None:
        store = self._store(project, room)
        await self.run(store.delete_everything, writes=True)

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    async def run(
        self, function: Callable[[], T], *, writes: bool = False, release: Callable[[T], None] | None = None
    ) -> T:
        """Call `function` in a thread of the pool. It completes even if the caller is cancelled.

        Args:
            writes: Whether success shows that the disk is writable (again).
            release: Called with the result when the caller was cancelled.

        Raises:
            StoreFailedError: For any error of the disk, which `health` then shows.
            UnavailableError: The stores are closed.
        """
        try:
            call = asyncio.get_running_loop().run_in_executor(self._pool, function)
        except RuntimeError as error:
            raise UnavailableError("the file store is closed") from error
        try:
            result = await asyncio.shield(call)
        except asyncio.CancelledError:
            call.add_done_callback(lambda done: self._settle_abandoned(done, release))
            raise
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InvalidRequestError("a part of the path is too long for the file system") from error
            self._health.report_failure(COMPONENT, error)
            raise StoreFailedError(f"disk error: {error.strerror or type(error).__name__}") from error
        if writes:
            self._health.report_success(COMPONENT)
        return result

    def make_room_folder(self, folder: Path) -> None:
        """Create a room's folder and its parents, and sync them. Runs in a thread."""
        with self._folder_lock:  # another thread must not use the folder before it is synced
            self._disk.make_folder(folder)

    def _settle_abandoned(self, call: asyncio.Future[T], release: Callable[[T], None] | None) -> None:
        """Handle the outcome of a call whose caller was cancelled."""
        if call.cancelled():
            return
        error = call.exception()
        if isinstance(error, OSError):
            self._health.report_failure(COMPONENT, error)
        elif error is None and release is not None:
            release(call.result())

    def _store(self, project: str, room: str) -> LocalFileStore:
        key = (project, room)
        store = self._stores.get(key)
        if store is None:  # one object per room, since it holds the room's lock
            folder = self._root / "rooms" / room_folder(project, room)
            store = self._stores[key] = LocalFileStore(folder, self._temp, self._disk, self)
        return store

    def _prepare(self) -> None:
        self._disk.make_folder(self._root)
        try:
            self._lock_descriptor = lock_file(self._root / "files.lock")
        except BlockingIOError as error:
            raise UnavailableError("the file folder is in use by another server") from error
        if self._temp.exists():
            shutil.rmtree(self._temp)
        self._disk.make_folder(self._temp)


class LocalFileStore(FileStore):
    """Files of one room; made by `LocalFileStores`.

    Paths change under one lock, so that checking and renaming are atomic; content is written and synced outside it.
    """

    def __init__(self, folder: Path, temp: Path, disk: Disk, owner: LocalFileStores) -> None:
        self._folder = folder
        self._temp = temp
        self._disk = disk
        self._owner = owner
        self._rename_lock = threading.Lock()
        self._folder_exists = False  # the folder exists and is synced

    async def stat(self, path: str) -> FileInfo | None:
        path = normalize_path(path)
        return await self._owner.run(lambda: self._stat(path))

    async def exists(self, path: str) -> bool:
        return await self.stat(path) is not None

    async def list_folder(self, path: str) -> list[FileInfo]:
        path = normalize_path(path)
        return await self._owner.run(lambda: self._list_folder(path))

    async def open_read(self, path: str) -> FileReader:
        path = normalize_path(path)
        return await self._owner.run(lambda: self._open_read(path), release=LocalReader.close_now)

    async def start_write(self, *, max_bytes: int | None = None) -> FileWriter:
        return LocalWriter(self._temp, self._disk, self._owner.run, max_bytes)

    async def publish(
        self, writer: FileWriter, path: str, *, overwrite: bool, condition: ChangeCondition | None = None
    ) -> FileInfo:
        assert isinstance(writer, LocalWriter)
        writer.begin_publish()
        return await self._owner.run(lambda: self._publish(writer, path, overwrite, condition), writes=True)

    async def discard(self, writer: FileWriter) -> None:
        assert isinstance(writer, LocalWriter)
        if writer.begin_discard():
            await self._owner.run(writer.remove)

    async def delete(
        self, path: str, *, recursive: bool = False, condition: ChangeCondition | None = None
    ) -> tuple[str, ...]:
        path = _below_root(path)
        return await self._owner.run(lambda: self._delete(path, recursive, condition), writes=True)

    async def move(self, source: str, destination: str, *, overwrite: bool = False) -> FileInfo:
        source, destination = _below_root(source), _below_root(destination)
        return await self._owner.run(lambda: self._move(source, destination, overwrite), writes=True)

    # --- everything below runs in a thread ---

    def delete_everything(self) -> None:
        """Delete all files of the room."""
        with self._rename_lock:
            if not self._folder.is_dir():
                return
            trash = self._trash_name()
            self._folder_exists = False
            os.rename(self._folder, trash)
            self._disk.sync_folder(self._folder.parent)
        shutil.rmtree(trash, ignore_errors=True)

    def _stat(self, path: str) -> FileInfo | None:
        parents, name = _split(path)
        with self._opened_root() as root:
            if not name:
                return file_info("", root)
            with opened_folder(root, parents) as folder:
                return None if folder is None else entry_info(name, folder)

    def _list_folder(self, path: str) -> list[FileInfo]:
        parents, name = _split(path)
        with self._opened_root() as root, opened_folder(root, parents) as parent:
            if not name:
                return list_entries(root)
            status = None if parent is None else find(name, parent)
            if parent is None or status is None:
                return []
            if not stat.S_ISDIR(status.st_mode):
                raise ConflictError(f"{path!r} is a file")
            with opened_folder(parent, [name]) as folder:
                return [] if folder is None else list_entries(folder)

    def _open_read(self, path: str) -> LocalReader:
        parents, name = _split(path)
        with self._opened_root() as root, opened_folder(root, parents) as folder:
            descriptor = None if folder is None or not name else open_file(name, folder)
        if descriptor is None:
            raise NotFoundError(f"file {path!r} not found")
        try:
            return LocalReader(file_info(name, descriptor), descriptor, self._owner.run)
        except BaseException:
            os.close(descriptor)
            raise

    def _publish(self, writer: LocalWriter, path: str, overwrite: bool, condition: ChangeCondition | None) -> FileInfo:
        try:
            path = normalize_path(path)
            parents, name = _split(path)
            with self._opened_root() as root:
                with opened_folder(root, parents) as folder:
                    replaced = None
                    if folder is not None:
                        _check_target(path, find(name, folder) if name else os.fstat(root), overwrite)
                        replaced = open_file(name, folder)
                try:
                    descriptor, temp = writer.complete()
                    mark_created(descriptor, replaced)
                finally:
                    if replaced is not None:
                        os.close(replaced)
                self._disk.sync(descriptor)
                with self._rename_lock, made_folder(root, parents, self._disk) as folder:
                    _check_target(path, find(name, folder), overwrite)
                    _check_condition(condition, name, folder)
                    os.rename(temp, name, dst_dir_fd=folder)
                    published = os.dup(folder)
            try:
                self._disk.sync(published)
            finally:
                os.close(published)
            return file_info(name, descriptor)
        finally:
            writer.remove()

    def _delete(self, path: str, recursive: bool, condition: ChangeCondition | None) -> tuple[str, ...]:
        parents, name = _split(path)
        trash: Path | None = None
        with self._rename_lock, self._opened_root() as root, opened_folder(root, parents) as folder:
            status = None if folder is None else find(name, folder)
            if folder is None or status is None:
                raise NotFoundError(f"file or folder {path!r} not found")
            _check_condition(condition, name, folder)
            if not stat.S_ISDIR(status.st_mode):
                files: tuple[str, ...] = (path,)
                os.unlink(name, dir_fd=folder)
            elif recursive:
                files = files_below(folder, name, path)
                trash = self._trash_name()
                os.rename(name, trash, src_dir_fd=folder)
            else:
                files = ()
                _remove_empty(name, folder, path)
            self._disk.sync(folder)
        if trash is not None:
            shutil.rmtree(trash, ignore_errors=True)  # what stays is removed at the next start
        return files

    def _move(self, source: str, destination: str, overwrite: bool) -> FileInfo:
        (from_parents, from_name), (to_parents, to_name) = _split(source), _split(destination)
        with self._rename_lock, self._opened_root() as root, opened_folder(root, from_parents) as from_folder:
            moved = None if from_folder is None else find(from_name, from_folder)
            if from_folder is None or moved is None:
                raise NotFoundError(f"file or folder {source!r} not found")
            if destination.startswith(f"{source}/"):
                raise ConflictError(f"cannot move {source!r} into itself")
            with opened_folder(root, to_parents) as present_folder:
                present = None if present_folder is None else find(to_name, present_folder)
            if present is not None and not overwrite:
                raise AlreadyExistsError(f"{destination!r} already exists")
            is_folder = stat.S_ISDIR(moved.st_mode)
            if present is not None and source != destination and (is_folder or stat.S_ISDIR(present.st_mode)):
                raise ConflictError(f"cannot move {source!r} to {destination!r}: folders are not replaced")
            if is_folder and len(to_parents) + 1 + depth_below(from_folder, from_name) > MAX_PARTS:
                raise InvalidRequestError(f"the path of something in {source!r} would have more than {MAX_PARTS} parts")
            with made_folder(root, to_parents, self._disk) as to_folder:
                os.rename(from_name, to_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)
                self._disk.sync(to_folder)
                self._disk.sync(from_folder)
        info = self._stat(destination)
        assert info is not None
        return info

    @contextmanager
    def _opened_root(self) -> Iterator[int]:
        if not self._folder_exists:
            self._owner.make_room_folder(self._folder)
            self._folder_exists = True
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _trash_name(self) -> Path:
        return self._temp / f"deleted-{secrets.token_hex(16)}"


def _split(path: str) -> tuple[list[str], str]:
    *parents, name = path.split("/")
    return parents, name


def _below_root(path: str) -> str:
    normalized = normalize_path(path)
    if not normalized:
        raise InvalidRequestError("the root folder cannot be moved or deleted")
    return normalized


def _check_target(path: str, present: os.stat_result | None, overwrite: bool) -> None:
    if present is None:
        return
    if stat.S_ISDIR(present.st_mode):
        raise ConflictError(f"{path!r} is a folder")
    if not overwrite:
        raise AlreadyExistsError(f"file {path!r} already exists")


def _check_condition(condition: ChangeCondition | None, name: str, folder: int) -> None:
    if condition is not None:
        condition.check_file(entry_info(name, folder))


def _remove_empty(name: str, folder: int, path: str) -> None:
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise ConflictError(f"the folder {path!r} is not empty") from error
