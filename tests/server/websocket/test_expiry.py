"""The queue of connections whose token expires."""

from __future__ import annotations

import asyncio

from meshagent.server.websocket.expiry import ExpiryQueue


class Connection:
    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.reason: tuple[int, str] | None = None

    def close(self, code: int = 0, reason: str = "") -> None:
        self.reason = (code, reason)
        self.closed.set()


async def test_connections_end_at_their_time_and_not_before() -> None:
    now = 1000.0
    early, late, gone = Connection(), Connection(), Connection()
    queue = ExpiryQueue({early, late}, now=lambda: now)
    queue.add(late, 5000.0)
    queue.add(gone, 1000.0)
    queue.add(early, 1000.0)
    async with asyncio.timeout(5):
        await early.closed.wait()
    assert early.reason == (1008, "the token has expired")
    assert (late.reason, gone.reason) == (None, None)
    queue.close()


async def test_connections_that_are_gone_do_not_pile_up() -> None:
    queue = ExpiryQueue(set(), now=lambda: 0.0)
    for number in range(1000):
        queue.add(Connection(), 1000.0 + number)
        assert len(queue) <= 66
    queue.close()
