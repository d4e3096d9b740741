"""Local files: confinement to the room's folder, failing disks, crashes and cancelled callers."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.api.errors import (
    ConflictError,
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    UnavailableError,
)
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.files import FileInfo, FileStore
from meshagent.server.stores.health import HealthMonitor
from meshagent.server.stores.local_files import LocalFileStores
from tests.support.stores import FaultyDisk, disk_broken, disk_full


class Fixture:
    """A local store on a disk that can be made to fail."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "data"
        self.room = self.root / "rooms" / "project" / "room"
        self.temp = self.root / "tmp"
        self.outside = folder / "outside"
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        self.faults = FaultyDisk()
        self.health = HealthMonitor()
        self.stores = LocalFileStores(self.root, disk=self.faults.disk, health=self.health)
        self.files: FileStore

    async def start(self) -> None:
        await self.stores.start()
        self.files = await self.stores.open("project", "room")
        await self.put("folder/file", b"old")

    async def put(self, path: str, content: bytes = b"content") -> FileInfo:
        writer = await self.files.start_write()
        await writer.write(content)
        return await self.files.publish(writer, path, overwrite=True)

    async def get(self, path: str) -> bytes:
        async with await self.files.open_read(path) as reader:
            return await reader.read(0, reader.size)

    def leftovers(self) -> list[str]:
        return os.listdir(self.temp)


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Fixture]:
    fixture = Fixture(tmp_path)
    await fixture.start()
    yield fixture
    await fixture.stores.close()


# --- confinement ---


async def test_a_link_to_a_folder_outside_leads_nowhere(local: Fixture) -> None:
    (local.room / "link").symlink_to(local.outside)
    assert await local.files.stat("link") is None
    assert await local.files.stat("link/secret") is None
    assert await local.files.list_folder("link") == []
    assert [info.name for info in await local.files.list_folder("")] == ["folder"]
    with pytest.raises(NotFoundError):
        await local.files.open_read("link/secret")
    with pytest.raises(NotFoundError):
        await local.files.delete("link/secret")
    with pytest.raises(NotFoundError):
        await local.files.delete("link", recursive=True)
    with pytest.raises(NotFoundError):
        await local.files.move("link/secret", "mine")
    with pytest.raises(ConflictError):
        await local.put("link/new")
    with pytest.raises(ConflictError):
        await local.files.move("folder/file", "link/new")
    assert os.listdir(local.outside) == ["secret"]


async def test_a_link_to_a_file_outside_is_replaced_and_not_written_through(local: Fixture) -> None:
    (local.room / "link").symlink_to(local.outside / "secret")
    with pytest.raises(NotFoundError):
        await local.files.open_read("link")
    await local.put("link", b"mine")
    assert await local.get("link") == b"mine"
    assert (local.outside / "secret").read_text() == "secret"


async def test_deleting_a_folder_does_not_follow_links_in_it(local: Fixture) -> None:
    (local.room / "folder" / "link").symlink_to(local.outside)
    assert await local.files.delete("folder", recursive=True) == ("folder/file",)
    assert (local.outside / "secret").read_text() == "secret"
    assert local.leftovers() == []


async def test_a_link_inside_the_room_is_not_followed_either(local: Fixture) -> None:
    (local.room / "link").symlink_to(local.room / "folder")
    assert await local.files.stat("link/file") is None


async def test_a_pipe_is_no_file(local: Fixture) -> None:
    os.mkfifo(local.room / "pipe")
    assert await local.files.stat("pipe") is None
    with pytest.raises(NotFoundError):
        await local.files.open_read("pipe")  # and does not wait for a writer
    assert [info.name for info in await local.files.list_folder("")] == ["folder"]


async def test_names_that_no_path_can_spell_are_not_listed(local: Fixture) -> None:
    for name in (b"back\\slash", b"new\nline", b"latin-\xe9"):
        os.mkdir(os.fsencode(local.room) + b"/" + name)
    assert [info.name for info in await local.files.list_folder("")] == ["folder"]


# --- failing disks ---


@pytest.mark.parametrize("error", [disk_full(), disk_broken()])
async def test_content_that_cannot_be_synced_is_not_published(local: Fixture, error: OSError) -> None:
    local.faults.sync_error = error
    with pytest.raises(StoreFailedError):
        await local.put("folder/file", b"new")
    with pytest.raises(StoreFailedError):
        await local.put("new folder/file", b"new")
    assert not local.health.healthy
    assert await local.get("folder/file") == b"old"
    assert not await local.files.exists("new folder")
    assert not local.health.healthy  # reading does not show that writing works
    local.faults.sync_error = None
    await local.put("new folder/file", b"new")
    assert await local.get("new folder/file") == b"new"
    assert local.health.healthy
    assert local.leftovers() == []


async def test_a_folder_that_cannot_be_made_durable_is_not_left_behind(local: Fixture) -> None:
    local.faults.sync_error = disk_broken()
    with pytest.raises(StoreFailedError):
        await local.files.move("folder/file", "a/b/c")
    assert [info.name for info in await local.files.list_folder("")] == ["folder"]
    assert await local.get("folder/file") == b"old"


