"""Documents of a room as JSON: reading, and the three kinds of changes, through the room's handle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshagent.api.errors import ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError
from meshagent.api.tokens.grants import SyncGrant, SyncPathGrant
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, ApiScope
from meshagent.server.rooms.handle import DocumentChange
from meshagent.server.rooms.local.documents import LocalDocuments
from meshagent.server.services.documents.service import DocumentsService
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.stores.memory_documents import MemoryDocumentLog
from meshagent.server.stores.memory_files import MemoryFileStore
from tests.support.fake_room import FakeRoom

PATH = "notes/a.document"
READ_ONLY = ApiScope(sync=SyncGrant(paths=[SyncPathGrant(path="notes/*", read_only=True)]))


def content(*texts: str) -> dict[str, Any]:
    return {"document": {"content": [{"heading": {"text": text}} for text in texts]}}


class Documents:
    """The documents of a room, with one of two headings in them."""

    def __init__(self) -> None:
        self.room = FakeRoom()
        files = RoomFiles(self.room, MemoryFileStore(), max_file_bytes=1_000_000)
        self.service = DocumentsService(self.room, MemoryDocumentLog(), files, save_delay=0.0)
        self.access = LocalDocuments(self.service)

    async def describe(self, **options: Any) -> dict[str, Any]:
        return (await self.access.describe(PATH, FULL_ROOM_SCOPE, **options)).content

    async def change(self, kind: Any, change: Any, scope: ApiScope = FULL_ROOM_SCOPE) -> dict[str, Any]:
        return (await self.access.change(PATH, DocumentChange(kind, change), scope)).content


@pytest.fixture
async def documents() -> AsyncIterator[Documents]:
    made = Documents()
    await made.service.create(PATH, content("one", "two"))
    yield made
    await made.service.close()
    await made.room.settle()


async def test_a_document_is_json_with_ids_on_request(documents: Documents) -> None:
    assert await documents.describe() == content("one", "two")
    [first, _] = (await documents.describe(include_ids=True))["document"]["content"]
    assert first["heading"]["$id"]


async def test_a_replacement_becomes_the_document(documents: Documents) -> None:
    assert await documents.change("replacement", content("three")) == content("three")
    assert await documents.describe() == content("three")


async def test_a_json_patch_changes_what_it_names_and_keeps_the_rest(documents: Documents) -> None:
    before = (await documents.describe(include_ids=True))["document"]["content"]
    patch = [
        {"op": "test", "path": "/document/content/0/heading/text", "value": "one"},
        {"op": "replace", "path": "/document/content/0/heading/text", "value": "1"},
    ]
    assert await documents.change("json-patch", patch) == content("1", "two")
    after = (await documents.describe(include_ids=True))["document"]["content"]
    assert [one["heading"]["$id"] for one in after] == [one["heading"]["$id"] for one in before]


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ([{"op": "test", "path": "/document/content/0/heading/text", "value": "else"}], ConflictError),
        ([{"op": "remove", "path": "/nowhere"}], InvalidRequestError),
        ([{"op": "unknown"}], InvalidRequestError),
        ([7], InvalidRequestError),
        ([{"op": "replace", "path": "", "value": 3}], InvalidRequestError),
        ([{"op": "add", "path": "/document/content/-", "value": {"unknown": {}}}], InvalidRequestError),
    ],
)
async def test_a_json_patch_that_fails_changes_nothing(
    documents: Documents, patch: list[Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await documents.change("json-patch", patch)
    assert await documents.describe() == content("one", "two")


async def test_a_merge_patch_replaces_lists_and_removes_nulls(documents: Documents) -> None:
    changed = await documents.change("merge-patch", {"document": {"content": content("three")["document"]["content"]}})
    assert changed == content("three")


async def test_changes_that_come_at_once_follow_each_other(documents: Documents) -> None:
    def append(text: str) -> list[dict[str, Any]]:
        return [{"op": "add", "path": "/document/content/-", "value": {"heading": {"text": text}}}]

    await asyncio.gather(*(documents.change("json-patch", append(text)) for text in "abc"))
    texts = [one["heading"]["text"] for one in (await documents.describe())["document"]["content"]]
    assert texts[:2] == ["one", "two"]
    assert sorted(texts[2:]) == ["a", "b", "c"]


async def test_the_scope_decides(documents: Documents) -> None:
    assert (await documents.access.describe(PATH, READ_ONLY)).content == content("one", "two")
    with pytest.raises(PermissionDeniedError):
        await documents.change("replacement", content("three"), READ_ONLY)
    with pytest.raises(PermissionDeniedError):
        await documents.access.describe("other.document", READ_ONLY)
    assert await documents.describe() == content("one", "two")


async def test_a_document_that_is_not_there_is_not_made(documents: Documents) -> None:
    with pytest.raises(NotFoundError):
        await documents.access.describe("missing.document", FULL_ROOM_SCOPE)
    with pytest.raises(NotFoundError):
        await documents.access.change("missing.document", DocumentChange("replacement", content()), FULL_ROOM_SCOPE)
