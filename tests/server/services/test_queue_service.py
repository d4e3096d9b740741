"""The queue service without a wire: what comes while a queue is being opened."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from meshagent.api.contracts import queues as api
from meshagent.api.errors import NotFoundError
from meshagent.server.services.queues import QueuesService
from meshagent.server.stores.memory_queues import MemoryQueueStore
from meshagent.server.stores.queues import StoredQueue
from tests.support.fake_room import FakeRoom, fake_participant


class SlowStore(MemoryQueueStore):
    """A store that opens queues when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def open(self, room: str, name: str, **options: Any) -> StoredQueue | None:
        await self.gate.wait()
        return await super().open(room, name, **options)


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
        received.append(int(msgspec.json.decode(content.header)["json"]))  # type: ignore[union-attr]
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
