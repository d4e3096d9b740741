"""The document service without a wire: turns, saving, unloading, and a disk that refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.documents.change_budget import MAX_CHANGED_PARTS
from meshagent.api.documents.lives import DocumentEndedError
from meshagent.api.errors import AlreadyExistsError, InvalidRequestError, LimitExceededError, NotFoundError
from meshagent.server.services.documents.ports import Update
from meshagent.server.services.documents.service import DocumentsService, DocumentSubscription
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.memory_documents import MemoryDocumentLog
from tests.support.documents import Copy
from tests.support.fake_room import FakeRoom

PATH = "a.document"


class Files:
    """The room's files, in memory."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def read_file(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def publish_document(self, path: str, state: bytes, *, participant_id: str | None) -> None:
        self.files[path] = state


class FailingLog(MemoryDocumentLog):
    """A log whose disk can be made to refuse."""

    failing = False

    def append(self, incarnation: int, update: bytes) -> asyncio.Future[int]:
        if not self.failing:
            return super().append(incarnation, update)
        refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        refused.set_exception(StoreFailedError("no space left on device"))
        return refused

    async def write_snapshot(self, incarnation: int, state: bytes, *, upto_seq: int) -> None:
        if self.failing:
            raise StoreFailedError("no space left on device")
        await super().write_snapshot(incarnation, state, upto_seq=upto_seq)


class Watcher:
    """A subscriber that keeps what it is told."""

    def __init__(self) -> None:
        self.updates: list[bytes] = []
        self.end: DocumentEndedError | None = None
        self.ends = 0
        self.leaves_when_moved = False

    def push(self, update: Update) -> None:
        self.updates.append(update.data)

    def ended(self, error: DocumentEndedError | None) -> None:
        self.end = error
        self.ends += 1

    def moved(self, error: DocumentEndedError) -> bool:
        self.end = error
        return self.leaves_when_moved


class Scene:
    """One room's documents, with everything around them in memory."""

    def __init__(self, max_bytes: int = 1_000_000) -> None:
        self.room = FakeRoom()
        self.log = FailingLog()
        self.files = Files()
        self.service = DocumentsService(self.room, self.log, self.files, max_bytes=max_bytes, save_delay=0.0)

    async def watch(self, path: str = PATH) -> tuple[DocumentSubscription, Watcher, Copy]:
        watcher = Watcher()
        async with self.service.using(path, create=True) as document:
            session = self.service.subscribe(document, watcher)
            return session, watcher, Copy(document.document.encode_state())


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.service.close()
    await scene.room.settle()


async def durable(done: asyncio.Future[None] | None) -> None:
    assert done is not None
    async with asyncio.timeout(5):
        await done


async def test_edits_of_one_turn_are_one_record_and_one_message(scene: Scene) -> None:
    session, own, copy = await scene.watch()
    _, other, _ = await scene.watch()
    pending = [session.apply(copy.append("heading", **{"$id": str(n), "text": "t"}), "alice") for n in range(5)]
    for done in pending:
        await durable(done)
    assert len(other.updates) == 1
    assert own.updates == []
    stored = await scene.log.load("project/room", PATH)
    assert stored is not None
    assert len(stored.updates) <= 2, "the state it began with, and the turn"
    assert await scene.service.describe(PATH) == {"document": {"content": [{"heading": {"text": "t"}}] * 5}}


async def test_authors_of_one_turn_get_what_the_others_did(scene: Scene) -> None:
    first, first_watcher, first_copy = await scene.watch()
    second, second_watcher, second_copy = await scene.watch()
    a = first.apply(first_copy.append("heading", **{"$id": "a", "text": "a"}), "alice")
    b = second.apply(second_copy.append("body", **{"$id": "b", "text": "b"}), "bob")
    await durable(a)
    await durable(b)
    for copy, watcher in ((first_copy, first_watcher), (second_copy, second_watcher)):
        (update,) = watcher.updates
        copy.doc.apply_update(update)
        assert sorted(copy.tags) == ["body", "heading"]


async def test_a_disk_that_refuses_fails_the_edit_loudly_and_loses_nothing(scene: Scene) -> None:
    session, _, copy = await scene.watch()
    scene.log.failing = True
    with pytest.raises(StoreFailedError):
        await durable(session.apply(copy.append("heading", **{"$id": "1", "text": "unsaved"}), "alice"))
    session.close()
    await asyncio.sleep(0.02)
    assert await scene.service.describe(PATH) == {"document": {"content": [{"heading": {"text": "unsaved"}}]}}, (
        "nobody watches it, but it is not on disk either: it must stay loaded"
    )
    scene.log.failing = False
    session, _, copy = await scene.watch()
    await durable(session.apply(copy.append("heading", **{"$id": "2", "text": "saved"}), "alice"))
    stored = await scene.log.load("project/room", PATH)
    assert stored is not None
    rebuilt = Copy(stored.snapshot or b"")
    for update in stored.updates:
        rebuilt.doc.apply_update(update)
    assert [attributes["text"] for attributes in rebuilt.attributes] == ["unsaved", "saved"]


