"""System calls that durability depends on, in one place so that tests can make them fail."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Disk", "Durability", "lock_file", "make_private_file", "sync_descriptor"]

Durability = Literal["fsync", "process"]
"""What an acknowledged write survives: "fsync" a power failure, "process" only a crash of the process."""


def sync_descriptor(descriptor: int) -> None:
    """Sync a file or folder to the disk, including its write cache where the system distinguishes the two."""
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


@dataclass(frozen=True, slots=True)
class Disk:
    """The system calls of a file store; tests inject faults here.

    Attributes:
        sync: Syncs a descriptor.
        write: Writes bytes and returns how many were written, like `os.write`.
    """

    sync: Callable[[int], None] = sync_descriptor
    write: Callable[[int, bytes | memoryview], int] = os.write

    @classmethod
    def of(cls, durability: Durability) -> Disk:
        """The real disk with this durability."""
        return cls() if durability == "fsync" else cls(sync=_no_sync)

    def sync_folder(self, folder: Path) -> None:
        """Sync the entries of `folder`."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def write_all(self, descriptor: int, content: bytes | bytearray | memoryview) -> None:
        """Write all of `content`, in as many calls as it takes."""
        with memoryview(content) as view:
            done = 0
            while done < len(view):
                done += self.write(descriptor, view[done:])

    def make_folder(self, folder: Path) -> None:
        """Create `folder` and its missing parents, private to the server's user, and sync them."""
        missing = [folder, *folder.parents]
        missing = missing[: next(i for i, parent in enumerate(missing) if parent.is_dir())]
        for parent in reversed(missing):
            parent.mkdir(mode=0o700, exist_ok=True)
            self.sync_folder(parent.parent)


def lock_file(path: Path) -> int:
    """Take an exclusive lock that ends with the process or when the returned descriptor is closed.

    Raises:
        BlockingIOError: Another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make_private_file(path: Path) -> None:
    """Create `path` empty, readable by the server's user only, unless it exists.

    SQLite gives its own files beside a database the mode of the database, and a database that it makes any mode.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def _no_sync(descriptor: int) -> None:
    """Written data is in the page cache and survives a crash of the process."""
