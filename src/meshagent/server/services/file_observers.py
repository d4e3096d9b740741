"""Observers of changes to a room's files: documents stored at their paths, and webhooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from meshagent.api.contracts.operation import Event
from meshagent.api.contracts.storage import FileEvent

__all__ = ["ChangeListener", "ExpectedChanges", "FileObservers", "FileWatcher"]


class ExpectedChanges(Protocol):
    """Changes of files that somebody was told of beforehand."""

    def happened(self, index: int = 0) -> None:
        """The change with this index was made; never waits or raises."""
        ...

    def close(self) -> None:
        """Those that were not made until now will not be made."""
        ...


class ChangeListener(Protocol):
    """Told of each file that is created, replaced or deleted, by the event that participants get."""

    async def are_changes_expected(self, event: Event[FileEvent]) -> bool:
        """Whether the listener wants to be told at all, of `FILE_UPDATED` or of `FILE_DELETED`."""
        ...

    async def files_changing(self, event: Event[FileEvent], changes: Sequence[FileEvent]) -> ExpectedChanges:
        """Files are about to change; what this raises, the operation on the file raises."""
        ...


class FileWatcher(Protocol):
    """Told of what happens to files, before or after as the names say: a document may live at their path."""

    async def holds(self, path: str) -> bool:
        """Whether the file at `path` belongs to more than the store, so that writing it changes a document."""
        ...

    async def before_read(self, path: str) -> None:
        """Somebody is about to look at the file or folder."""
        ...

    async def before_delete(self, path: str) -> None:
        """The file, or the folder with all that is in it, is about to go."""
        ...

    async def replaced(self, path: str) -> None:
        """Somebody wrote a file, perhaps over one that was there."""
        ...

    async def before_move(self, source: str, destination: str) -> None:
        """The file or folder is about to be moved. Called again with the paths swapped if the move fails."""
        ...


class FileObservers:
    """The observers of one room's files.

    Documents need files and files tell documents, so this object is made first and given to both.
    """

    def __init__(self) -> None:
        self._watchers: list[FileWatcher] = []
        self._listeners: list[ChangeListener] = []

    def watch(self, watcher: FileWatcher) -> None:
        """Tell `watcher` from now on; what it raises, the operation on the file raises."""
        self._watchers.append(watcher)

    def listen(self, listener: ChangeListener) -> None:
        """Tell `listener` of each file that is created, replaced or deleted from now on."""
        self._listeners.append(listener)

    async def holds(self, path: str) -> bool:
        for watcher in self._watchers:
            if await watcher.holds(path):
                return True
        return False

    async def before_read(self, path: str) -> None:
        for watcher in self._watchers:
            await watcher.before_read(path)

    async def before_delete(self, path: str) -> None:
        for watcher in self._watchers:
            await watcher.before_delete(path)

    async def replaced(self, path: str) -> None:
        for watcher in self._watchers:
            await watcher.replaced(path)

    async def before_move(self, source: str, destination: str) -> None:
        for watcher in self._watchers:
            await watcher.before_move(source, destination)

    async def are_changes_expected(self, event: Event[FileEvent]) -> bool:
        """Whether a listener wants to be told of changes of this kind."""
        for listener in self._listeners:
            if await listener.are_changes_expected(event):
                return True
        return False

    async def files_changing(self, event: Event[FileEvent], changes: Sequence[FileEvent]) -> ExpectedChanges:
        """Files are about to be created, replaced or deleted."""
        expected = _ExpectedByAll()
        if not changes:
            return expected
        try:
            for listener in self._listeners:
                expected.add(await listener.files_changing(event, changes))
        except BaseException:
            expected.close()
            raise
        return expected


class _ExpectedByAll:
    """What all listeners expect."""

    def __init__(self) -> None:
        self._expected: list[ExpectedChanges] = []

    def add(self, expected: ExpectedChanges) -> None:
        self._expected.append(expected)

    def happened(self, index: int = 0) -> None:
        for expected in self._expected:
            expected.happened(index)

    def close(self) -> None:
        for expected in self._expected:
            expected.close()
