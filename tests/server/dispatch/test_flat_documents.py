"""`room.*` in the flat dialect, over a document service in memory: subscriptions, and what is dropped quietly."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshagent.api.contracts import documents as api
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.dispatch.flat.documents import FlatDocuments
from meshagent.server.kernel.operations import AnswerWithFollowUp
from meshagent.server.services.documents.service import DocumentsService
from meshagent.server.stores.memory_documents import MemoryDocumentLog
from tests.support.documents import Copy, NoFiles
from tests.support.fake_caller import FakeCaller
from tests.support.fake_room import FakeRoom

PATH = "a.document"


class Documents:
    """A room's documents as clients of the flat dialect see them."""

    def __init__(self) -> None:
        self.room = FakeRoom()
        self.service = DocumentsService(self.room, MemoryDocumentLog(), NoFiles(), save_delay=0.0)
        self.flat = FlatDocuments(self.service)

    async def connect(self, caller: FakeCaller, path: str = PATH, **more: Any) -> Copy:
        """A subscription, and the copy that begins with the state that follows the answer."""
        answer = await self.flat.connect(caller.participant, api.ConnectRequest(path=path, **more))
        assert isinstance(answer, AnswerWithFollowUp)
        assert caller.take() == []
        assert isinstance(answer, AnswerWithFollowUp)
        answer.follow_up()
        state = caller.take_event()
        assert (state.type, state.header) == ("room.sync", {"path": path})
        return Copy(base64.b64decode(state.payload))

    def sync(self, caller: FakeCaller, update: bytes, path: str = PATH) -> Any:
        payload = base64.b64encode(update)
        return self.flat.sync(caller.participant, api.SyncRequest(path=path), payload)

    async def subscribers(self) -> int:
        async with self.service.using(PATH, create=True) as document:
            return len(document.subscribers)


@pytest.fixture
async def documents() -> AsyncIterator[Documents]:
    documents = Documents()
    yield documents
    await documents.service.close()
    await documents.room.settle()


async def test_the_state_follows_the_answer_and_updates_follow_the_state(documents: Documents) -> None:
    alice, bob = FakeCaller("alice"), FakeCaller("bob")
    copy = await documents.connect(alice)
    await documents.connect(bob, path=f"./{PATH}")
    await documents.sync(alice, copy.append("heading", **{"$id": "1"}))
    event = bob.take_event()
    assert (event.type, event.header) == ("room.sync", {"path": f"./{PATH}"})  # the path as Bob wrote it
    assert alice.take() == []


async def test_changes_before_the_state_is_sent_are_part_of_it(documents: Documents) -> None:
    alice, bob = FakeCaller("alice"), FakeCaller("bob")
    copy = await documents.connect(alice)
    answer = await documents.flat.connect(bob.participant, api.ConnectRequest(path=PATH))
    await documents.sync(alice, copy.append("heading", **{"$id": "1"}))
    assert bob.take() == []
    assert isinstance(answer, AnswerWithFollowUp)
    answer.follow_up()
    state = bob.take_event()
    assert Copy(base64.b64decode(state.payload)).tags == ["heading"]


async def test_connecting_again_takes_the_place_of_the_first_subscription(documents: Documents) -> None:
    alice = FakeCaller()
    await documents.connect(alice)
    await documents.connect(alice, path=f"/{PATH}")
    assert await documents.subscribers() == 1


async def test_a_participant_that_disconnects_or_leaves_holds_nothing(documents: Documents) -> None:
    alice, bob = FakeCaller("alice"), FakeCaller("bob")
    await documents.connect(alice)
    await documents.connect(bob)
    for _ in range(2):
        documents.flat.disconnect(alice.participant, api.DisconnectRequest(path=PATH))
    assert await documents.subscribers() == 1
    documents.flat.left(bob.participant)
    documents.flat.left(alice.participant)
    assert await documents.subscribers() == 0


async def test_late_updates_are_acknowledged_and_dropped(documents: Documents) -> None:
    """An error would stop a client of the 0.5 generation from sending any edit ever again."""
    alice = FakeCaller()
    update = (await documents.connect(alice)).append("heading", **{"$id": "1"})
    assert documents.sync(FakeCaller("stranger"), update) == EMPTY
    reader = FakeCaller("reader", scope=ApiScope.from_json({"sync": {"paths": [{"path": PATH, "read_only": True}]}}))
    await documents.connect(reader)
    assert documents.sync(reader, update) == EMPTY
    await documents.service.before_delete(PATH)
    assert documents.sync(alice, update) == EMPTY
    assert alice.take() == []


async def test_a_payload_that_is_no_update_is_refused(documents: Documents) -> None:
    alice = FakeCaller()
    copy = await documents.connect(alice)
    with pytest.raises(InvalidRequestError):
        documents.sync(alice, b"\xff" * 9)
    bare = copy.append("heading", **{"$id": "1"})  # some clients send an update without base64
    durable = documents.flat.sync(alice.participant, api.SyncRequest(path=PATH), bare)
    async with asyncio.timeout(5):
        await durable
    described = await documents.flat.describe(alice.participant, api.DescribeRequest(path=PATH))
    assert len(described.json["document"]["content"]) == 1


async def test_documents_that_cannot_be_connected(documents: Documents) -> None:
    alice = FakeCaller()
    with pytest.raises(NotFoundError):
        await documents.flat.connect(alice.participant, api.ConnectRequest(path=PATH, create=False))
    with pytest.raises(InvalidRequestError, match="base64"):
        await documents.flat.connect(alice.participant, api.ConnectRequest(path=PATH, vector="not base64!"))
    assert isinstance(await documents.flat.create(alice.participant, api.CreateRequest(path=PATH)), type(EMPTY))
