"""Access to files below a folder that never follows a symbolic link out of it.

Every step opens one name relative to its parent folder, with O_NOFOLLOW, so that replacing a folder by a link between
check and use (a TOCTOU race) cannot lead outside. Links, devices and pipes are treated as missing: they are not listed
or read, and a write replaces them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from meshagent.api.errors import ConflictError, InvalidRequestError
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.files import FileInfo
from meshagent.server.stores.paths import normalize_path

__all__ = [
    "depth_below",
    "file_info",
    "files_below",
    "find",
    "list_entries",
    "made_folder",
    "mark_created",
    "open_file",
    "opened_folder",
]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_CREATED = "user.openmeshagent.created"
"""Extended attribute with the creation time in nanoseconds: without it, a rename over the file would reset it."""


@contextmanager
def opened_folder(root: int, parts: Sequence[str]) -> Iterator[int | None]:
    """A descriptor of the folder `parts` below `root`, or None if there is no such folder."""
    folder: int | None = os.dup(root)
    try:
        for part in parts:
            assert folder is not None
            below = _open_folder(part, folder)
            os.close(folder)
            folder = below
            if folder is None:
                break
        yield folder
    finally:
        if folder is not None:
            os.close(folder)


@contextmanager
def made_folder(root: int, parts: Sequence[str], disk: Disk) -> Iterator[int]:
    """A descriptor of the folder `parts` below `root`; missing ones are created and synced.

    Raises:
        ConflictError: One of the parts is a file.
    """
    folder = os.dup(root)
    try:
        for depth, part in enumerate(parts, start=1):
            if not _is_folder(part, folder):
                _make_folder(part, folder, "/".join(parts[:depth]), disk)
            below = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def find(name: str, folder: int) -> os.stat_result | None:
    """Status of the file or folder `name`, or None if there is none."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else None


def open_file(name: str, folder: int) -> int | None:
    """A descriptor to read the file `name`, or None if there is no file."""
    status = find(name, folder)
    return None if status is None or not stat.S_ISREG(status.st_mode) else os.open(name, _FILE, dir_fd=folder)


def list_entries(folder: int) -> list[FileInfo]:
    """The files and folders in `folder`, sorted by name; names that are not valid in a path are omitted."""
    found = []
    for name in sorted(os.listdir(folder)):
        if not _is_spellable(name):
            continue
        status = find(name, folder)
        if status is None:
            continue
        try:
            descriptor = os.open(name, _FILE, dir_fd=folder)
        except FileNotFoundError:  # deleted since it was listed
            continue
        try:
            found.append(file_info(name, descriptor))
        finally:
            os.close(descriptor)
    return found


def files_below(folder: int, name: str, path: str) -> tuple[str, ...]:
    """Room paths of all files in the folder `name` at the room path `path`, sorted."""
    files = []
    for below, _, names, descriptor in os.fwalk(name, dir_fd=folder, follow_symlinks=False):
        prefix = path + below[len(name) :]
        files += [f"{prefix}/{file}" for file in names if _is_spellable(file) and _is_file(file, descriptor)]
    return tuple(sorted(files))


def depth_below(folder: int, name: str) -> int:
    """Levels of the tree in the folder `name`: 0 if it is empty."""
    deepest = 0
    for below, folders, files, _ in os.fwalk(name, dir_fd=folder, follow_symlinks=False):
        if folders or files:
            deepest = max(deepest, below[len(name) :].count("/") + 1)
    return deepest


def file_info(name: str, descriptor: int) -> FileInfo:
    """What a listing shows of an open file or folder."""
    status = os.fstat(descriptor)
    is_folder = stat.S_ISDIR(status.st_mode)
    return FileInfo(
        name=name,
        is_folder=is_folder,
        size=None if is_folder else status.st_size,
        created_at=_datetime(min(_created(descriptor, status), status.st_mtime_ns)),
        updated_at=_datetime(status.st_mtime_ns),
        version=f"{status.st_mtime_ns:x}-{status.st_ino:x}-{status.st_size:x}",  # each publish makes an inode
    )


def entry_info(name: str, folder: int) -> FileInfo | None:
    """The same for the file or folder `name` in an open folder; None if there is nothing of that name."""
    if find(name, folder) is None:
        return None
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        return file_info(name, descriptor)
    finally:
        os.close(descriptor)


def mark_created(descriptor: int, replaced: int | None) -> None:
    """Store the creation time: that of the file `replaced`, or now. Does nothing without extended attributes."""
    status = os.fstat(descriptor)
    created = status.st_mtime_ns if replaced is None else _created(replaced, os.fstat(replaced))
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(descriptor, _CREATED, b"%d" % created)
        except OSError:
            pass  # documented at FileInfo.created_at


def _open_folder(name: str, parent: int) -> int | None:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # nothing, a file, a link
            return None
        raise


def _make_folder(name: str, parent: int, path: str, disk: Disk) -> None:
    try:
        os.mkdir(name, mode=0o700, dir_fd=parent)
    except FileExistsError:
        raise ConflictError(f"{path!r} is a file") from None
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
        try:
            mark_created(descriptor, None)
        finally:
            os.close(descriptor)
        disk.sync(parent)
    except BaseException:  # it must not be taken for durable
        os.rmdir(name, dir_fd=parent)
        raise


def _created(descriptor: int, status: os.stat_result) -> int:
    if hasattr(os, "getxattr"):
        try:
            return int(os.getxattr(descriptor, _CREATED))
        except (OSError, ValueError):
            pass
    birth: float | None = getattr(status, "st_birthtime", None)
    return status.st_mtime_ns if birth is None else int(birth * 1e9)


def _is_folder(name: str, parent: int) -> bool:
    status = find(name, parent)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _is_file(name: str, parent: int) -> bool:
    status = find(name, parent)
    return status is not None and stat.S_ISREG(status.st_mode)


def _is_spellable(name: str) -> bool:
    try:
        return normalize_path(name) == name
    except InvalidRequestError:
        return False


def _datetime(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
