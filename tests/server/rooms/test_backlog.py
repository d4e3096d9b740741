"""What waits for slow readers, within what all of them may have waiting."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from meshagent.server.kernel.byte_budget import STEP, ByteBudget
from meshagent.server.rooms.backlog import Backlog, BacklogLimits


class Socket:
    """Takes nothing until a test says so."""

    congested = True
    buffered = 1 << 30
    taken = 0

    def __init__(self) -> None:
        self.written = 0

    def write(self, frames: bytes) -> None:
        self.written += len(frames)


class Reader:
    """A connection that does not read, with its backlog."""

    def __init__(self, budget: ByteBudget) -> None:
        self.socket = Socket()
        self.cuts: list[str] = []
        self.is_empty = asyncio.Event()
        limits = BacklogLimits(max_pushed_bytes=8 * STEP, max_reply_bytes=100 * STEP, drain_timeout=60, waiting=budget)
        self.backlog = Backlog(cast(Any, self.socket), self, limits, "reader")

    def emptied(self) -> None:
        self.is_empty.set()

    def cut(self, reason: str) -> None:
        self.cuts.append(reason)
        self.backlog.close()

    def replies_changed(self) -> None:
        pass

    async def read_all(self) -> None:
        self.socket.congested = False
        self.socket.buffered = 0
        self.backlog.writable()
        async with asyncio.timeout(5):
            await self.is_empty.wait()


async def test_senders_wait_for_readers_that_have_something_waiting_while_all_have_too_much() -> None:
    budget = ByteBudget(4 * STEP)
    greedy, slow, quick = Reader(budget), Reader(budget), Reader(budget)
    greedy.backlog.reply(bytes(5 * STEP))
    assert slow.backlog.offer(bytes(STEP)) is None
    waiter = slow.backlog.offer(b"x")
    assert waiter is not None
    assert quick.backlog.offer(b"x") is None, "who has nothing waiting is not to blame"
    await slow.read_all()
    assert waiter.done()
    assert waiter.result()
    assert slow.socket.written == STEP + 1
    await greedy.read_all()
    await quick.read_all()
    assert budget.used == 0
    assert not greedy.cuts + slow.cuts + quick.cuts


async def test_readers_with_much_waiting_are_cut_off_while_all_have_too_much() -> None:
    budget = ByteBudget(4 * STEP)
    greedy, slow, slower = Reader(budget), Reader(budget), Reader(budget)
    greedy.backlog.reply(bytes(5 * STEP))
    slow.backlog.push(bytes(STEP))
    slower.backlog.push(bytes(STEP))
    slower.backlog.push(bytes(STEP + 1))
    assert slower.cuts == ["too slow: all participants together have too much waiting"]
    assert not slow.cuts
    assert budget.used == 6 * STEP
    for reader in (greedy, slow):
        reader.backlog.close()
    assert budget.used == 0
