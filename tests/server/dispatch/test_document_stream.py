"""`sync.open` over a document service in memory: order, refusals, and what is released when."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshagent.api import jsontext
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.dispatch.contents import CONTROL_CLOSE, binary_content
from meshagent.server.dispatch.invoke.document_stream import DocumentStream
from meshagent.server.dispatch.invoke.stream import OpenStreams, Stream
from meshagent.server.services.documents.service import DocumentsService
from meshagent.server.stores.memory_documents import MemoryDocumentLog
from tests.support.documents import Copy, NoFiles
from tests.support.fake_caller import Answer, Event, FakeCaller
from tests.support.fake_room import FakeRoom

PATH = "a.document"
CLOSE = jsontext.loads(CONTROL_CLOSE.header)


class SlowLog(MemoryDocumentLog):
    """A log whose writes are durable when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[asyncio.Future[int], int]] = []
        self.slow = False

    def append(self, incarnation: int, update: bytes) -> asyncio.Future[int]:
        stored = super().append(incarnation, update)
        if not self.slow:
            return stored
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.writes.append((done, stored.result()))
        return done


class Documents:
    """A room's documents, and the streams of its clients."""

    def __init__(self) -> None:
        self.room = FakeRoom()
        self.log = SlowLog()
        self.service = DocumentsService(self.room, self.log, NoFiles(), save_delay=0.0)
        self.streams = OpenStreams()

    def begin(self, caller: FakeCaller) -> Stream:
        self.streams.open(caller, 7, "doc", lambda stream: DocumentStream(stream, self.service, self.room.spawn))
        stream = self.streams.find(caller.participant, "doc")
        assert stream is not None
        return stream

    async def open(self, caller: FakeCaller, **start: Any) -> tuple[Stream, Copy]:
        """A stream that has its document, and the client's copy."""
        stream = self.begin(caller)
        stream.receive(started(**start))
        await self.room.settle()
        answer, state = caller.take()
        assert answer == Answer(7, {"type": "control", "method": "open"})
        assert isinstance(state, Event)
        assert (state.chunk["headers"]["kind"], state.chunk["headers"]["path"]) == ("state", PATH)
        return stream, Copy(base64.b64decode(state.payload))

    async def subscribers(self) -> int:
        async with self.service.using(PATH) as document:
            return len(document.subscribers)


def started(**start: Any) -> Any:
    return binary_content({"kind": "start", "path": PATH, "create": True, **start})


def update_of(update: bytes) -> Any:
    return binary_content({"kind": "sync"}, base64.b64encode(update))


@pytest.fixture
async def documents() -> AsyncIterator[Documents]:
    documents = Documents()
    yield documents
    documents.streams.cancel_all()
    await documents.service.close()
    await documents.room.settle()


async def test_an_edit_reaches_the_others_and_is_acknowledged_when_it_is_durable(documents: Documents) -> None:
    alice, bob = FakeCaller("alice"), FakeCaller("bob")
    stream, copy = await documents.open(alice)
    _, other = await documents.open(bob)
    durable = stream.receive(update_of(copy.append("heading", **{"$id": "1"})))
    assert durable is not None
    async with asyncio.timeout(5):
        await durable
    event = bob.take_event()
    assert event.chunk == {"type": "binary", "headers": {"kind": "sync", "path": PATH}}
    other.doc.apply_update(base64.b64decode(event.payload))
    assert other.tags == ["heading"]
    assert alice.take() == []


async def test_edits_before_the_document_is_there_are_applied_in_order(documents: Documents) -> None:
    alice = FakeCaller()
    await documents.service.create(PATH, None)
    copy = (await documents.open(FakeCaller("other")))[1]
    documents.log.slow = True
    stream = documents.begin(alice)
    assert stream.receive(started()) is None
    edits = [update_of(copy.append("heading", **{"$id": str(n), "text": str(n)})) for n in range(3)]
    acknowledged = [stream.receive(item) for item in [*edits, CONTROL_CLOSE]]
    await documents.room.settle()
    described = await documents.service.describe(PATH)
    assert [entry["heading"]["text"] for entry in described["document"]["content"]] == ["0", "1", "2"]
    assert [entry.chunk for entry in alice.take() if isinstance(entry, Event)][-1] == CLOSE
    assert [item is not None and item.done() for item in acknowledged] == [False, False, False, True]
    for done, seq in documents.log.writes:
        done.set_result(seq)
    async with asyncio.timeout(5):
        await asyncio.gather(*(item for item in acknowledged if item is not None))


