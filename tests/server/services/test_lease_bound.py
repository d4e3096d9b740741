"""The bound on the leases of one connection, whenever they are taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from meshagent.api.contracts import queues as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import LimitExceededError
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.queues import QueuesService, leasing
from meshagent.server.stores.memory_queues import MemoryQueueStore
from tests.support.fake_room import FakeRoom, fake_participant

BOUND = 4


class Scene:
    """A room's queues, a sender and a receiver."""

    def __init__(self) -> None:
        self.room = FakeRoom()
        self.service = QueuesService(self.room, MemoryQueueStore())
        self.alice, self.bob = (self.room.join(fake_participant(name)) for name in ("alice", "bob"))

    async def send(self, count: int, name: str = "jobs") -> None:
        for number in range(count):
            await self.service.send(self.alice, api.SendRequest(name=name, message=msgspec.Raw(b"%d" % number)))

    def receive(
        self, name: str = "jobs", *, caller: Participant | None = None, wait: bool = True, receive_id: int | None = None
    ) -> asyncio.Future[EncodedContent | Empty]:
        request = api.ReceiveRequest(name=name, lease=60, wait=wait, receive_id=receive_id)
        return asyncio.ensure_future(self.service.receive(caller or self.bob, request))

    def refuse(self, name: str = "jobs") -> None:
        """One more receive with a lease is refused at once."""
        with pytest.raises(LimitExceededError, match=f"{BOUND} leases"):
            self.receive(name)


def lease_of(content: EncodedContent | Empty) -> str:
    assert isinstance(content, EncodedContent)
    return str(msgspec.json.decode(content.header)["json"]["lease"])


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(leasing, "MAX_LEASES", BOUND)
    scene = Scene()
    yield scene
    await scene.service.close()
    await scene.room.settle()


@pytest.mark.parametrize("is_open", [False, True])
async def test_waiting_receives_count_as_leases(scene: Scene, is_open: bool) -> None:
    if is_open:
        for name in ("jobs", "more"):
            await scene.service.open(scene.alice, api.QueueRequest(name=name))
    waiting = [scene.receive(name) for name in ("jobs", "more") for _ in range(BOUND // 2)]
    scene.refuse()
    scene.refuse("third")
    for name in ("jobs", "more"):
        await scene.send(BOUND, name)
    leases = [lease_of(await receive) for receive in waiting]
    assert len(set(leases)) == BOUND
    scene.refuse()
    assert await scene.receive(caller=scene.alice) is not EMPTY
    await scene.service.ack(scene.bob, api.LeaseRequest(name="jobs", lease=leases[0]))
    assert await scene.receive() is not EMPTY
    scene.refuse("more")


async def test_a_receive_that_takes_no_lease_makes_room(scene: Scene) -> None:
    await scene.service.open(scene.alice, api.QueueRequest(name="jobs"))
    for _ in range(2 * BOUND):
        assert await scene.receive(wait=False) is EMPTY
    waiting = [scene.receive(receive_id=number) for number in range(BOUND)]
    scene.refuse()
    cancelled = await scene.service.cancel_receive(scene.bob, api.CancelReceiveRequest(name="jobs", receive_id=0))
    assert cancelled.outcome == "cancelled"
    assert await waiting[0] is EMPTY
    again = scene.receive()
    scene.refuse()
    for receive in (*waiting[1:], again):
        receive.cancel()
    await asyncio.wait([*waiting[1:], again])
    assert await scene.receive(wait=False) is EMPTY
    assert not scene.service._leasing._awaited
