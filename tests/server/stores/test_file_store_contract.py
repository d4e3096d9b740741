"""How every file store behaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshagent.api.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
)
from meshagent.server.stores.files import FileInfo, FileStore, FileStores
from meshagent.server.stores.local_files import LocalFileStores
from meshagent.server.stores.memory_files import MemoryFileStores
from meshagent.server.stores.paths import MAX_PARTS


@pytest.fixture(params=["memory", "local"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FileStores]:
    made: FileStores = MemoryFileStores()
    if request.param == "local":
        made = local = LocalFileStores(tmp_path / "files", durability="process")
        await local.start()
    yield made
    await made.close()


@pytest.fixture
async def store(stores: FileStores) -> FileStore:
    return await stores.open("project", "room")


async def put(store: FileStore, path: str, content: bytes = b"content", *, overwrite: bool = True) -> FileInfo:
    writer = await store.start_write()
    await writer.write(content)
    return await store.publish(writer, path, overwrite=overwrite)


async def get(store: FileStore, path: str) -> bytes:
    async with await store.open_read(path) as reader:
        return b"".join([chunk async for chunk in reader.iter_chunks(100_000)])


async def names(store: FileStore, path: str = "") -> list[str]:
    return [info.name for info in await store.list_folder(path)]


async def test_a_published_file_is_there_with_its_folders(store: FileStore) -> None:
    info = await put(store, "/a//b/./c.txt", b"hello")
    assert (info.name, info.is_folder, info.size) == ("c.txt", False, 5)
    assert info.created_at <= info.updated_at
    assert info.updated_at.utcoffset() == timedelta(0)
    assert await store.stat("a/b/c.txt") == info
    assert await get(store, "a/b/c.txt") == b"hello"
    (folder,) = await store.list_folder("a")
    assert (folder.name, folder.is_folder, folder.size) == ("b", True, None)
    assert folder.created_at.utcoffset() == folder.updated_at.utcoffset() == timedelta(0)
    assert await store.list_folder("a/b/") == [info]


async def test_an_empty_room_has_a_root(store: FileStore) -> None:
    root = await store.stat("")
    assert root is not None
    assert (root.name, root.is_folder) == ("", True)
    assert await store.exists("/")
    assert await store.list_folder("") == []
    assert await store.list_folder("missing") == []
    assert await store.stat("missing/file") is None
    assert not await store.exists("missing")


async def test_nothing_is_seen_before_it_is_published(store: FileStore) -> None:
    await put(store, "a.txt", b"old")
    writer = await store.start_write()
    await writer.write(b"x" * 600_000)
    assert await names(store) == ["a.txt"]
    assert await get(store, "a.txt") == b"old"
    await store.discard(writer)
    await store.discard(writer)
    with pytest.raises(InvalidStateError):
        await writer.write(b"more")
    with pytest.raises(InvalidStateError):
        await store.publish(writer, "a.txt", overwrite=True)
    assert await get(store, "a.txt") == b"old"


async def test_writes_append_in_order(store: FileStore) -> None:
    writer = await store.start_write()
    parts = [bytes([number]) * 70_000 for number in range(20)]
    await asyncio.gather(*(writer.write(part) for part in parts), writer.write(b""))
    assert writer.size == 1_400_000
    info = await store.publish(writer, "big", overwrite=False)
    assert info.size == 1_400_000
    assert await get(store, "big") == b"".join(parts)
    await store.discard(writer)
    assert await store.exists("big")


async def test_an_empty_file_is_a_file(store: FileStore) -> None:
    writer = await store.start_write()
    assert (await store.publish(writer, "empty", overwrite=False)).size == 0
    assert await get(store, "empty") == b""


async def test_a_writer_holds_its_limit(store: FileStore) -> None:
    writer = await store.start_write(max_bytes=10)
    await writer.write(b"1234567890")
    with pytest.raises(LimitExceededError) as refused:
        await writer.write(b"1")
    assert refused.value.limit == 10
    await store.discard(writer)


async def test_an_existing_file_is_replaced_only_if_asked(store: FileStore) -> None:
    first = await put(store, "a", b"first")
    with pytest.raises(AlreadyExistsError):
        await put(store, "a", b"second", overwrite=False)
    assert await get(store, "a") == b"first"
    second = await put(store, "a", b"second")
    assert await get(store, "a") == b"second"
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at


async def test_a_reader_keeps_the_content_it_opened(store: FileStore) -> None:
    await put(store, "a", b"old content")
    async with await store.open_read("a") as reader:
        await put(store, "a", b"new")
        await store.delete("a")
        assert (reader.size, reader.info.name) == (11, "a")
        assert await reader.read(4, 100) == b"content"
        assert await reader.read(100, 1) == b""
        assert [chunk async for chunk in reader.iter_chunks(3, start=2, stop=8)] == [b"d c", b"ont"]
        assert [chunk async for chunk in reader.iter_chunks(4, start=4)] == [b"cont", b"ent"]
    await reader.close()


async def test_only_a_file_can_be_read(store: FileStore) -> None:
    await put(store, "folder/file")
    for path in ("missing", "folder", "", "folder/file/below"):
        with pytest.raises(NotFoundError):
            await store.open_read(path)


async def test_a_file_is_no_folder_and_a_folder_no_file(store: FileStore) -> None:
    await put(store, "folder/file", b"kept")
    for path in ("folder", "folder/file/below", "folder/file/deep/below", ""):
        with pytest.raises(ConflictError):
            await put(store, path)
    with pytest.raises(ConflictError):
        await store.list_folder("folder/file")
    assert await store.stat("folder/file/below") is None
    assert await get(store, "folder/file") == b"kept"


async def test_a_deleted_file_is_gone_and_its_folder_stays(store: FileStore) -> None:
    await put(store, "folder/file")
    assert await store.delete("folder/file") == ("folder/file",)
    assert await store.list_folder("folder") == []
    assert await store.exists("folder")
    with pytest.raises(NotFoundError):
        await store.delete("folder/file")
    assert await store.delete("folder") == ()
    assert not await store.exists("folder")


async def test_a_full_folder_is_deleted_only_if_asked(store: FileStore) -> None:
    for path in ("a/1", "a/b/2", "a/b/c/3", "ab/4"):
        await put(store, path)
    with pytest.raises(ConflictError):
        await store.delete("a")
    assert await store.delete("a", recursive=True) == ("a/1", "a/b/2", "a/b/c/3")
    assert await names(store) == ["ab"]


async def test_a_file_moves_with_its_times(store: FileStore) -> None:
    before = await put(store, "from", b"moved")
    after = await store.move("from", "new/folder/to")
    assert (after.name, after.created_at, after.updated_at) == ("to", before.created_at, before.updated_at)
    assert await get(store, "new/folder/to") == b"moved"
    assert not await store.exists("from")


async def test_a_folder_moves_with_what_is_in_it(store: FileStore) -> None:
    await put(store, "a/b/1", b"1")
    await put(store, "ab/2", b"2")
    assert (await store.move("a", "x/y")).is_folder
    assert await get(store, "x/y/b/1") == b"1"
    assert await names(store) == ["ab", "x"]


async def test_a_move_replaces_only_a_file_by_a_file(store: FileStore) -> None:
    await put(store, "a", b"a")
    await put(store, "b", b"b")
    await put(store, "folder/c", b"c")
    with pytest.raises(AlreadyExistsError):
        await store.move("a", "b")
    with pytest.raises(ConflictError):
        await store.move("a", "folder", overwrite=True)
    with pytest.raises(ConflictError):
        await store.move("folder", "a", overwrite=True)
    with pytest.raises(ConflictError):
        await store.move("folder", "folder/below/itself")
    with pytest.raises(ConflictError):
        await store.move("a", "b/below")
    with pytest.raises(NotFoundError):
        await store.move("missing", "new/place")
    await store.move("a", "b", overwrite=True)
    await store.move("b", "b", overwrite=True)
    assert await get(store, "b") == b"a"
    assert await names(store) == ["b", "folder"]


async def test_trees_do_not_grow_deeper_than_a_path(store: FileStore) -> None:
    deep = "/".join("d" * MAX_PARTS)
    await put(store, deep)
    with pytest.raises(InvalidRequestError):
        await put(store, f"{deep}/e")
    await store.move("d", "e")
    with pytest.raises(InvalidRequestError):
        await store.move("e", "f/e")
    assert await names(store) == ["e"]
    await store.move("e/d", "f")
    await store.move("f", "e/f")
    assert await store.delete("e", recursive=True) == (f"e/f/{deep[4:]}",)


async def test_the_root_stays(store: FileStore) -> None:
    for path in ("", "/", "."):
        with pytest.raises(InvalidRequestError):
            await store.delete(path, recursive=True)
        with pytest.raises(InvalidRequestError):
            await store.move(path, "elsewhere")
        with pytest.raises(InvalidRequestError):
            await store.move("elsewhere", path)


@pytest.mark.parametrize("path", ["..", "a/../../b", "a\\b", "a\x00b", "a\nb", "x" * 256, "\ud800"])
async def test_a_wrong_path_is_refused_everywhere(store: FileStore, path: str) -> None:
    for call in (store.stat, store.exists, store.list_folder, store.open_read, store.delete):
        with pytest.raises(InvalidRequestError):
            await call(path)
    with pytest.raises(InvalidRequestError):
        await put(store, path)
    with pytest.raises(InvalidRequestError):
        await store.move("a", path)


@pytest.mark.parametrize("name", [".schemas", "ä ö", "x" * 255, "日" * 85, "%2e%2e", "~", "a:b*?", "-rf"])
async def test_any_other_name_is_only_a_name(store: FileStore, name: str) -> None:
    await put(store, f"{name}/{name}", b"content")
    assert await names(store) == [name]
    assert await names(store, name) == [name]
    assert await get(store, f"{name}/{name}") == b"content"


async def test_rooms_do_not_see_each_other(stores: FileStores) -> None:
    one, other = await stores.open("project", "one"), await stores.open("project", "other")
    await put(one, "a", b"one")
    await put(other, "a", b"other")
    assert await stores.open("project", "one") is one
    await stores.delete_room("project", "one")
    await stores.delete_room("project", "one")
    assert not await (await stores.open("project", "one")).exists("a")
    assert await get(other, "a") == b"other"
    again = await stores.open("project", "one")
    await put(again, "b")
    assert await names(again) == ["b"]


async def test_of_many_writers_of_one_path_each_file_is_whole(store: FileStore) -> None:
    async def write(number: int) -> None:
        await put(store, f"folder/{number % 3}", b"%d" % number * 1000)

    await asyncio.gather(*(write(number) for number in range(10, 40)))
    for name in await names(store, "folder"):
        content = await get(store, f"folder/{name}")
        assert content == content[:2] * 1000


async def test_of_many_that_must_not_overwrite_one_wins(store: FileStore) -> None:
    outcomes = await asyncio.gather(
        *(put(store, "new/a", b"%d" % number, overwrite=False) for number in range(20)), return_exceptions=True
    )
    won = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, FileInfo)]
    assert len(won) == 1
    assert all(isinstance(outcome, FileInfo | AlreadyExistsError) for outcome in outcomes)
    assert await get(store, "new/a") == b"%d" % won[0]
