"""Observers of changes to a room's files: documents stored at their paths, and webhooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from meshagent.api.contracts.operation import Event
from meshagent.api.contracts.storage import FileEvent

__all__ = ["ChangeListener", "FileObservers", "FileWatcher"]

ChangeListener = Callable[[Event[FileEvent], FileEvent], None]
"""Takes the event that the participants got, `FILE_UPDATED` or `FILE_DELETED`, and its data; never waits or raises."""


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
        """Tell `listener` of each file that was created, replaced or deleted from now on."""
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

    def changed(self, event: Event[FileEvent], change: FileEvent) -> None:
        """A file was created, replaced or deleted."""
        for listener in self._listeners:
            listener(event, change)
