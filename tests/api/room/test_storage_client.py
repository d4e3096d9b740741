"""`room.storage` on a fake core: requests, large writes, and files that lose their connection."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from meshagent.api.contracts.content import FileBody
from meshagent.api.errors import ConnectionLostError, InvalidStateError, LimitExceededError
from meshagent.api.room.files import WRITE_SIZE, FileHandle
from meshagent.api.room.storage import StorageClient
from tests.support.fake_core import FakeCore


def storage() -> tuple[FakeCore, StorageClient]:
    core = FakeCore()
    core.answers["storage.open"] = lambda header, payload: {"handle": 7}
    return core, StorageClient(room=core)


async def test_entries_are_described() -> None:
    core, client = storage()
    entry = {"name": "a", "is_folder": False, "created_at": "2024-05-01T10:00:00", "updated_at": None, "size": 3}
    core.answers["storage.stat"] = lambda header, payload: {"exists": header["path"] == "a", **entry}
    core.answers["storage.list"] = lambda header, payload: {"files": [{**entry, "updated_at": "2024-05-01T10:00:00Z"}]}
    core.answers["storage.exists"] = lambda header, payload: {"exists": True}
    found = await client.stat("a")
    assert found is not None
    assert (found.name, found.size, found.created_at) == ("a", 3, datetime(2024, 5, 1, 10, tzinfo=UTC))
    assert await client.stat("b") is None
    assert [item.updated_at.tzinfo is not None for item in await client.list("")] == [True]
    assert await client.exists("a")


async def test_a_large_write_goes_in_pieces_in_order() -> None:
    core, client = storage()
    data = bytes(range(256)) * (WRITE_SIZE // 128)
    async with client.open(path="big", overwrite=True) as file:
        await file.write(data)
    pieces = [payload for _, payload in core.received("storage.write")]
    assert b"".join(pieces) == data
    assert [len(piece) for piece in pieces[:-1]] == [WRITE_SIZE] * (len(pieces) - 1)
    assert [name for name, _, _ in core.requests][-1] == "storage.close"
    assert core.received("storage.open") == [({"path": "big", "overwrite": True}, b"")]


async def test_a_refused_piece_ends_the_write() -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise LimitExceededError("too large", limit=1)

    core, client = storage()
    core.answers["storage.write"] = refuse
    handle = await client.open(path="a")
    with pytest.raises(LimitExceededError):
        await client.write(handle, b"x" * (3 * WRITE_SIZE))
    await core.leave()


async def test_a_file_ends_with_the_connection_that_opened_it() -> None:
    core, client = storage()
    handle = await client.open(path="a")
    core.lose_connection()
    for request in (handle.write(b"x"), handle.close()):
        with pytest.raises(ConnectionLostError, match="nothing was stored"):
            await request
    assert core.received("storage.write") == []


async def test_discarding_says_so() -> None:
    core, client = storage()
    handle = await client.open(path="a")
    await handle.discard()
    await handle.close()  # does nothing any more
    assert core.received("storage.close") == [({"handle": 7, "discard": True}, b"")]
    with pytest.raises(InvalidStateError):
        await handle.write(b"late")


async def test_a_handle_without_a_client_only_names_a_file() -> None:
    core, client = storage()
    handle = FileHandle(9)
    await client.write(handle, "é")
    assert core.received("storage.write") == [({"handle": 9}, "é".encode())]
    with pytest.raises(InvalidStateError):
        await handle.close()


async def test_whole_files_and_urls() -> None:
    core, client = storage()
    core.answers["storage.download"] = lambda header, payload: FileBody(data=b"x", name="a", mime_type="m")
    core.answers["storage.download_url"] = lambda header, payload: {"url": "http://x/a"}
    assert (await client.download("a")).data == b"x"
    assert await client.download_url("a", download=True) == "http://x/a"
    await client.move("a", "b", overwrite=True)
    await client.delete("b", recursive=True)
    assert core.received("storage.move") == [
        ({"source_path": "a", "destination_path": "b", "overwrite": True}, b""),
    ]
    assert core.received("storage.delete") == [({"path": "b", "recursive": True}, b"")]


async def test_changes_of_files_are_events() -> None:
    core, client = storage()
    seen: list[tuple[str, dict[str, Any]]] = []
    for event in ("file.updated", "file.deleted", "file.moved"):
        client.on(event, lambda event=event, **values: seen.append((event, values)))
    core.deliver("storage.file.updated", {"path": "a", "participant_id": "p"})
    core.deliver("storage.file.moved", {"source_path": "a", "destination_path": "b", "participant_id": None})
    core.deliver("storage.file.deleted", {"path": "b", "participant_id": "p"})
    assert seen == [
        ("file.updated", {"path": "a", "participant_id": "p"}),
        ("file.moved", {"source_path": "a", "destination_path": "b", "participant_id": None}),
        ("file.deleted", {"path": "b", "participant_id": "p"}),
    ]
