"""Syncs the files of the table engine, which never does so itself (measured: Lance 13, LanceDB 0.40).

Files of a table are immutable, so each is synced once, and a folder is synced when it has a new entry. Not synced are
`_transactions`, which only concurrent writers read, and the latest-version hint, which the engine can do without.

The newest version whose files are synced is marked by an empty file beside the manifests, `acknowledged-NUMBER` with
the number in the manifest's name. The mark is renamed after the files are synced and before their folder is, so it
costs no sync of its own. `recovery` tells by it what a power failure left from what was acknowledged and is damaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from meshagent.server.stores.disk import Disk
from meshagent.server.stores.tables.settings import TABLE_SUFFIX

__all__ = ["DurableFiles", "acknowledged_manifest", "table_names"]

_VERSIONS = "_versions"
_MARK = "acknowledged-"
_MANIFEST = ".manifest"
_LEFT_OUT = frozenset({"_transactions", "latest_version_hint.json"})


def table_names(root: Path) -> list[str]:
    """The tables below `root`, in alphabetical order: folders that hold at least one version."""
    try:
        entries = os.listdir(root)
    except FileNotFoundError:
        return []
    tables = [entry for entry in entries if entry.endswith(TABLE_SUFFIX)]
    return sorted(name.removesuffix(TABLE_SUFFIX) for name in tables if DurableFiles(root / name, None).exists())


def acknowledged_manifest(versions: Path) -> str | None:
    """The name of the manifest of the newest version that was acknowledged as durable; None if it is not known.

    Args:
        versions: The folder of the manifests. They have descending numbers: what sorts before is newer.
    """
    names = [name.removeprefix(_MARK) for name in _names_in(versions) if name.startswith(_MARK)]
    return min(names) + _MANIFEST if names else None


def _names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


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
        """Whether the table exists; leftovers of an interrupted creation do not count, lost manifests do."""
        return any(name.endswith(_MANIFEST) or name.startswith(_MARK) for name in _names_in(self._folder / _VERSIONS))

    def count_versions(self) -> int:
        """The number of stored versions; each write creates one."""
        return sum(name.endswith(_MANIFEST) for name in _names_in(self._folder / _VERSIONS))

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
        changed = {Path(path).parent for path in found - self._durable}
        versions = self._folder / _VERSIONS
        for other in changed - {versions}:
            self._disk.sync_folder(other)
        if not self._durable:
            self._disk.sync_folder(self._folder.parent)
        if versions in changed:
            _mark_newest(versions)
            self._disk.sync_folder(versions)
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
                if entry.name in _LEFT_OUT or entry.name.startswith(_MARK):
                    continue
                below = entry.is_dir(follow_symlinks=False)
                yield entry.path, below
                if below:
                    yield from self._entries(entry.path)


def _mark_newest(versions: Path) -> None:
    names = os.listdir(versions)
    newest = min((name.removesuffix(_MANIFEST) for name in names if name.endswith(_MANIFEST)), default=None)
    if newest is None:
        return
    mark = versions / (_MARK + newest)
    others = [name for name in names if name.startswith(_MARK) and name != mark.name]
    if others:
        os.rename(versions / others[0], mark)
        for name in others[1:]:
            os.unlink(versions / name)
    else:
        mark.touch(mode=0o600)
