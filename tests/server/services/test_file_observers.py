"""What documents and webhooks hear of changes to files, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from meshagent.api.contracts.operation import Event
from meshagent.api.contracts.storage import FILE_DELETED, FILE_UPDATED, FileEvent
from meshagent.api.errors import ConflictError
from meshagent.server.services.file_observers import ExpectedChanges, FileObservers
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.stores.memory_files import MemoryFileStore
from tests.support.fake_room import FakeRoom


class Journal:
    """A watcher and listener that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.listens = True

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

    async def are_changes_expected(self, event: Event[FileEvent]) -> bool:
        return self.listens

    async def files_changing(self, event: Event[FileEvent], changes: Sequence[FileEvent]) -> ExpectedChanges:
        paths = " and ".join(change.path for change in changes)
        self.lines.append(f"expecting {event.name} {paths} by {changes[0].participant_id}")
        return JournalOfChanges(self.lines, changes)


@dataclass
class JournalOfChanges:
    """Writes down what becomes of changes that were expected."""

    lines: list[str]
    changes: Sequence[FileEvent]

    def happened(self, index: int = 0) -> None:
        self.lines.append(f"changed {self.changes[index].path}")

    def close(self) -> None:
        self.lines.append("no more changes")


async def test_observers_hear_of_every_change() -> None:
    journal, observers = Journal(), FileObservers()
    observers.watch(journal)
    observers.listen(journal)
    files = RoomFiles(FakeRoom(), MemoryFileStore(), max_file_bytes=100, observers=observers)
    await files.write_file("/a.txt", b"1", participant_id="alice-id")
    await files.move("a.txt", "b.txt")
    await files.delete("b.txt")
    assert journal.lines == [
        f"expecting {FILE_UPDATED.name} a.txt by alice-id",
        "replaced a.txt",
        "changed a.txt",
        "no more changes",
        "before reading a.txt",
        "before moving a.txt to b.txt",
        f"expecting {FILE_DELETED.name} b.txt by None",
        "before deleting b.txt",
        "changed b.txt",
        "no more changes",
    ]


async def test_changes_that_fail_did_not_happen() -> None:
    journal, observers = Journal(), FileObservers()
    observers.listen(journal)
    files = RoomFiles(FakeRoom(), MemoryFileStore(), max_file_bytes=100, observers=observers)
    await files.write_file("a.txt", b"1")
    journal.lines.clear()
    with pytest.raises(ConflictError):
        await files.write_file("a.txt/b.txt", b"1")
    assert journal.lines == [f"expecting {FILE_UPDATED.name} a.txt/b.txt by None", "no more changes"]


@pytest.mark.parametrize("listens", [True, False])
async def test_a_folder_that_is_deleted_is_told_file_by_file(listens: bool) -> None:
    journal, observers = Journal(), FileObservers()
    journal.listens = listens
    observers.listen(journal)
    room = FakeRoom()
    files = RoomFiles(room, MemoryFileStore(), max_file_bytes=100, observers=observers)
    for path in ("f/a.txt", "f/g/b.txt"):
        await files.write_file(path, b"1")
    journal.lines.clear()
    room.events.clear()
    await files.delete("f", recursive=True)
    told = [event.header["path"] for event in room.events if event.message_type == FILE_DELETED.name]
    assert sorted(told) == ["f/a.txt", "f/g/b.txt"]
    assert sorted(line for line in journal.lines if line.startswith("changed")) == [
        "changed f/a.txt",
        "changed f/g/b.txt",
    ]
    assert len([line for line in journal.lines if line.startswith("expecting")]) == 1


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
