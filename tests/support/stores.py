"""Stores for tests: a room database in a folder, and disks that fail on demand."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from meshagent.server.stores.commit_log import CommitLog, CommitSettings, commit_transaction
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.sqlite_schema import ROOM_MIGRATIONS


class CommitGate:
    """The commit seam of a log: counts commits, holds them back, and makes them fail."""

    def __init__(self) -> None:
        self.commits = 0
        self.failures: list[Exception] = []
        """Raised by the next commits, one each."""
        self.is_open = threading.Event()
        self.is_open.set()
        self.entered = threading.Event()

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.entered.set()
        self.is_open.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.commits += 1
        commit_transaction(connection)


class FaultyDisk:
    """The disk seam of a file store: `sync_error` and `write_error` are raised while they are set."""

    def __init__(self) -> None:
        self.sync_error: OSError | None = None
        self.write_error: OSError | None = None
        self.synced_folders = 0
        self.synced_files = 0
        self.disk = Disk(sync=self._sync, write=self._write)

    def _sync(self, descriptor: int) -> None:
        if self.sync_error is not None:
            raise self.sync_error
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            self.synced_folders += 1
        else:
            self.synced_files += 1

    def _write(self, descriptor: int, content: bytes | memoryview) -> int:
        if self.write_error is not None:
            raise self.write_error
        return os.write(descriptor, content[: max(1, len(content) // 2)])  # short writes are legal


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def disk_broken() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


@asynccontextmanager
async def open_commit_log(
    folder: Path,
    *,
    gate: CommitGate | None = None,
    health: HealthMonitor | None = None,
    settings: CommitSettings | None = None,
) -> AsyncIterator[CommitLog]:
    """A log in `folder`, closed at the end."""
    log = CommitLog(
        folder / "rooms.db",
        ROOM_MIGRATIONS,
        health=health,
        settings=settings,
        commit=gate or commit_transaction,
    )
    await log.open()
    try:
        yield log
    finally:
        if gate is not None:
            gate.is_open.set()
        await log.close()
