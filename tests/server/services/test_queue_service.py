"""The queue service without a wire: order, waiting receivers, receivers that go, and a disk that refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from meshagent.api.contracts import queues as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidRequestError, InvalidStateError, LimitExceededError, NotFoundError
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.queues import MAX_NAME_LENGTH, QueuesService
from meshagent.server.services.queues.leasing import Leasing
from meshagent.server.services.queues.open_queue import OpenQueue
from meshagent.server.services.queues.opening import OpenQueues
from meshagent.server.stores.errors import StoreFailedError
from meshagent.server.stores.memory_queues import MemoryQueueStore
from meshagent.server.stores.queues import StoredQueue
from tests.support.fake_room import FakeOutbox, FakeRoom, fake_participant


class SlowStore(MemoryQueueStore):
    """A store that opens queues when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def open(self, room: str, name: str, **options: Any) -> StoredQueue | None:
        await self.gate.wait()
        return await super().open(room, name, **options)


async def test_a_queue_is_made_by_a_call_that_comes_just_when_another_has_not_found_it() -> None:
    store, room = SlowStore(), FakeRoom()
    queues = OpenQueues(room, store, Leasing(room, store, lambda queue: None).opened)

    async def make() -> OpenQueue:
        await store.gate.wait()
        return await queues.opened("jobs", create=True)

    looking = asyncio.ensure_future(queues.opened("jobs", create=False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # now the first call waits for the gate
    making = asyncio.ensure_future(make())
    await asyncio.sleep(0)
    store.gate.set()
    with pytest.raises(NotFoundError):
        await looking
    assert (await making).name == "jobs"


async def test_calls_that_come_while_a_queue_opens_are_served_in_their_order() -> None:
    store, alice = SlowStore(), fake_participant()
    room = FakeRoom()
    service = QueuesService(room, store)

    def send(number: int) -> asyncio.Future[Any]:
        request = api.SendRequest(name="jobs", message=msgspec.Raw(str(number).encode()))
        return asyncio.ensure_future(service.send(alice, request))

    sent = [send(number) for number in range(5)]
    await asyncio.sleep(0)
    store.gate.set()
    for number in range(5, 40):  # some of these come between the opening and those that waited for it
        sent.append(send(number))
        await asyncio.sleep(0)
    await asyncio.gather(*sent)
    received = []
    for _ in range(40):
        content = await service.receive(alice, api.ReceiveRequest(name="jobs", wait=False))
        assert isinstance(content, EncodedContent)
        received.append(int(msgspec.json.decode(content.header)["json"]))
    assert received == list(range(40))
    await service.close()
    await room.settle()


async def test_a_call_that_may_not_make_the_queue_fails_and_the_next_one_makes_it() -> None:
    room, alice = FakeRoom(), fake_participant()
    service = QueuesService(room, MemoryQueueStore())
    first = asyncio.ensure_future(
        service.send(alice, api.SendRequest(name="jobs", message=msgspec.Raw(b"1"), create=False))
    )
    second = asyncio.ensure_future(service.send(alice, api.SendRequest(name="jobs", message=msgspec.Raw(b"2"))))
    with pytest.raises(NotFoundError):
        await first
    await second
    await service.close()
    await room.settle()


# --- queues that are open ------------------------------------------------------------------------------


def encoded(kind: str, value: bytes) -> EncodedContent:
    """A content whose member of the same name has this JSON text."""
    return EncodedContent(b'{"type":"%b","%b":%b}' % (kind.encode(), kind.encode(), value))


class FailingStore(MemoryQueueStore):
    """A store whose disk can be made to refuse removals."""

    failing = False

    def remove(self, queue_id: int, message_ids: Sequence[int]) -> asyncio.Future[int]:
        if not self.failing:
            return super().remove(queue_id, message_ids)
        refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        refused.set_exception(StoreFailedError("no space left on device"))
        return refused


class Scene:
    """A room's queues in memory, and two participants."""

    def __init__(self, max_messages: int = 1_000) -> None:
        self.room = FakeRoom()
        self.store = FailingStore()
        self.service = QueuesService(self.room, self.store, max_messages=max_messages)
        self.alice, self.bob = (self.room.join(fake_participant(name)) for name in ("alice", "bob"))

    async def send(self, *texts: str) -> None:
        for text in texts:
            await self.service.send(self.alice, api.SendRequest(name="jobs", message=msgspec.Raw(text.encode())))

    def receive(self, caller: Participant, *, wait: bool = True) -> asyncio.Future[EncodedContent | Empty]:
        return asyncio.ensure_future(self.service.receive(caller, api.ReceiveRequest(name="jobs", wait=wait)))

    async def waiting(self, caller: Participant) -> asyncio.Future[EncodedContent | Empty]:
        """A receiver in line for the next message of a queue that is there."""
        await self.service.open(self.alice, api.QueueRequest(name="jobs"))
        return self.receive(caller)

    async def size(self) -> int:
        (queue,) = (await self.service.list(self.alice, EMPTY)).queues
        return queue.size


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.service.close()
    await scene.room.settle()


async def test_messages_come_as_they_were_sent_and_in_order(scene: Scene) -> None:
    await scene.send('{"b": 1,  "a": 1.50}', ' "text"', "7", "null")
    received = [await scene.receive(scene.bob, wait=False) for _ in range(5)]
    assert received == [
        encoded("json", b'{"b": 1,  "a": 1.50}'),
        encoded("text", b' "text"'),
        encoded("json", b"7"),
        encoded("json", b"null"),
        EMPTY,
    ]


async def test_a_waiting_receiver_gets_the_next_message_and_the_first_to_wait_is_first(scene: Scene) -> None:
    first, second = await scene.waiting(scene.bob), await scene.waiting(scene.alice)
    await scene.send("1", "2")
    assert (await first, await second) == (encoded("json", b"1"), encoded("json", b"2"))
    assert await scene.size() == 0


async def test_a_receiver_that_is_gone_leaves_the_message_in_the_queue(scene: Scene) -> None:
    waiting = await scene.waiting(scene.bob)
    assert isinstance(scene.bob.outbox, FakeOutbox)
    scene.bob.outbox.is_alive = False
    await scene.send("1")
    await waiting
    assert await scene.size() == 1
    assert await scene.receive(scene.alice, wait=False) == encoded("json", b"1")


async def test_a_receiver_that_leaves_takes_nothing(scene: Scene) -> None:
    waiting = await scene.waiting(scene.bob)
    waiting.cancel()
    scene.room.leave(scene.bob, scene.service)
    await scene.send("1")
    assert await scene.size() == 1


async def test_a_disk_that_refuses_a_removal_keeps_the_message(scene: Scene) -> None:
    await scene.send("1")
    scene.store.failing = True
    with pytest.raises(StoreFailedError):
        await scene.receive(scene.bob)
    scene.store.failing = False
    assert await scene.receive(scene.bob) == encoded("json", b"1")


async def test_a_full_queue_refuses() -> None:
    scene = Scene(max_messages=2)
    await scene.send("1", "2")
    with pytest.raises(LimitExceededError):
        await scene.send("3")
    assert await scene.receive(scene.bob) == encoded("json", b"1")
    await scene.send("3")


async def test_draining_keeps_the_queue_and_closing_removes_it(scene: Scene) -> None:
    await scene.send("1", "2")
    await scene.service.drain(scene.alice, api.QueueRequest(name="jobs"))
    assert await scene.size() == 0
    waiting = await scene.waiting(scene.bob)
    await scene.service.close_queue(scene.alice, api.QueueRequest(name="jobs"))
    assert await waiting is EMPTY
    assert (await scene.service.list(scene.alice, EMPTY)).queues == []


@pytest.mark.parametrize("name", ["", "x" * (MAX_NAME_LENGTH + 1)])
async def test_names_have_bounds(scene: Scene, name: str) -> None:
    with pytest.raises(InvalidRequestError):
        await scene.service.open(scene.alice, api.QueueRequest(name=name))


async def test_a_closed_service_answers_those_who_wait(scene: Scene) -> None:
    waiting = await scene.waiting(scene.bob)
    await scene.service.close()
    assert await waiting is EMPTY
    with pytest.raises(InvalidStateError):
        await scene.send("1")
