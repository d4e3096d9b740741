"""The storage service on a store in memory: handles, events, deleting, moving, grants, documents at their paths."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.contracts import storage as api
from meshagent.api.contracts.content import FileBody
from meshagent.api.contracts.operation import Operation
from meshagent.api.errors import (
    AlreadyExistsError,
    ConflictError,
    InvalidRequestError,
    InvalidStateError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
)
from meshagent.api.tokens.grants import StorageFileGrant, StorageGrant, StoragePathGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.operations import StreamedFile
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.file_observers import FileObservers, FileWatcher
from meshagent.server.services.storage import StorageService
from meshagent.server.stores.conditions import ChangeCondition
from meshagent.server.stores.files import FileInfo, FileWriter
from meshagent.server.stores.memory_files import MemoryFileStore
from tests.support.fake_room import FakeRoom, PublishedEvent, fake_participant, start_operation


class HeldStore(MemoryFileStore):
    """A store whose steps wait while `gate` is closed, and that counts the writers nobody ended."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.unended: set[FileWriter] = set()
        self.move_error: Exception | None = None

    async def start_write(self, *, max_bytes: int | None = None) -> FileWriter:
        writer = await super().start_write(max_bytes=max_bytes)
        self.unended.add(writer)
        return writer

    async def publish(
        self, writer: FileWriter, path: str, *, overwrite: bool, condition: ChangeCondition | None = None
    ) -> FileInfo:
        self.entered.set()
        await self.gate.wait()
        self.unended.discard(writer)
        return await super().publish(writer, path, overwrite=overwrite, condition=condition)

    async def discard(self, writer: FileWriter) -> None:
        self.unended.discard(writer)
        await super().discard(writer)

    async def move(self, source: str, destination: str, *, overwrite: bool = False) -> FileInfo:
        if self.move_error is not None:
            raise self.move_error
        return await super().move(source, destination, overwrite=overwrite)


