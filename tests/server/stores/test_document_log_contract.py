"""How every document log behaves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from meshagent.api.errors import AlreadyExistsError, ConflictError, NotFoundError
from meshagent.server.stores.documents import DocumentLogStore, StoredDocument
from meshagent.server.stores.memory_documents import MemoryDocumentLog
from meshagent.server.stores.sqlite_documents import SqliteDocumentLog
from tests.support.stores import open_commit_log


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DocumentLogStore]:
    if request.param == "memory":
        yield MemoryDocumentLog()
    else:
        async with open_commit_log(tmp_path) as log:
            yield SqliteDocumentLog(log)


async def make(store: DocumentLogStore, path: str = "notes.thread", room: str = "room") -> StoredDocument:
    return await store.create(room, path, schema_name="thread", schema_json='{"rootTagName":"thread"}')


async def load(store: DocumentLogStore, path: str = "notes.thread", room: str = "room") -> StoredDocument:
    document = await store.load(room, path)
    assert document is not None
    return document


async def test_a_new_document_is_loaded_as_it_was_made(store: DocumentLogStore) -> None:
    made = await store.create("room", "a/b.thread", schema_name="thread", schema_json="{}", state=b"first")
    assert made.updates == (b"first",)
    assert made.last_seq == 1
    assert await store.load("room", "a/b.thread") == made
    assert made.created_at.utcoffset() == timedelta(0)


async def test_what_is_not_there_loads_as_none(store: DocumentLogStore) -> None:
    await make(store)
    assert await store.load("room", "other") is None
    assert await store.load("other", "notes.thread") is None
    assert await store.stat("room", "other") is None


async def test_a_path_is_taken_once(store: DocumentLogStore) -> None:
    await make(store)
    with pytest.raises(AlreadyExistsError):
        await make(store)
    await make(store, room="another room")


async def test_updates_come_back_in_the_order_of_the_calls(store: DocumentLogStore) -> None:
    first, second = await make(store, "first"), await make(store, "second")
    futures = [store.append((first if number % 2 else second).incarnation, b"%d" % number) for number in range(300)]
    assert [await future for future in futures] == [number // 2 + 1 for number in range(300)]
    assert (await load(store, "first")).updates == tuple(b"%d" % number for number in range(1, 300, 2))
    assert (await load(store, "second")).updates == tuple(b"%d" % number for number in range(0, 300, 2))


async def test_a_read_sees_writes_that_nobody_has_waited_for(store: DocumentLogStore) -> None:
    made = await make(store)
    future = store.append(made.incarnation, b"update")
    assert (await load(store)).updates == (b"update",)
    assert future.done()


async def test_a_cancelled_append_is_stored_all_the_same(store: DocumentLogStore) -> None:
    made = await make(store)
    store.append(made.incarnation, b"update").cancel()
    assert await store.append(made.incarnation, b"next") == 2
    assert (await load(store)).updates == (b"update", b"next")


async def test_a_snapshot_replaces_what_it_covers(store: DocumentLogStore) -> None:
    made = await make(store)
    for number in range(1, 6):
        await store.append(made.incarnation, b"%d" % number)
    await store.write_snapshot(made.incarnation, b"1+2+3", upto_seq=3)
    document = await load(store)
    assert (document.snapshot, document.snapshot_seq, document.updates) == (b"1+2+3", 3, (b"4", b"5"))
    await store.write_snapshot(made.incarnation, b"1+2+3+4+5", upto_seq=5)
    assert await store.append(made.incarnation, b"6") == 6
    document = await load(store)
    assert (document.snapshot, document.updates, document.last_seq) == (b"1+2+3+4+5", (b"6",), 6)


async def test_an_empty_snapshot_and_an_empty_update_are_kept(store: DocumentLogStore) -> None:
    made = await make(store)
    await store.write_snapshot(made.incarnation, b"", upto_seq=0)
    await store.append(made.incarnation, b"")
    document = await load(store)
    assert (document.snapshot, document.updates) == (b"", (b"",))


@pytest.mark.parametrize("upto_seq", [1, 4])
async def test_a_snapshot_that_does_not_fit_is_refused(store: DocumentLogStore, upto_seq: int) -> None:
    made = await make(store)
    for number in range(3):
        await store.append(made.incarnation, b"%d" % number)
    await store.write_snapshot(made.incarnation, b"two", upto_seq=2)
    before = await load(store)
    with pytest.raises(ConflictError):
        await store.write_snapshot(made.incarnation, b"wrong", upto_seq=upto_seq)
    assert await load(store) == before


async def test_a_deleted_document_takes_nothing_and_does_not_come_back(store: DocumentLogStore) -> None:
    old = await make(store)
    await store.append(old.incarnation, b"old")
    await store.delete("room", "notes.thread")
    with pytest.raises(NotFoundError):
        await store.append(old.incarnation, b"late")
    with pytest.raises(NotFoundError):
        await store.write_snapshot(old.incarnation, b"late", upto_seq=1)
    with pytest.raises(NotFoundError):
        await store.delete("room", "notes.thread")
    new = await make(store)
    assert new.incarnation != old.incarnation
    with pytest.raises(NotFoundError):
        await store.append(old.incarnation, b"late")
    await store.append(new.incarnation, b"new")
    assert (await load(store)).updates == (b"new",)


async def test_appends_around_a_deletion_that_nobody_waits_for(store: DocumentLogStore) -> None:
    kept, gone = await make(store, "kept"), await make(store, "gone")
    early = store.append(gone.incarnation, b"early")
    await store.delete("room", "gone")
    late = store.append(gone.incarnation, b"late")
    after = store.append(kept.incarnation, b"after")
    assert await early == 1
    assert await after == 1
    with pytest.raises(NotFoundError):
        await late


async def test_a_moved_document_keeps_its_life(store: DocumentLogStore) -> None:
    made = await make(store, "from")
    await store.append(made.incarnation, b"1")
    await store.move("room", "from", "to")
    await store.append(made.incarnation, b"2")
    assert await store.load("room", "from") is None
    moved = await load(store, "to")
    assert (moved.path, moved.incarnation, moved.updates) == ("to", made.incarnation, (b"1", b"2"))


async def test_a_move_needs_a_source_and_a_free_place(store: DocumentLogStore) -> None:
    await make(store, "here")
    await make(store, "there")
    with pytest.raises(NotFoundError):
        await store.move("room", "nowhere", "new")
    with pytest.raises(AlreadyExistsError):
        await store.move("room", "here", "there")
    assert [info.path for info in await store.list_documents("room")] == ["here", "there"]


async def test_a_listing_shows_path_schema_times_and_size(store: DocumentLogStore) -> None:
    b, _ = await make(store, "b"), await make(store, "a")
    await make(store, "elsewhere", room="another room")
    await store.append(b.incarnation, b"12345")
    await store.append(b.incarnation, b"678")
    await store.write_snapshot(b.incarnation, b"12", upto_seq=1)
    first, second = await store.list_documents("room")
    assert (first.path, first.schema_name, first.stored_bytes) == ("a", "thread", 0)
    assert (second.path, second.incarnation, second.stored_bytes) == ("b", b.incarnation, 2 + 3)
    assert second.created_at <= second.updated_at
    assert await store.stat("room", "b") == second


async def test_a_deleted_room_takes_only_its_own_documents(store: DocumentLogStore) -> None:
    gone = await make(store)
    kept = await make(store, room="another room")
    await store.delete_room("room")
    assert await store.list_documents("room") == []
    with pytest.raises(NotFoundError):
        await store.append(gone.incarnation, b"late")
    assert await store.append(kept.incarnation, b"update") == 1