# --- updates that come early -----------------------------------------------------------------------------


def edits(copy: Copy, count: int) -> list[bytes]:
    return [copy.append("heading", **{"$id": str(n), "text": str(n)}) for n in range(count)]


async def texts(scene: Scene) -> list[str]:
    described = await scene.service.describe(PATH)
    return [entry["heading"]["text"] for entry in described["document"]["content"]]


async def restarted(scene: Scene) -> Scene:
    """Another run of the room, on the same log."""
    again = Scene()
    again.service = DocumentsService(again.room, scene.log, again.files, save_delay=0.0)
    return again


async def test_an_early_edit_survives_snapshots_and_restarts(scene: Scene) -> None:
    session, _, copy = await scene.watch()
    first, second, third = edits(copy, 3)
    await durable(session.apply(first, "alice"))
    await durable(session.apply(third, "alice"))
    session.close()
    await scene.room.settle()  # the document is unloaded, with a snapshot
    for run in (scene, await restarted(scene)):
        assert await texts(run) == ["0"]
        await run.room.settle()
    later = await restarted(scene)
    session, _, _ = await later.watch()
    await durable(session.apply(second, "alice"))
    assert await texts(later) == ["0", "1", "2"]
    session.close()
    await later.room.settle()
    assert await texts(await restarted(scene)) == ["0", "1", "2"]


async def test_an_early_edit_is_kept_by_the_snapshot_after_a_disk_failure(scene: Scene) -> None:
    session, _, copy = await scene.watch()
    first, second, third = edits(copy, 3)
    scene.log.failing = True
    with pytest.raises(StoreFailedError):
        await durable(session.apply(first, "alice"))
    failing = session.apply(third, "alice")
    scene.log.failing = False
    await durable(failing)  # by the snapshot that repairs the log
    again = await restarted(scene)
    session, _, _ = await again.watch()
    await durable(session.apply(second, "alice"))
    assert await texts(again) == ["0", "1", "2"]


async def test_early_edits_count_toward_the_size_of_the_document() -> None:
    scene = Scene(max_bytes=3000)
    session, _, copy = await scene.watch()
    first, *rest = [copy.append("heading", **{"$id": str(n), "text": "x" * 400}) for n in range(6)]
    too_large = copy.append("heading", **{"$id": "6", "text": "x" * 1000})
    for update in rest:
        await durable(session.apply(update, "alice"))
    with pytest.raises(LimitExceededError):
        session.apply(too_large, "alice")
    session.close()
    await scene.room.settle()
    session, _, _ = await scene.watch()
    with pytest.raises(LimitExceededError):
        session.apply(too_large, "alice")
    await durable(session.apply(first, "alice"))
    assert len(await texts(scene)) == 6
    await scene.service.close()
    await scene.room.settle()


async def test_a_file_that_lacks_its_beginning_is_no_document(scene: Scene) -> None:
    copy = Copy()
    scene.files.files[PATH] = edits(copy, 2)[1]
    with pytest.raises(InvalidRequestError, match="lacks changes"):
        await scene.service.describe(PATH)


async def test_the_file_shows_the_document_a_moment_later(scene: Scene) -> None:
    session, _, copy = await scene.watch()
    await durable(session.apply(copy.append("heading", **{"$id": "1", "text": "t"}), "alice"))
    await scene.service.before_read(PATH)
    assert Copy(scene.files.files[PATH]).tags == ["heading"]


async def test_a_deleted_document_ends_for_its_watchers_and_starts_empty(scene: Scene) -> None:
    session, watcher, copy = await scene.watch()
    await durable(session.apply(copy.append("heading", **{"$id": "1", "text": "t"}), "alice"))
    await scene.service.before_delete(PATH)
    scene.files.files.pop(PATH, None)
    assert watcher.end is not None
    assert watcher.end.change == "deleted"
    with pytest.raises(NotFoundError):
        await scene.service.describe(PATH)
    _, _, fresh = await scene.watch()
    assert fresh.tags == []


