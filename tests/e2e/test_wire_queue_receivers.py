"""Receivers of queues that leave or give up while messages are on their way to them (protocol 10.2, 10.3)."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.chatting import joined
from tests.support.server import TestServer
from tests.support.wire_client import join


async def test_no_send_fails_because_a_receiver_leaves(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        for number in range(10):
            async with join(server, "bob") as bob:
                waiting = [await bob.send("queues.receive", {"name": "jobs", "wait": True}) for _ in range(5)]
                await bob.settle()
                sent = [await alice.send("queues.send", {"name": "jobs", "message": number}) for _ in waiting]
            answers = [await alice.answer(message_id) for message_id in sent]
            assert [answer.header["type"] for answer in answers] == ["empty"] * len(sent)


async def test_a_cancelled_receive_swallows_nothing(server: TestServer) -> None:
    total = 60
    got: list[Any] = []
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        await alice.queues.open("jobs")

        async def send() -> None:
            for number in range(total):
                await alice.queues.send("jobs", number)

        sending = asyncio.create_task(send())
        turns = 0
        while len(got) < total:
            receiving = asyncio.create_task(bob.queues.receive("jobs"))
            for _ in range(turns % 12):  # cancelled at each stage: before it is sent, waiting, answered
                await asyncio.sleep(0)
            turns += 1
            receiving.cancel()
            await asyncio.wait([receiving])
            if receiving.cancelled():
                async with asyncio.timeout(10):
                    got.append(await bob.queues.receive("jobs"))
            else:
                got.append(receiving.result())
        await sending
        assert await alice.queues.receive("jobs", wait=False) is None
    assert got == list(range(total))