async def test_a_full_disk_ends_the_writer(local: Fixture) -> None:
    writer = await local.files.start_write()
    await writer.write(bytes(300_000))
    assert len(local.leftovers()) == 1
    local.faults.write_error = disk_full()
    with pytest.raises(StoreFailedError):
        await writer.write(bytes(300_000))
    local.faults.write_error = None
    with pytest.raises(InvalidStateError):
        await writer.write(b"more")
    with pytest.raises(InvalidStateError):
        await local.files.publish(writer, "file", overwrite=False)
    await local.files.discard(writer)
    assert local.leftovers() == []
    assert not local.health.healthy


async def test_a_small_file_meets_the_full_disk_at_publish(local: Fixture) -> None:
    local.faults.write_error = disk_full()
    with pytest.raises(StoreFailedError):
        await local.put("file", b"small")
    assert not await local.files.exists("file")
    assert local.leftovers() == []


async def test_a_publish_syncs_the_file_and_every_new_entry(local: Fixture) -> None:
    files, folders = local.faults.synced_files, local.faults.synced_folders
    await local.put("folder/another")
    assert (local.faults.synced_files, local.faults.synced_folders) == (files + 1, folders + 1)
    await local.put("a/b/file")
    assert (local.faults.synced_files, local.faults.synced_folders) == (files + 2, folders + 1 + 3)
    await local.files.delete("a/b/file")
    assert local.faults.synced_folders == folders + 1 + 3 + 1
    await local.files.move("folder/another", "a/b/file")
    assert local.faults.synced_folders == folders + 1 + 3 + 1 + 2


async def test_a_refused_publish_leaves_no_temporary_file(local: Fixture) -> None:
    writer = await local.files.start_write()
    await writer.write(bytes(300_000))
    with pytest.raises(ConflictError):
        await local.files.publish(writer, "folder", overwrite=True)
    writer = await local.files.start_write()
    await writer.write(bytes(300_000))
    with pytest.raises(InvalidRequestError):
        await local.files.publish(writer, "../file", overwrite=True)
    assert local.leftovers() == []
    assert local.health.healthy


# --- crashes, owners and cancelled callers ---


async def test_what_a_crash_left_is_removed_at_start(local: Fixture) -> None:
    writer = await local.files.start_write()
    await writer.write(bytes(300_000))
    (local.temp / "deleted-1").mkdir()
    (local.temp / "deleted-1" / "file").write_text("x")
    await local.stores.close()
    again = LocalFileStores(local.root)
    await again.start()
    assert local.leftovers() == []
    assert (await (await again.open("project", "room")).list_folder(""))[0].name == "folder"
    await again.close()


async def test_a_folder_of_files_has_one_owner(local: Fixture) -> None:
    second = LocalFileStores(local.root)
    with pytest.raises(UnavailableError):
        await second.start()
    await second.close()


async def test_a_closed_store_is_unavailable(local: Fixture) -> None:
    await local.stores.close()
    with pytest.raises(UnavailableError):
        await local.files.stat("folder")
    await local.stores.close()


async def test_a_cancelled_publish_ends_whole_and_clean(local: Fixture) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow_sync(descriptor: int) -> None:
        entered.set()
        release.wait()

    stores = LocalFileStores(local.root.parent / "slow", disk=Disk(sync=slow_sync))
    release.set()
    await stores.start()
    files = await stores.open("project", "room")
    writer = await files.start_write()
    await writer.write(b"whole")
    entered.clear()
    release.clear()
    publishing = asyncio.create_task(files.publish(writer, "file", overwrite=False))
    await asyncio.get_running_loop().run_in_executor(None, entered.wait)
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    await files.discard(writer)  # as a connection does that ends: the publish must not lose its file
    release.set()
    await stores.close()
    assert os.listdir(local.root.parent / "slow" / "tmp") == []
    assert (local.root.parent / "slow" / "rooms" / "project" / "room" / "file").read_bytes() == b"whole"


async def test_a_cancelled_write_ends_the_writer(local: Fixture) -> None:
    writer = await local.files.start_write()
    writing = asyncio.create_task(writer.write(bytes(400_000)))
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    with pytest.raises(InvalidStateError):
        await local.files.publish(writer, "file", overwrite=False)
    await local.files.discard(writer)
    await local.stores.close()
    assert local.leftovers() == []


async def test_a_reader_that_nobody_waits_for_is_closed(local: Fixture) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        opening = asyncio.create_task(local.files.open_read("folder/file"))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    await local.files.list_folder("")
    await local.stores.close()
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_closed_reader_reads_nothing(local: Fixture) -> None:
    reader = await local.files.open_read("folder/file")
    assert reader.fileno() is not None
    await reader.close()
    assert reader.fileno() is None
    with pytest.raises(InvalidStateError):
        await reader.read(0, 1)


async def test_the_time_of_creation_is_kept_over_a_restart(local: Fixture) -> None:
    first = await local.files.stat("folder/file")
    assert first is not None
    os.utime(local.room / "folder" / "file", ns=(0, 10**18 * 2))
    await local.put("folder/file", b"new")
    await local.stores.close()
    again = LocalFileStores(local.root)
    await again.start()
    info = await (await again.open("project", "room")).stat("folder/file")
    assert info is not None
    assert info.created_at == first.created_at
    assert info.updated_at > first.updated_at
    await again.close()