class RecordingWatcher(FileWatcher):
    """Notes what it is told; `during` runs in the middle of each call."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.during: Callable[[], Any] | None = None

    async def _note(self, *what: str) -> None:
        self.told.append(what)
        if self.during is not None:
            await self.during()

    async def holds(self, path: str) -> bool:
        return False

    async def before_read(self, path: str) -> None:
        await self._note("before_read", path)

    async def before_delete(self, path: str) -> None:
        await self._note("before_delete", path)

    async def replaced(self, path: str) -> None:
        await self._note("replaced", path)

    async def before_move(self, source: str, destination: str) -> None:
        await self._note("before_move", source, destination)


class Storage:
    """A service with a room, and short ways to call it."""

    def __init__(self, **limits: Any) -> None:
        self.room = FakeRoom()
        self.files = HeldStore()
        self.watcher = RecordingWatcher()
        observers = FileObservers()
        observers.watch(self.watcher)
        self.service = StorageService(
            self.room,
            self.files,
            sign_url=lambda path, download: f"http://host/{path}?download={download}",
            observers=observers,
            **limits,
        )
        self.alice = self.room.join()
        self.bob = self.room.join(fake_participant("bob"))

    def start(
        self,
        operation: Operation[Any, Any],
        request: msgspec.Struct,
        payload: bytes = b"",
        by: Participant | None = None,
    ) -> asyncio.Future[Any]:
        return start_operation(self.service.operations(), operation, by or self.alice, request, payload)

    async def call(
        self,
        operation: Operation[Any, Any],
        request: msgspec.Struct,
        payload: bytes = b"",
        by: Participant | None = None,
    ) -> Any:
        return await self.start(operation, request, payload, by)

    async def open(self, path: str, *, overwrite: bool = False, by: Participant | None = None) -> str | int:
        result = await self.call(api.OPEN, api.OpenRequest(path=path, overwrite=overwrite), by=by)
        assert isinstance(result, api.HandleResult)
        return result.handle

    def start_write(self, handle: str | int, content: bytes, by: Participant | None = None) -> asyncio.Future[Any]:
        return self.start(api.WRITE, api.HandleRequest(handle=handle), content, by)

    async def close(self, handle: str | int, *, discard: bool = False, by: Participant | None = None) -> None:
        await self.call(api.CLOSE, api.CloseRequest(handle=handle, discard=discard), by=by)

    async def put(self, path: str, content: bytes = b"content") -> None:
        await self.service.write_file(path, content)
        self.room.take_events()
        self.watcher.told.clear()

    async def get(self, path: str) -> bytes | None:
        return await self.service.read_file(path)


@pytest.fixture
def storage() -> Storage:
    return Storage()


def updated(path: str, participant_id: str | None = "alice-id") -> PublishedEvent:
    header = {"path": path, "participant_id": participant_id}
    return PublishedEvent("storage.file.updated", header, b"", ("alice-id", "bob-id"))


def deleted(path: str, participant_id: str | None = "alice-id") -> PublishedEvent:
    header = {"path": path, "participant_id": participant_id}
    return PublishedEvent("storage.file.deleted", header, b"", ("alice-id", "bob-id"))


class TestHandles:
    async def test_a_file_appears_when_it_is_closed_and_everybody_hears_of_it(self, storage: Storage) -> None:
        handle = await storage.open("/a//b.txt")
        await storage.start_write(handle, b"one ")
        await storage.start_write(handle, b"")
        await storage.start_write(handle, b"two")
        assert await storage.get("a/b.txt") is None
        assert storage.room.events == []
        await storage.close(handle)
        assert await storage.get("a/b.txt") == b"one two"
        assert storage.room.events == [updated("a/b.txt")]

    async def test_the_answer_comes_after_the_file_is_durable_and_announced(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        storage.files.gate.clear()
        closing = storage.start(api.CLOSE, api.CloseRequest(handle=handle))
        await storage.files.entered.wait()
        assert not closing.done()
        assert storage.room.events == []
        closing.add_done_callback(lambda _: seen.extend(storage.room.events))
        seen: list[PublishedEvent] = []
        storage.files.gate.set()
        await closing
        await asyncio.sleep(0)
        assert seen == [updated("a.txt")]

    @pytest.mark.parametrize("spelling", [int, str])
    async def test_a_handle_may_be_sent_as_a_number_or_as_text(
        self, storage: Storage, spelling: Callable[[Any], str | int]
    ) -> None:
        handle = spelling(await storage.open("a.txt"))
        await storage.start_write(handle, b"x")
        await storage.close(handle)
        assert await storage.get("a.txt") == b"x"

    async def test_unknown_and_closed_handles_are_refused(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        await storage.close(handle)
        for unknown in (handle, 99, "nonsense", "٣", "9" * 5000):
            with pytest.raises(InvalidStateError, match="is not open on this connection"):
                await storage.start_write(unknown, b"x")
            with pytest.raises(InvalidStateError, match="is not open on this connection"):
                await storage.close(unknown)

    async def test_writes_after_a_close_on_its_way_are_refused(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        first = storage.start_write(handle, b"x")
        closing = storage.start(api.CLOSE, api.CloseRequest(handle=handle))
        late = storage.start_write(handle, b"y")
        await asyncio.gather(first, closing)
        with pytest.raises(InvalidStateError):
            await late
        assert await storage.get("a.txt") == b"x"

    async def test_handles_belong_to_their_connection(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        with pytest.raises(InvalidStateError):
            await storage.start_write(handle, b"x", by=storage.bob)
        with pytest.raises(InvalidStateError):
            await storage.close(handle, by=storage.bob)
        await storage.close(handle)

    async def test_discard_leaves_no_trace(self, storage: Storage) -> None:
        await storage.put("a.txt", b"old")
        handle = await storage.open("a.txt", overwrite=True)
        await storage.start_write(handle, b"new")
        await storage.close(handle, discard=True)
        assert await storage.get("a.txt") == b"old"
        assert storage.room.events == []
        assert not storage.files.unended

    async def test_what_a_lost_connection_had_open_is_discarded(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        await storage.open("b.txt", by=storage.bob)
        await storage.start_write(handle, b"x")
        storage.room.leave(storage.alice, storage.service)
        await storage.service.wait_for_changes()
        assert await storage.get("a.txt") is None
        assert storage.room.events == []
        assert len(storage.files.unended) == 1  # bob's
        await storage.service.close()
        assert not storage.files.unended

    async def test_a_close_that_began_is_announced_even_if_its_connection_is_lost(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        storage.files.gate.clear()
        closing = storage.start(api.CLOSE, api.CloseRequest(handle=handle))
        await storage.files.entered.wait()
        closing.cancel()
        storage.room.leave(storage.alice, storage.service)
        storage.files.gate.set()
        await storage.service.wait_for_changes()
        assert await storage.get("a.txt") == b""
        assert [event.message_type for event in storage.room.events] == ["storage.file.updated"]

    async def test_a_cancelled_write_leaves_a_gap_that_is_never_published(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        await storage.start_write(handle, b"one")
        lost = storage.start_write(handle, b"two")
        lost.cancel()  # before it ran at all
        later = storage.start_write(handle, b"three")
        closing = storage.start(api.CLOSE, api.CloseRequest(handle=handle))
        with pytest.raises(InvalidStateError):
            await later
        with pytest.raises(InvalidStateError):
            await closing
        assert await storage.get("a.txt") is None
        assert not storage.files.unended

    async def test_a_file_over_the_limit_is_refused_and_not_published(self) -> None:
        storage = Storage(max_file_bytes=10)
        handle = await storage.open("a.txt")
        await storage.start_write(handle, b"0123456789")
        with pytest.raises(LimitExceededError) as refused:
            await storage.start_write(handle, b"x")
        assert refused.value.limit == 10
        with pytest.raises(InvalidStateError):
            await storage.close(handle)
        assert await storage.get("a.txt") is None

    async def test_open_handles_are_bounded_for_each_connection(self) -> None:
        storage = Storage(max_open_handles=2)
        first = await storage.open("a.txt")
        await storage.open("b.txt")
        with pytest.raises(LimitExceededError):
            await storage.open("c.txt")
        await storage.open("c.txt", by=storage.bob)
        await storage.close(first)
        await storage.open("c.txt")

    async def test_without_overwrite_a_file_must_not_exist_neither_at_open_nor_at_close(self, storage: Storage) -> None:
        handle = await storage.open("a.txt")
        await storage.put("a.txt", b"from somebody else")
        with pytest.raises(AlreadyExistsError):
            await storage.open("a.txt")
        with pytest.raises(AlreadyExistsError):
            await storage.close(handle)
        assert await storage.get("a.txt") == b"from somebody else"

    async def test_overwriting_shows_the_old_content_until_the_close(self, storage: Storage) -> None:
        await storage.put("a.txt", b"old")
        handle = await storage.open("a.txt", overwrite=True)
        await storage.start_write(handle, b"new")
        assert await storage.get("a.txt") == b"old"
        await storage.close(handle)
        assert await storage.get("a.txt") == b"new"

    @pytest.mark.parametrize("path", ["", "/", "folder"])
    async def test_a_folder_cannot_be_opened_for_writing(self, storage: Storage, path: str) -> None:
        await storage.put("folder/file")
        with pytest.raises(ConflictError):
            await storage.open(path, overwrite=True)


@given(writes=st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=8)), max_size=24))
def test_concurrent_writes_keep_their_order_in_each_handle(writes: list[tuple[int, bytes]]) -> None:
    async def scenario() -> None:
        storage = Storage()
        handles = [await storage.open(f"{number}.bin") for number in range(3)]
        pending = [storage.start_write(handles[number], content) for number, content in writes]
        pending += [storage.start(api.CLOSE, api.CloseRequest(handle=handle)) for handle in handles]
        await asyncio.gather(*pending)
        for number in range(3):
            expected = b"".join(content for target, content in writes if target == number)
            assert await storage.get(f"{number}.bin") == expected

    asyncio.run(scenario())


class TestReading:
    async def test_stat_and_list_give_times_with_an_offset_for_folders_too(self, storage: Storage) -> None:
        await storage.put("folder/file.txt", b"12345")
        listing = await storage.call(api.LIST, api.PathRequest(path=""))
        file = await storage.call(api.STAT, api.PathRequest(path="folder/file.txt"))
        folder = await storage.call(api.STAT, api.PathRequest(path="folder/"))
        assert [(entry.name, entry.is_folder, entry.size) for entry in listing.files] == [("folder", True, None)]
        assert (file.exists, file.name, file.is_folder, file.size) == (True, "file.txt", False, 5)
        assert (folder.exists, folder.name, folder.is_folder) == (True, "folder", True)
        for entry in (*listing.files, file, folder):
            assert datetime.fromisoformat(entry.created_at).tzinfo is not None
            assert datetime.fromisoformat(entry.updated_at).tzinfo is not None

    async def test_what_is_not_there(self, storage: Storage) -> None:
        assert (await storage.call(api.LIST, api.PathRequest(path=".schemas"))).files == []
        assert msgspec.to_builtins(await storage.call(api.STAT, api.PathRequest(path="no"))) == {"exists": False}
        assert not (await storage.call(api.EXISTS, api.PathRequest(path="no"))).exists
        with pytest.raises(NotFoundError):
            await storage.call(api.DOWNLOAD, api.PathRequest(path="no"))
        with pytest.raises(NotFoundError):
            await storage.call(api.DOWNLOAD_URL, api.DownloadUrlRequest(path="no"))

    async def test_the_root_exists(self, storage: Storage) -> None:
        assert (await storage.call(api.EXISTS, api.PathRequest(path=""))).exists
        assert (await storage.call(api.STAT, api.PathRequest(path=""))).is_folder

    @pytest.mark.parametrize(
        ("name", "media_type"),
        [
            ("a.txt", "text/plain"),
            ("A.PNG", "image/png"),
            ("a.tar.gz", "application/gzip"),
            ("a.unheard", "application/octet-stream"),
            ("png", "application/octet-stream"),
            (".png", "application/octet-stream"),
        ],
    )
    async def test_a_small_download_is_a_file_with_its_type(self, storage: Storage, name: str, media_type: str) -> None:
        await storage.put(f"folder/{name}", b"content")
        body = await storage.call(api.DOWNLOAD, api.PathRequest(path=f"folder/{name}"))
        assert body == FileBody(data=b"content", name=name, mime_type=media_type)

    async def test_a_large_download_is_read_while_it_is_sent_and_shows_one_content(self, storage: Storage) -> None:
        content = bytes(range(256)) * 8192
        await storage.put("big.bin", content)
        answer = await storage.call(api.DOWNLOAD, api.PathRequest(path="big.bin"))
        assert isinstance(answer, StreamedFile)
        await storage.put("big.bin", b"replaced")
        assert answer.size == len(content)
        assert b"".join([chunk async for chunk in answer.chunks]) == content

    async def test_large_downloads_count_as_open_files_until_they_end(self) -> None:
        storage = Storage(max_open_handles=1)
        await storage.put("big.bin", bytes(2 * 1024 * 1024))
        answer = await storage.call(api.DOWNLOAD, api.PathRequest(path="big.bin"))
        with pytest.raises(LimitExceededError):
            await storage.call(api.DOWNLOAD, api.PathRequest(path="big.bin"))
        async for _ in answer.chunks:
            pass
        await storage.open("a.txt")

    async def test_a_folder_cannot_be_downloaded(self, storage: Storage) -> None:
        await storage.put("folder/file")
        with pytest.raises(NotFoundError):
            await storage.call(api.DOWNLOAD, api.PathRequest(path="folder"))

    async def test_a_download_url_names_the_normal_path(self, storage: Storage) -> None:
        await storage.put("a/b.txt")
        result = await storage.call(api.DOWNLOAD_URL, api.DownloadUrlRequest(path="/a//b.txt", download=True))
        assert result.url == "http://host/a/b.txt?download=True"


class TestDeletingAndMoving:
    async def test_deleting_a_file_tells_everybody(self, storage: Storage) -> None:
        await storage.put("a/b.txt")
        await storage.call(api.DELETE, api.DeleteRequest(path="a/b.txt"))
        assert storage.room.take_events() == [deleted("a/b.txt")]
        with pytest.raises(NotFoundError):
            await storage.call(api.DELETE, api.DeleteRequest(path="a/b.txt"))

    async def test_a_folder_goes_only_when_empty_unless_recursive(self, storage: Storage) -> None:
        for path in ("a/b/c.txt", "a/d.txt"):
            await storage.put(path)
        with pytest.raises(ConflictError):
            await storage.call(api.DELETE, api.DeleteRequest(path="a"))
        await storage.call(api.DELETE, api.DeleteRequest(path="a", recursive=True))
        assert storage.room.events == [deleted("a/b/c.txt"), deleted("a/d.txt")]
        assert await storage.service.list_folder("") == []

    async def test_deleting_a_folder_that_vanished_succeeds(self, storage: Storage) -> None:
        await storage.put("a/b/c.txt")
        await storage.call(api.DELETE, api.DeleteRequest(path="a", recursive=True))
        for folder in ("a/b", "a"):
            await storage.call(api.DELETE, api.DeleteRequest(path=folder))
        with pytest.raises(NotFoundError):
            await storage.call(api.DELETE, api.DeleteRequest(path="a/b/c.txt"))

    async def test_the_root_cannot_be_deleted_and_nobody_is_told(self, storage: Storage) -> None:
        await storage.put("a.txt")
        with pytest.raises(InvalidRequestError):
            await storage.call(api.DELETE, api.DeleteRequest(path="./", recursive=True))
        assert storage.watcher.told == []
        assert await storage.get("a.txt") is not None

    async def test_moving_tells_everybody(self, storage: Storage) -> None:
        await storage.put("a/b.txt", b"x")
        await storage.call(api.MOVE, api.MoveRequest(source_path="a", destination_path="c/d"))
        assert await storage.get("c/d/b.txt") == b"x"
        assert [(event.message_type, event.header) for event in storage.room.events] == [
            (
                "storage.file.moved",
                {"source_path": "a", "destination_path": "c/d", "participant_id": "alice-id"},
            )
        ]
        assert storage.watcher.told == [("before_read", "a"), ("before_move", "a", "c/d")]

    async def test_a_move_that_is_refused_moves_no_document(self, storage: Storage) -> None:
        for path in ("a/b.txt", "c/d.txt", "e.txt"):
            await storage.put(path)
        refused: list[tuple[api.MoveRequest, type[Exception]]] = [
            (api.MoveRequest(source_path="no", destination_path="x"), NotFoundError),
            (api.MoveRequest(source_path="e.txt", destination_path="a/b.txt"), AlreadyExistsError),
            (api.MoveRequest(source_path="a", destination_path="a/x"), ConflictError),
            (api.MoveRequest(source_path="a", destination_path="c", overwrite=True), ConflictError),
            (api.MoveRequest(source_path="a", destination_path=""), InvalidRequestError),
        ]
        for request, error in refused:
            with pytest.raises(error):
                await storage.call(api.MOVE, request)
        assert storage.watcher.told == []
        assert storage.room.events == []

    async def test_documents_move_back_when_the_disk_fails(self, storage: Storage) -> None:
        await storage.put("a.doc")
        storage.files.move_error = OSError("no")
        with pytest.raises(OSError, match="no"):
            await storage.call(api.MOVE, api.MoveRequest(source_path="a.doc", destination_path="b.doc"))
        assert storage.watcher.told[-2:] == [("before_move", "a.doc", "b.doc"), ("before_move", "b.doc", "a.doc")]
        assert storage.room.events == []

    async def test_a_replaced_file_is_gone_with_its_document(self, storage: Storage) -> None:
        await storage.put("a.doc", b"a")
        await storage.put("b.doc", b"b")
        request = api.MoveRequest(source_path="a.doc", destination_path="b.doc", overwrite=True)
        await storage.call(api.MOVE, request)
        assert ("before_delete", "b.doc") in storage.watcher.told
        assert await storage.get("b.doc") == b"a"


class TestDocuments:
    async def test_readers_see_what_the_watcher_saved_first(self, storage: Storage) -> None:
        await storage.put("a.doc", b"stale")

        async def save() -> None:
            storage.watcher.during = None
            await storage.service.publish_document("a.doc", b"fresh", participant_id="bob-id")

        storage.watcher.during = save
        body = await storage.call(api.DOWNLOAD, api.PathRequest(path="a.doc"))
        assert body.data == b"fresh"
        assert storage.room.events == [updated("a.doc", "bob-id")]
        assert storage.watcher.told == [("before_read", "a.doc")]

    async def test_the_watcher_hears_of_files_that_others_write_but_not_of_its_own(self, storage: Storage) -> None:
        handle = await storage.open("a.doc")
        await storage.close(handle)
        await storage.service.write_file("b.doc", b"")
        await storage.service.publish_document("c.doc", b"", participant_id=None)
        assert storage.watcher.told == [("replaced", "a.doc"), ("replaced", "b.doc")]

    @pytest.mark.parametrize("change", ["write", "delete", "move"])
    async def test_a_save_never_lands_on_top_of_a_change(self, storage: Storage, change: str) -> None:
        await storage.put("folder/a.doc", b"old")

        async def save() -> None:
            if storage.watcher.told[-1][0] != "before_read":
                with pytest.raises(ConflictError):
                    await storage.service.publish_document("folder/a.doc", b"save", participant_id=None)

        storage.watcher.during = save
        if change == "write":
            await storage.service.write_file("folder/a.doc", b"new")
        elif change == "delete":
            await storage.service.delete("folder", recursive=True)
        else:
            await storage.service.move("folder", "moved")
        assert await storage.get("folder/a.doc") == (b"new" if change == "write" else None)
        storage.watcher.during = None
        await storage.service.publish_document("folder/a.doc", b"later", participant_id=None)
        assert await storage.get("folder/a.doc") == b"later"

    async def test_a_change_waits_for_a_save_that_began(self, storage: Storage) -> None:
        await storage.put("a.doc", b"old")
        storage.files.gate.clear()
        storage.files.entered.clear()
        saving = asyncio.ensure_future(storage.service.publish_document("a.doc", b"save", participant_id=None))
        await storage.files.entered.wait()
        deleting = storage.start(api.DELETE, api.DeleteRequest(path="a.doc"))
        await asyncio.sleep(0.01)
        assert not deleting.done()
        storage.files.gate.set()
        await asyncio.gather(saving, deleting)
        assert await storage.get("a.doc") is None


class TestWriteFile:
    async def test_content_that_breaks_off_leaves_the_old_file(self, storage: Storage) -> None:
        await storage.put("a.txt", b"old")

        async def broken() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await storage.service.write_file("a.txt", broken())
        assert await storage.get("a.txt") == b"old"
        assert storage.room.events == []
        assert not storage.files.unended

    async def test_pieces_are_joined(self, storage: Storage) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"one ", b"two"):
                yield piece

        info = await storage.service.write_file("a.txt", pieces(), participant_id="bob-id")
        assert info.size == 7
        assert await storage.get("a.txt") == b"one two"
        assert storage.room.events == [updated("a.txt", "bob-id")]


class TestGrants:
    READ_ONLY = ApiScope(storage=StorageGrant(paths=[StoragePathGrant(path="a", read_only=True)]))
    NESTED = ApiScope(
        storage=StorageGrant(
            paths=[
                StoragePathGrant(path="a/locked", read_only=True),
                StoragePathGrant(path="a"),
                StoragePathGrant(path="b"),
            ]
        )
    )

    async def test_a_read_only_scope_reads_and_nothing_else(self, storage: Storage) -> None:
        await storage.put("a/b.txt")
        reader = storage.room.join(fake_participant("reader", scope=self.READ_ONLY))
        await storage.call(api.DOWNLOAD, api.PathRequest(path="/a/b.txt"), by=reader)
        await storage.call(api.STAT, api.PathRequest(path="a/b.txt"), by=reader)
        refused: list[tuple[Operation[Any, Any], msgspec.Struct]] = [
            (api.OPEN, api.OpenRequest(path="a/c.txt")),
            (api.DELETE, api.DeleteRequest(path="a/b.txt")),
            (api.MOVE, api.MoveRequest(source_path="a/b.txt", destination_path="a/c.txt")),
            (api.DOWNLOAD, api.PathRequest(path="other.txt")),
            (api.LIST, api.PathRequest(path="")),
        ]
        for operation, request in refused:
            with pytest.raises(PermissionDeniedError):
                await storage.call(operation, request, by=reader)
        with pytest.raises(InvalidRequestError):
            await storage.call(api.DOWNLOAD, api.PathRequest(path="a/../other.txt"), by=reader)

    async def test_a_folder_with_a_closed_folder_in_it_can_neither_be_deleted_nor_moved(self, storage: Storage) -> None:
        await storage.put("a/locked/b.txt")
        await storage.put("a/free/c.txt")
        writer = storage.room.join(fake_participant("writer", scope=self.NESTED))
        with pytest.raises(PermissionDeniedError):
            await storage.call(api.DELETE, api.DeleteRequest(path="a", recursive=True), by=writer)
        with pytest.raises(PermissionDeniedError):
            await storage.call(api.MOVE, api.MoveRequest(source_path="a", destination_path="b/x"), by=writer)
        await storage.call(api.MOVE, api.MoveRequest(source_path="a/free", destination_path="b/x"), by=writer)
        await storage.call(api.DELETE, api.DeleteRequest(path="b", recursive=True), by=writer)
        assert await storage.get("a/locked/b.txt") is not None

    async def test_a_url_needs_its_own_action(self, storage: Storage) -> None:
        await storage.put("a.txt")
        scope = ApiScope(storage=StorageGrant(files=[StorageFileGrant(path="", actions=["read"])]))
        reader = storage.room.join(fake_participant("reader", scope=scope))
        await storage.call(api.DOWNLOAD, api.PathRequest(path="a.txt"), by=reader)
        with pytest.raises(PermissionDeniedError):
            await storage.call(api.DOWNLOAD_URL, api.DownloadUrlRequest(path="a.txt"), by=reader)
