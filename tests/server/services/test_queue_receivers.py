"""The queue service and its receivers: leaving, cancelling, and messages that return to their place."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from meshagent.api.contracts import queues as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.services.queues import QueuesService
from meshagent.server.stores.memory_queues import MemoryQueueStore
from tests.support.fake_room import FakeOutbox, FakeRoom, fake_participant


class Scene:
    """An open queue, a sender and two receivers."""

    def __init__(self) -> None:
        self.room = FakeRoom()
        self.service = QueuesService(self.room, MemoryQueueStore())
        self.alice, self.bob = (self.room.join(fake_participant(name)) for name in ("alice", "bob"))

    def send(self, number: int) -> asyncio.Future[Empty]:
        request = api.SendRequest(name="jobs", message=msgspec.Raw(b"%d" % number))
        return asyncio.ensure_future(self.service.send(self.alice, request))

    def receive(self, receive_id: int | None = None, *, wait: bool = True) -> asyncio.Future[EncodedContent | Empty]:
        request = api.ReceiveRequest(name="jobs", wait=wait, receive_id=receive_id)
        return asyncio.ensure_future(self.service.receive(self.bob, request))

    def cancel(self, receive_id: int) -> asyncio.Future[api.CancelledReceive]:
        request = api.CancelReceiveRequest(name="jobs", receive_id=receive_id)
        return asyncio.ensure_future(self.service.cancel_receive(self.bob, request))

    async def rest(self) -> list[int]:
        """Everything that is left, in order."""
        numbers = []
        request = api.ReceiveRequest(name="jobs", wait=False)
        while isinstance(content := await self.service.receive(self.alice, request), EncodedContent):
            numbers.append(msgspec.json.decode(content.header)["json"])
        return numbers


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    await scene.service.open(scene.alice, api.QueueRequest(name="jobs"))
    return scene


async def test_a_receiver_that_leaves_in_the_turn_of_a_send_gets_its_message_first(scene: Scene) -> None:
    waiting = scene.receive()
    sent = scene.send(1)
    waiting.cancel()
    assert isinstance(scene.bob.outbox, FakeOutbox)
    scene.bob.outbox.is_alive = False
    scene.room.leave(scene.bob, scene.service)
    assert await sent is EMPTY
    assert await scene.rest() == [1]


async def test_a_cancelled_receive_that_waits_takes_nothing(scene: Scene) -> None:
    waiting = scene.receive(7)
    assert (await scene.cancel(7)).outcome == "cancelled"
    assert await waiting is EMPTY
    await scene.send(1)
    assert await scene.rest() == [1]


async def test_a_cancelled_receive_returns_its_message_to_the_front(scene: Scene) -> None:
    """A message that went from the sender to the receiver, one from the store, and one on its way out of the store."""
    direct = scene.receive(1)
    await scene.send(1)
    await direct
    for number in (2, 3, 4):
        await scene.send(number)
    await scene.receive(2)
    on_its_way = scene.receive(3)
    outcomes = [(await scene.cancel(receive_id)).outcome for receive_id in (3, 2, 1)]
    assert outcomes == ["returned"] * 3
    assert await on_its_way is EMPTY
    assert await scene.rest() == [1, 2, 3, 4]


async def test_a_message_is_returned_once(scene: Scene) -> None:
    await scene.send(1)
    await scene.receive(1)
    assert [(await scene.cancel(1)).outcome for _ in range(2)] == ["returned", "unknown"]
    assert await scene.rest() == [1]


async def test_another_participant_cannot_cancel_a_receive(scene: Scene) -> None:
    await scene.send(1)
    await scene.receive(1)
    request = api.CancelReceiveRequest(name="jobs", receive_id=1)
    assert (await scene.service.cancel_receive(scene.alice, request)).outcome == "unknown"
    assert await scene.rest() == []


async def test_a_returned_message_goes_to_the_receiver_that_waits(scene: Scene) -> None:
    await scene.send(1)
    await scene.receive(1)
    waiting = scene.receive(2)
    await scene.cancel(1)
    content = await waiting
    assert isinstance(content, EncodedContent)
    assert msgspec.json.decode(content.header)["json"] == 1
