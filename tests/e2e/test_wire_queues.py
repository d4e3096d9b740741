"""Queues at wire level: order, waiting, durability, receivers that vanish (protocol 10)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import TestServer, serve
from tests.support.wire_client import WireClient, join


async def sizes(client: WireClient) -> dict[str, int]:
    return {queue["name"]: queue["size"] for queue in (await client.ok("queues.list"))["queues"]}


async def receive(client: WireClient, name: str = "jobs", *, wait: bool = False, **more: Any) -> dict[str, Any]:
    return (await client.request("queues.receive", {"name": name, "create": True, "wait": wait, **more})).header


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"hello": "world"}, {"type": "json", "json": {"hello": "world"}}),
        ([1, None, "é"], {"type": "json", "json": [1, None, "é"]}),
        (7, {"type": "json", "json": 7}),
        (None, {"type": "json", "json": None}),
        ("text", {"type": "text", "text": "text"}),
    ],
)
async def test_a_message_comes_back_as_itself(server: TestServer, message: Any, content: dict[str, Any]) -> None:
    async with join(server) as alice:
        await alice.ok("queues.send", {"name": "jobs", "create": True, "message": message})
        assert await sizes(alice) == {"jobs": 1}
        assert await receive(alice) == content
        assert await receive(alice) == {"type": "empty"}
        assert await sizes(alice) == {"jobs": 0}


async def test_messages_come_in_the_order_in_which_they_were_sent(server: TestServer) -> None:
    async with join(server, "alice") as alice, join(server, "bob") as bob:
        for number in range(50):
            await alice.send("queues.send", {"name": "jobs", "create": True, "message": number})
        await alice.settle()
        await alice.ok("queues.send", {"name": "jobs", "message": 50})
        assert [(await receive(bob))["json"] for _ in range(51)] == list(range(51))


async def test_a_waiting_receiver_does_not_hold_up_its_connection(server: TestServer) -> None:
    async with join(server) as alice:
        waiting = await alice.send("queues.receive", {"name": "jobs", "create": True, "wait": True})
        await alice.settle()
        await alice.ok("queues.send", {"name": "jobs", "create": False, "message": {"n": 1}})
        assert (await alice.answer(waiting)).header["json"] == {"n": 1}
        assert await sizes(alice) == {"jobs": 0}


async def test_a_receiver_that_leaves_takes_nothing_with_it(server: TestServer) -> None:
    async with join(server, "alice") as alice:
        async with join(server, "bob") as bob:
            await bob.send("queues.receive", {"name": "jobs", "create": True, "wait": True})
            await bob.settle()
        waiting = await alice.send("queues.receive", {"name": "jobs", "create": True, "wait": True})
        await alice.ok("queues.send", {"name": "jobs", "message": "for alice"})
        assert (await alice.answer(waiting)).header["text"] == "for alice"


async def test_missing_queues_drain_and_close(server: TestServer) -> None:
    async with join(server) as alice:
        assert "queue 'jobs' not found" in await alice.error(
            "queues.send", {"name": "jobs", "create": False, "message": 1}
        )
        assert "not found" in await alice.error("queues.receive", {"name": "jobs", "create": False, "wait": True})
        assert "not found" in await alice.error("queues.drain", {"name": "jobs"})
        await alice.ok("queues.open", {"name": "jobs"})
        await alice.ok("queues.open", {"name": "jobs"})
        for number in range(3):
            await alice.ok("queues.send", {"name": "jobs", "message": number})
        await alice.ok("queues.drain", {"name": "jobs"})
        assert await sizes(alice) == {"jobs": 0}
        waiting = await alice.send("queues.receive", {"name": "jobs", "wait": True})
        await alice.ok("queues.close", {"name": "jobs"})
        assert (await alice.answer(waiting)).header["type"] == "empty"
        assert await sizes(alice) == {}


async def test_twenty_waiting_receivers_share_ten_thousand_messages(server: TestServer) -> None:
    total, receivers = 10_000, 20

    async def work(client: WireClient, got: list[int]) -> None:
        while True:
            content = await receive(client, wait=True)
            if content["json"] is None:
                return
            got.append(content["json"])

    async def send(client: WireClient, numbers: range) -> None:
        pending = [await client.send("queues.send", {"name": "jobs", "message": number}) for number in numbers]
        await client.answer(pending[-1])

    got: list[list[int]] = [[] for _ in range(4)]
    async with (
        join(server, "sender") as sender,
        join(server, "a") as a,
        join(server, "b") as b,
        join(server, "c") as c,
        join(server, "d") as d,
    ):
        workers = [
            asyncio.create_task(work(client, got[index]))
            for index, client in enumerate((a, b, c, d))
            for _ in range(receivers // 4)
        ]
        await send(sender, range(total))
        for _ in workers:
            await sender.ok("queues.send", {"name": "jobs", "message": None})
        await asyncio.gather(*workers)
        assert sorted(number for part in got for number in part) == list(range(total))
        assert await sizes(sender) == {"jobs": 0}


async def test_messages_outlive_the_server(tmp_path: Path) -> None:
    async with serve(tmp_path) as server, join(server) as alice:
        for number in range(3):
            await alice.ok("queues.send", {"name": "jobs", "message": number})
        assert (await receive(alice))["json"] == 0
    async with serve(tmp_path) as server, join(server) as alice:
        assert await sizes(alice) == {"jobs": 2}
        assert [(await receive(alice))["json"] for _ in range(2)] == [1, 2]


async def test_a_full_queue_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    async with serve(tmp_path, limits={"max_queue_messages": 2}) as server, join(server) as alice:
        for number in range(2):
            await alice.ok("queues.send", {"name": "jobs", "message": number})
        assert "full" in await alice.error("queues.send", {"name": "jobs", "message": 2})
        assert await sizes(alice) == {"jobs": 2}


async def test_a_queue_is_bounded_in_bytes_with_what_is_leased_or_delayed(tmp_path: Path) -> None:
    limit, text = 10_000, "x" * 2998  # 3,000 bytes as JSON
    send = {"name": "jobs", "message": text}
    async with serve(tmp_path, limits={"max_queue_bytes": limit}) as server, join(server) as alice:
        for more in ({}, {"deduplication_id": "a"}, {"deduplication_id": "a"}, {"delay": 60}):
            await alice.ok("queues.send", {**send, **more})
        leased = (await receive(alice, lease=60))["json"]
        assert "10000 bytes" in await alice.error("queues.send", send)
        await alice.ok("queues.send", {"name": "jobs", "message": 1})
    async with serve(tmp_path, limits={"max_queue_bytes": limit}) as server, join(server) as alice:
        assert "full" in await alice.error("queues.send", send)
        await alice.ok("queues.ack", {"name": "jobs", "lease": leased["lease"]})
        await alice.ok("queues.send", send)
        assert "full" in await alice.error("queues.send", send)
        returned = (await receive(alice, lease=60))["json"]
        assert "full" in await alice.error("queues.send", send)
        await alice.ok("queues.release", {"name": "jobs", "lease": returned["lease"]})
        assert "full" in await alice.error("queues.send", send)
        assert (await receive(alice))["text"] == text
        await alice.ok("queues.send", send)
        assert "full" in await alice.error("queues.send", send)
        await alice.ok("queues.drain", {"name": "jobs"})
        for _ in range(3):
            await alice.ok("queues.send", send)
        assert "full" in await alice.error("queues.send", send)


async def test_what_arrives_while_a_queue_opens_keeps_its_order(server: TestServer) -> None:
    async with join(server) as alice:
        for name in ("one", "two", "three"):
            sent = [await alice.send("queues.send", {"name": name, "message": number}) for number in range(400)]
            await alice.answer(sent[-1])
            assert [(await receive(alice, name))["json"] for _ in range(400)] == list(range(400))