async def test_a_moved_document_keeps_its_watchers(scene: Scene) -> None:
    session, _, copy = await scene.watch("a/one.document")
    await scene.service.before_move("a", "b")
    scene.files.files["b/one.document"] = scene.files.files.pop("a/one.document")
    await durable(session.apply(copy.append("heading", **{"$id": "1", "text": "t"}), "alice"))
    assert await scene.service.describe("b/one.document") == {"document": {"content": [{"heading": {"text": "t"}}]}}
    with pytest.raises(NotFoundError):
        await scene.service.describe("a/one.document")


async def test_watchers_that_know_of_moves_leave(scene: Scene) -> None:
    session, watcher, _ = await scene.watch()
    watcher.leaves_when_moved = True
    await scene.service.before_move(PATH, "b.document")
    assert watcher.end is not None
    assert (watcher.end.change, watcher.end.new_path) == ("moved", "b.document")
    assert session.document.subscribers == set()


# --- lives of a document ---------------------------------------------------------------------------------


async def life_of(scene: Scene, path: str = PATH) -> str:
    async with scene.service.using(path, create=True) as document:
        return document.life


async def replace(scene: Scene) -> None:
    await scene.service.before_delete(PATH)
    scene.files.files.pop(PATH, None)


@pytest.mark.parametrize("with_file", [False, True])
async def test_a_copy_of_another_life_is_refused_and_not_merged(scene: Scene, with_file: bool) -> None:
    session, _, copy = await scene.watch()
    await durable(session.apply(copy.append("heading", **{"$id": "1", "text": "old"}), "alice"))
    await scene.service.before_read(PATH)
    file = scene.files.files[PATH]
    await replace(scene)
    if with_file:  # the new document is made from a file that the old one wrote
        scene.files.files[PATH] = file
    session, _, fresh = await scene.watch()
    before = await scene.service.describe(PATH)
    with pytest.raises(DocumentEndedError):
        session.apply(copy.doc.get_update(), "alice")
    with pytest.raises(DocumentEndedError) as refused:
        async with scene.service.joining(PATH, vector=copy.doc.get_state()):
            pass
    assert refused.value.change == "replaced"
    copy.doc.apply_update(fresh.doc.get_update())  # a client that merges by itself, and sends all it has
    if not with_file:
        with pytest.raises(DocumentEndedError):
            session.apply(copy.doc.get_update(), "alice")
    assert await scene.service.describe(PATH) == before
    async with scene.service.joining(PATH, vector=fresh.doc.get_state()):
        await durable(session.apply(fresh.append("heading", **{"$id": "2", "text": "new"}), "bob"))


@pytest.mark.parametrize("restart", [False, True])
async def test_a_life_that_is_gone_is_found_or_not_made_again(scene: Scene, restart: bool) -> None:
    life = await life_of(scene)
    await scene.service.before_move(PATH, "b.document")
    scene.files.files.clear()
    later = await restarted(scene) if restart else scene
    with pytest.raises(DocumentEndedError) as moved:
        async with later.service.joining(PATH, life=life, create=True):
            pass
    assert (moved.value.change, moved.value.new_path) == ("moved", "b.document")
    await later.service.before_delete("b.document")
    with pytest.raises(DocumentEndedError) as deleted:
        async with later.service.joining(PATH, life=life, create=True):
            pass
    assert deleted.value.change == "deleted"
    assert await scene.log.stat("project/room", PATH) is None
    await life_of(later)
    with pytest.raises(DocumentEndedError) as replaced:
        async with later.service.joining(PATH, life=life, create=True):
            pass
    assert replaced.value.change == "replaced"


async def test_a_life_stays_the_same_over_restarts_and_snapshots(scene: Scene) -> None:
    session, _, copy = await scene.watch()
    life = await life_of(scene)
    await durable(session.apply(copy.append("heading", **{"$id": "1", "text": "t"}), "alice"))
    session.close()
    await scene.room.settle()
    assert await life_of(await restarted(scene)) == life


async def test_a_document_without_a_mark_takes_any_copy(scene: Scene) -> None:
    """Documents that were made before there were marks."""
    copy = Copy()
    first = copy.append("heading", **{"$id": "1", "text": "t"})
    schema = builtin_schema("document")
    assert schema is not None
    await scene.log.create(
        "project/room", PATH, schema_name="document", schema_json=json.dumps(schema.to_json()), state=first
    )
    async with scene.service.joining(PATH, vector=copy.doc.get_state()) as document:
        assert document.life == "1.0"


async def test_a_document_that_would_grow_too_large_refuses_the_edit() -> None:
    scene = Scene(max_bytes=500)
    session, _, copy = await scene.watch()
    with pytest.raises(LimitExceededError):
        session.apply(copy.append("heading", **{"$id": "1", "text": "x" * 1000}), "alice")
    await scene.service.close()
    await scene.room.settle()


