"""Channels: order, limits, and what closing means."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.errors import ConnectionLostError
from meshagent.api.transport.chan import Chan, ChanClosed, ChanEmpty, ChanFull


async def test_values_arrive_in_order() -> None:
    chan: Chan[int] = Chan()
    for value in range(3):
        await chan.send(value)
    assert chan.qsize() == 3
    chan.close()
    assert [value async for value in chan] == [0, 1, 2]


async def test_a_full_channel_makes_senders_wait() -> None:
    chan: Chan[int] = Chan(1)
    await chan.send(1)
    assert chan.full()
    with pytest.raises(ChanFull):
        chan.send_nowait(2)
    waiting = asyncio.create_task(chan.send(2))
    await asyncio.sleep(0)
    assert not waiting.done()
    assert await chan.recv() == 1
    await waiting
    assert await chan.recv() == 2
    assert chan.empty()


async def test_closing_drains_and_wakes_everyone() -> None:
    chan: Chan[int] = Chan(1)
    await chan.send(1)
    sender = asyncio.create_task(chan.send(2))
    empty: Chan[int] = Chan()
    receiver = asyncio.create_task(empty.recv())
    await asyncio.sleep(0)
    chan.close()
    empty.close()
    for waiting in (sender, receiver):
        with pytest.raises(ChanClosed):
            await waiting
    assert chan.closed
    assert chan.recv_nowait() == 1
    with pytest.raises(ChanClosed):
        chan.recv_nowait()
    with pytest.raises(ConnectionLostError):  # which a closed channel is a kind of
        chan.send_nowait(3)


async def test_an_open_empty_channel_has_nothing() -> None:
    with pytest.raises(ChanEmpty):
        Chan[int]().recv_nowait()


async def test_a_cancelled_receiver_does_not_swallow_a_value() -> None:
    chan: Chan[int] = Chan()
    first, second = asyncio.create_task(chan.recv()), asyncio.create_task(chan.recv())
    await asyncio.sleep(0)
    chan.send_nowait(7)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == 7
