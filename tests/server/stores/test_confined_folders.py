"""Nothing below a folder leads out of it: links, devices and names that no path can spell."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshagent.api.errors import ConflictError
from meshagent.server.stores.confined_folders import (
    depth_below,
    file_info,
    files_below,
    find,
    list_entries,
    made_folder,
    mark_created,
    open_file,
    opened_folder,
)
from meshagent.server.stores.disk import Disk

DISK = Disk.of("process")


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A room's folder beside one with a secret, to which links in the room lead."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    room = tmp_path / "room"
    (room / "a" / "b").mkdir(parents=True)
    (room / "a" / "file.txt").write_text("one")
    (room / "a" / "b" / "deep.txt").write_text("two")
    (room / "a" / "link.txt").symlink_to(outside / "secret.txt")
    (room / "out").symlink_to(outside)
    os.mkfifo(room / "a" / "pipe")
    (room / "a" / "back\\slash").write_text("no path can spell it")
    return room


@pytest.fixture
def root(room: Path) -> Iterator[int]:
    descriptor = os.open(room, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def test_links_and_pipes_are_nothing(root: int) -> None:
    with opened_folder(root, ["out"]) as folder:
        assert folder is None
    with opened_folder(root, ["a"]) as folder:
        assert folder is not None
        assert find("link.txt", folder) is None
        assert open_file("link.txt", folder) is None
        assert open_file("pipe", folder) is None
        assert [info.name for info in list_entries(folder)] == ["b", "file.txt"]
    assert files_below(root, "a", "x/a") == ("x/a/b/deep.txt", "x/a/file.txt")
    assert files_below(root, "out", "out") == ()


def test_folders_are_not_made_through_links(root: int, room: Path) -> None:
    with pytest.raises(ConflictError), made_folder(root, ["out", "new"], DISK):
        pass
    with pytest.raises(ConflictError, match=r"a/file\.txt"), made_folder(root, ["a", "file.txt", "new"], DISK):
        pass
    assert os.listdir(room.parent / "outside") == ["secret.txt"]
    with made_folder(root, ["new", "folder"], DISK) as folder:
        assert os.fstat(folder).st_ino == (room / "new" / "folder").stat().st_ino


def test_a_folder_that_is_not_durable_is_taken_back(root: int, room: Path) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"), made_folder(root, ["new"], Disk(sync=refuse)):
        pass
    assert not (room / "new").exists()


def test_depth_counts_levels(root: int, room: Path) -> None:
    (room / "empty").mkdir()
    assert depth_below(root, "empty") == 0
    assert depth_below(root, "a") == 2


def test_a_replaced_file_keeps_its_time_of_creation(room: Path) -> None:
    old, new = room / "a" / "file.txt", room / "new.txt"
    new.write_text("newer")
    os.utime(old, (1_000_000_000, 1_000_000_000))
    with old.open() as replaced, new.open("r+") as file:
        mark_created(replaced.fileno(), None)
        mark_created(file.fileno(), replaced.fileno())
        first, second = file_info("a", replaced.fileno()), file_info("a", file.fileno())
    assert first.version != second.version
    assert first.created_at <= second.updated_at
    assert second.created_at in (first.created_at, second.updated_at)  # the latter without extended attributes
