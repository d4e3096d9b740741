"""Syncs the files of the table engine, which never does so itself (measured: Lance 13, LanceDB 0.40).

Files of a table are immutable, so each is synced once, and a folder is synced when it has a new entry. Not synced are
`_transactions`, which only concurrent writers read, and the latest-version hint, which the engine can do without.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from meshagent.server.stores.disk import Disk
from meshagent.server.stores.tables.settings import TABLE_SUFFIX

__all__ = ["DurableFiles", "table_names"]

_VERSIONS = "_versions"
_LEFT_OUT = frozenset({"_transactions", "latest_version_hint.json"})


def table_names(root: Path) -> list[str]:
    """The tables below `root`, in alphabetical order: folders that hold at least one version."""
    try:
        entries = os.listdir(root)
    except FileNotFoundError:
        return []
    tables = [entry for entry in entries if entry.endswith(TABLE_SUFFIX)]
    return sorted(name.removesuffix(TABLE_SUFFIX) for name in tables if DurableFiles(root / name, None).exists())


class DurableFiles:
    """The files of one table below `folder`. Its methods block: call them in a thread, one at a time.

    Args:
        folder: The table's folder; it need not exist.
        disk: How to sync; None for not at all.
    """

    def __init__(self, folder: Path, disk: Disk | None) -> None:
        self._folder = folder
        self._disk = disk
        self._durable: set[str] = set()

    def exists(self) -> bool:
        """Whether the table exists; leftovers of an interrupted creation do not count."""
        return self.count_versions() > 0

    def count_versions(self) -> int:
        """The number of stored versions; each write creates one."""
        try:
            return sum(name.endswith(".manifest") for name in os.listdir(self._folder / _VERSIONS))
        except FileNotFoundError:
            return 0

    def sync(self) -> None:
        """Sync all files that are new since the last call.

        The first call syncs all files, since a killed process may have left unsynced ones.

        Raises:
            OSError: The disk failed; the next call tries again.
        """
        if self._disk is None:
            return
        found: set[str] = set()
        for path, folder in self._entries(str(self._folder)):
            found.add(path)
            if path not in self._durable and not folder:
                self._sync_file(path)
        for parent in {os.path.dirname(path) for path in found - self._durable}:
            self._disk.sync_folder(Path(parent))
        if not self._durable:
            self._disk.sync_folder(self._folder.parent)
        self._durable = found

    def forget(self) -> None:
        """Reset after the table was dropped: a new table of that name shares no file with it."""
        self._durable = set()

    def _sync_file(self, path: str) -> None:
        assert self._disk is not None
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._disk.sync(descriptor)
        finally:
            os.close(descriptor)

    def _entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        """All files and folders below `folder`, and whether each is a folder."""
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in _LEFT_OUT:
                    continue
                below = entry.is_dir(follow_symlinks=False)
                yield entry.path, below
                if below:
                    yield from self._entries(entry.path)