async def test_edits_for_a_document_that_cannot_be_opened_are_not_acknowledged_as_durable(
    documents: Documents,
) -> None:
    alice = FakeCaller()
    stream = documents.begin(alice)
    stream.receive(started(path="missing.document", create=False))
    waiting = stream.receive(update_of(b"\x00\x00"))
    await documents.room.settle()
    assert waiting is not None
    assert waiting.cancelled()
    assert [entry.chunk["type"] for entry in alice.take() if isinstance(entry, Event)] == ["error", "control"]


async def test_the_clients_close_releases_the_document(documents: Documents) -> None:
    alice = FakeCaller()
    stream, _ = await documents.open(alice)
    assert await documents.subscribers() == 1
    stream.receive(CONTROL_CLOSE)
    assert alice.take_event().chunk == CLOSE
    assert await documents.subscribers() == 0


async def test_a_client_that_leaves_releases_the_document(documents: Documents) -> None:
    alice = FakeCaller()
    await documents.open(alice)
    documents.streams.left(alice.participant)
    assert await documents.subscribers() == 0
    assert alice.take() == []


async def test_a_bad_update_fails_the_stream_and_releases_the_document(documents: Documents) -> None:
    for bad in (b"not base64!", base64.b64encode(b"\xff" * 9)):
        alice = FakeCaller()
        stream, _ = await documents.open(alice)
        stream.receive(binary_content({"kind": "sync"}, bad))
        error, close = alice.take()
        assert isinstance(error, Event)
        assert isinstance(close, Event)
        assert (error.chunk["type"], close.chunk) == ("error", CLOSE)
        assert await documents.subscribers() == 0


async def test_who_may_only_read_cannot_edit(documents: Documents) -> None:
    await documents.service.create(PATH, None)
    scope = ApiScope.from_json({"sync": {"paths": [{"path": PATH, "read_only": True}]}})
    for caller, allowed in (
        (FakeCaller("reader", scope=scope), False),
        (FakeCaller("writer"), True),
    ):
        stream, copy = await documents.open(caller)
        durable = stream.receive(update_of(copy.append("heading", **{"$id": caller.participant.id})))
        assert (durable is not None) == allowed
        if durable is not None:
            await durable
    assert await documents.subscribers() == 1
    assert len((await documents.service.describe(PATH))["document"]["content"]) == 1


@pytest.mark.parametrize(
    ("start", "code"),
    [
        ({"path": "a.unknown"}, 1003),
        ({"path": "missing.document", "create": False}, 1003),
        ({"path": "../a.document"}, 1002),
        ({"vector": "not base64!"}, 1002),
        ({"initial_json": 5}, 1002),
    ],
)
async def test_a_document_that_cannot_be_opened(documents: Documents, start: dict[str, Any], code: int) -> None:
    alice = FakeCaller()
    documents.begin(alice).receive(started(**start))
    await documents.room.settle()
    _, error, close = alice.take()
    assert isinstance(error, Event)
    assert isinstance(close, Event)
    assert (error.chunk["code"], close.chunk) == (code, CLOSE)
    assert documents.streams.count(alice.participant) == 0


@pytest.mark.parametrize("change", ["deleted", "replaced", "moved"])
async def test_the_end_of_the_document_fails_the_stream(documents: Documents, change: str) -> None:
    alice = FakeCaller()
    await documents.open(alice)
    if change == "deleted":
        await documents.service.before_delete(PATH)
    elif change == "replaced":
        await documents.service.replaced(PATH)
    else:
        await documents.service.before_move(PATH, "b.document")
    error, close = alice.take()
    assert isinstance(error, Event)
    assert isinstance(close, Event)
    assert (error.chunk["type"], close.chunk) == ("error", CLOSE)
    assert change in error.chunk["text"]
    assert documents.streams.count(alice.participant) == 0


async def test_the_end_of_the_room_is_the_end_of_the_stream(documents: Documents) -> None:
    alice = FakeCaller()
    await documents.open(alice)
    await documents.service.close()
    closed = alice.take_event().chunk
    assert (closed["method"], closed["status_code"], bool(closed["message"])) == ("close", 1000, True)


async def test_a_copy_of_another_life_cannot_open_the_document(documents: Documents) -> None:
    _, copy = await documents.open(FakeCaller("old"))
    await documents.service.before_delete(PATH)
    await documents.service.create(PATH, None)
    alice = FakeCaller()
    vector = base64.b64encode(copy.doc.get_state()).decode()
    documents.begin(alice).receive(started(vector=vector))
    await documents.room.settle()
    _, error, close = alice.take()
    assert isinstance(error, Event)
    assert isinstance(close, Event)
    assert (error.chunk["type"], error.chunk["code"], close.chunk) == ("error", 1006, CLOSE)