async def test_a_file_that_is_a_document_is_taken_over(scene: Scene) -> None:
    source = Copy()
    source.append("heading", **{"$id": "1", "text": "imported"})
    scene.files.files["state.document"] = source.doc.get_update()
    scene.files.files["json.document"] = b'{"document": {"content": [{"body": {"text": "from JSON"}}]}}'
    assert await scene.service.describe("state.document") == {
        "document": {"content": [{"heading": {"text": "imported"}}]}
    }
    assert await scene.service.describe("json.document") == {"document": {"content": [{"body": {"text": "from JSON"}}]}}


# --- documents as JSON -----------------------------------------------------------------------------------


def page(*headings: str) -> dict[str, Any]:
    return {"document": {"content": [{"heading": {"text": text}} for text in headings]}}


async def test_documents_are_made_once_and_described_as_json(scene: Scene) -> None:
    await scene.service.create(PATH, page("one"))
    assert await scene.service.describe(PATH) == page("one")
    with pytest.raises(AlreadyExistsError):
        await scene.service.create(f"/{PATH}", None)
    with pytest.raises(NotFoundError):
        await scene.service.describe("another.document")


async def test_replacing_the_json_of_a_document_reaches_its_watchers(scene: Scene) -> None:
    await scene.service.create(PATH, page("one"))
    session, watcher, _ = await scene.watch()
    assert await scene.service.replace_json(PATH, page("one", "two"), "alice") == page("one", "two")
    assert len(watcher.updates) == 1
    await scene.service.replace_json(PATH, page("one", "two"), "alice")
    assert len(watcher.updates) == 1  # nothing changed, nothing is sent
    with pytest.raises(InvalidRequestError):
        await scene.service.replace_json(PATH, {"nonsense": {}}, "alice")
    assert await scene.service.describe(PATH) == page("one", "two")
    session.close()


async def test_a_document_is_made_and_replaced_by_no_more_than_one_change_may_be(scene: Scene) -> None:
    much = page(*map(str, range(MAX_CHANGED_PARTS // 2 + 1)))
    with pytest.raises(LimitExceededError, match="split the change"):
        await scene.service.create(PATH, much)
    await scene.service.create(PATH, page())
    with pytest.raises(LimitExceededError, match="split the change"):
        await scene.service.replace_json(PATH, much, None)
    assert await scene.service.describe(PATH) == page()


@pytest.mark.parametrize("path", ["no extension", "a.unknown"])
async def test_a_path_needs_a_known_schema(scene: Scene, path: str) -> None:
    with pytest.raises((InvalidRequestError, NotFoundError)):
        await scene.service.create(path, None)


async def test_a_deployed_schema_goes_before_the_built_in_one(scene: Scene) -> None:
    schema = builtin_schema("document")
    assert schema is not None
    deployed = json.dumps(schema.to_json()).replace('"heading"', '"title"').replace("/heading", "/title")
    scene.files.files[".schemas/document.json"] = deployed.encode()
    await scene.service.create(PATH, {"document": {"content": [{"title": {"text": "one"}}]}})
    with pytest.raises(InvalidRequestError):
        await scene.service.create("b.document", page("one"))
    scene.files.files[".schemas/document.json"] = b"{}"
    with pytest.raises(InvalidRequestError, match="schema"):
        await scene.service.create("c.document", None)


async def test_closing_writes_everything_down() -> None:
    scene = Scene()
    session, watcher, copy = await scene.watch()
    await durable(session.apply(copy.append("heading", **{"$id": "1", "text": "kept"}), "alice"))
    await scene.service.close()
    await scene.room.settle()
    assert watcher.ends == 1
    stored = await scene.log.load("project/room", PATH)
    assert stored is not None
    assert stored.updates == ()  # all of it is in the snapshot
    again = DocumentsService(FakeRoom(), scene.log, scene.files)
    assert await again.describe(PATH) == page("kept")
    await again.close()


async def test_a_document_that_is_read_as_json_stays_in_memory_for_a_while(scene: Scene) -> None:
    await scene.service.create("a.document", {"document": {"content": [{"heading": {"text": "x"}}]}})
    await scene.room.settle()
    first = await scene.service.describe("a.document")
    await scene.room.settle()
    assert await scene.service.describe("a.document") is first
    await scene.room.settle()
    [document] = scene.service._open.values()
    document._end_lingering(scene.service._release)  # as its timer does
    await scene.room.settle()
    assert not scene.service._open
    assert await scene.service.describe("a.document") == first
