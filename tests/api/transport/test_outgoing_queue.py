"""The queue of unsent messages: its limit, the order of those who wait, and its end."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.transport._outgoing import OutgoingQueue
from meshagent.api.transport.chan import ChanClosed, ChanFull
from meshagent.api.wire.packets import Message


def message(number: int, size: int = 10) -> Message:
    return Message(number, "t", bytes(size))


async def test_messages_come_out_in_order_until_the_queue_is_closed() -> None:
    queue = OutgoingQueue(100)
    for number in (1, 2):
        await queue.put(message(number))
    queue.close()
    assert [(await queue.next() or message(0)).id for _ in range(2)] == [1, 2]
    assert await queue.next() is None
    with pytest.raises(ChanClosed):
        await queue.put(message(3))


async def test_a_message_beyond_the_limit_waits_until_others_are_written() -> None:
    queue = OutgoingQueue(20)
    first = message(1, 15)
    await queue.put(first)
    with pytest.raises(ChanFull):
        queue.put_nowait(message(2))
    waiting = [asyncio.create_task(queue.put(message(number))) for number in (2, 3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    assert await queue.next() is first
    queue.written(first)
    await asyncio.gather(*waiting)
    assert [(await queue.next() or message(0)).id for _ in range(2)] == [2, 3]


async def test_a_message_larger_than_the_limit_goes_alone() -> None:
    queue = OutgoingQueue(20)
    large = message(1, 50)
    await queue.put(large)
    with pytest.raises(ChanFull):
        queue.put_nowait(message(2, 0))
    assert await queue.next() is large
    queue.written(large)
    queue.put_nowait(message(2))


async def test_who_waits_for_room_fails_when_the_queue_is_discarded() -> None:
    queue = OutgoingQueue(10)
    await queue.put(message(1))
    waiting = asyncio.create_task(queue.put(message(2)))
    await asyncio.sleep(0)
    queue.close(discard=True)
    with pytest.raises(ChanClosed):
        await waiting
    assert await queue.next() is None


async def test_a_cancelled_sender_lets_the_next_one_go_on() -> None:
    queue = OutgoingQueue(10)
    first = message(1)
    await queue.put(first)
    cancelled, waiting = [asyncio.create_task(queue.put(message(number))) for number in (2, 3)]
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert await queue.next() is first
    queue.written(first)
    await waiting
    assert (await queue.next() or message(0)).id == 3
