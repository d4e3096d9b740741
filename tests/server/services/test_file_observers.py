"""What documents and webhooks hear of changes to files, and in which order."""

from __future__ import annotations

import asyncio

from meshagent.api.contracts.operation import Event
from meshagent.api.contracts.storage import FILE_DELETED, FILE_UPDATED, FileEvent
from meshagent.server.services.file_observers import FileObservers
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.stores.memory_files import MemoryFileStore
from tests.support.fake_room import FakeRoom


class Journal:
    """A watcher and listener that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    async def holds(self, path: str) -> bool:
        return False

    async def before_read(self, path: str) -> None:
        self.lines.append(f"before reading {path}")

    async def before_delete(self, path: str) -> None:
        self.lines.append(f"before deleting {path}")

    async def replaced(self, path: str) -> None:
        self.lines.append(f"replaced {path}")

    async def before_move(self, source: str, destination: str) -> None:
        self.lines.append(f"before moving {source} to {destination}")

    def changed(self, event: Event[FileEvent], change: FileEvent) -> None:
        self.lines.append(f"{event.name} {change.path} by {change.participant_id}")


async def test_observers_hear_of_every_change() -> None:
    journal, observers = Journal(), FileObservers()
    observers.watch(journal)
    observers.listen(journal.changed)
    files = RoomFiles(FakeRoom(), MemoryFileStore(), max_file_bytes=100, observers=observers)
    await files.write_file("/a.txt", b"1", participant_id="alice-id")
    await files.move("a.txt", "b.txt")
    await files.delete("b.txt")
    assert journal.lines == [
        "replaced a.txt",
        f"{FILE_UPDATED.name} a.txt by alice-id",
        "before reading a.txt",
        "before moving a.txt to b.txt",
        "before deleting b.txt",
        f"{FILE_DELETED.name} b.txt by None",
    ]


async def test_waiting_for_changes_ends_when_the_last_one_has_finished_just_now() -> None:
    files = RoomFiles(FakeRoom(), MemoryFileStore(), max_file_bytes=100)

    async def change() -> None:
        pass

    files.run_shielded(change())
    [task] = files._unfinished
    await asyncio.sleep(0)
    assert task.done(), "and its callbacks run in the next turn of the loop"
    await files.wait_for_changes()
    assert files._unfinished == set()
