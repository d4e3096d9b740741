"""kill -9 of the server and of workers while messages are leased: each is processed, and none is lost."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import TestServer, serve
from tests.support.server_process import ServerProcess, server_process
from tests.support.wire_client import WireClient, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 20
LEASE = 1.0
MESSAGES_PER_LIFE = 100


class Books:
    """What was sent, and what came of it, as far as the server has said so."""

    def __init__(self) -> None:
        self.sent: set[int] = set()
        self.unanswered: set[int] = set()
        self.acknowledged: set[int] = set()
        self.processed: set[int] = set()
        self.again: set[int] = set()
        self.taken: list[int] = []
        """From the queue without leases."""
        self.next = 0

    def process(self, number: int) -> None:
        """A message has come with a lease."""
        self.processed.add(number)
        if number in self.acknowledged:
            self.again.add(number)


async def send_on(client: WireClient, books: Books) -> None:
    """Send each number to both queues until the connection ends."""
    for _ in range(MESSAGES_PER_LIFE):
        books.next += 1
        number = books.next
        books.unanswered.add(number)
        for queue in ("jobs", "plain"):
            await client.ok("queues.send", {"name": queue, "message": number})
        books.unanswered.discard(number)
        books.sent.add(number)


async def work(client: WireClient, books: Books, chance: random.Random) -> None:
    """Lease messages until the connection ends; acknowledge most, release some, and forget others, as if killed."""
    while True:
        received = await client.ok("queues.receive", {"name": "jobs", "wait": True, "lease": LEASE})
        number, lease = received["message"], {"name": "jobs", "lease": received["lease"]}
        books.process(number)
        fate = chance.random()
        if fate < 0.7:
            answer = await client.request("queues.ack", lease)
            if answer.header["type"] != "error":
                books.acknowledged.add(number)
        elif fate < 0.85:
            await client.request("queues.release", lease)


async def take(client: WireClient, books: Books) -> None:
    """Receive without leases until the connection ends."""
    while True:
        answer = await client.request("queues.receive", {"name": "plain", "wait": True})
        books.taken.append(answer.header["json"])


async def one_life(server: ServerProcess, books: Books, chance: random.Random) -> None:
    async with (
        connect(server.url, server.token("sender")) as sender,
        connect(server.url, server.token("worker")) as worker,
        connect(server.url, server.token("taker")) as taker,
    ):
        work_of_all: list[Coroutine[Any, Any, None]] = [
            send_on(sender, books),
            work(worker, books, chance),
            take(taker, books),
        ]
        tasks = [asyncio.ensure_future(one) for one in work_of_all]
        await asyncio.wait(tasks, timeout=chance.uniform(0.05, 0.5), return_when=asyncio.FIRST_EXCEPTION)
        assert not any(task.done() and task.exception() for task in tasks)
        await server.kill()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def finish(client: WireClient, books: Books) -> None:
    """Process all that is left, also what is leased for a while yet."""
    while True:
        try:
            async with asyncio.timeout(3 * LEASE):
                received = await client.ok("queues.receive", {"name": "jobs", "wait": True, "lease": 60})
        except TimeoutError:
            break
        books.process(received["message"])
        await client.ok("queues.ack", {"name": "jobs", "lease": received["lease"]})
        books.acknowledged.add(received["message"])
    while (answer := await client.request("queues.receive", {"name": "plain", "wait": False})).header["type"] == "json":
        books.taken.append(answer.header["json"])


async def test_each_message_is_processed_however_often_the_server_is_killed(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    books, chance = Books(), random.Random(7)
    async with server_process(tmp_path, unused_tcp_port) as server:
        for _ in range(KILLS):
            await one_life(server, books, chance)
            await server.start()
        async with connect(server.url, server.token("finisher")) as finisher:
            await finish(finisher, books)
    assert len(books.sent) > KILLS
    assert books.sent <= books.processed <= books.sent | books.unanswered
    assert books.again == set(), "an acknowledged message came back"
    taken = set(books.taken)
    assert len(taken) == len(books.taken), "a message without a lease came twice"
    assert taken <= books.sent | books.unanswered
    assert len(books.sent - taken) <= KILLS, "without a lease, a kill may take the one message that is on its way"


@asynccontextmanager
async def worker_process(server: TestServer) -> AsyncIterator[asyncio.subprocess.Process]:
    """A `Worker` that has started to receive; killed at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.worker_process",
        server.room_url(),
        server.token("worker", role="agent"),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"receiving\n"
        yield process
    finally:
        process.kill()
        await process.wait()


async def test_the_next_worker_does_the_jobs_of_one_that_is_killed(tmp_path: Path) -> None:
    chance, sent, done = random.Random(11), 0, set[int]()
    async with serve(tmp_path) as server, connect(server.url, server.token("alice")) as alice:

        async def collect(*, wait: bool) -> bool:
            answer = await alice.request("queues.receive", {"name": "results", "wait": wait})
            if answer.header["type"] == "json":
                done.add(answer.header["json"])
            return bool(answer.header["type"] == "json")

        killed_at_work = 0
        for _ in range(KILLS):
            for _ in range(MESSAGES_PER_LIFE):
                sent += 1
                await alice.ok("queues.send", {"name": "jobs", "message": sent})
            async with worker_process(server) as process:
                await collect(wait=True)
                await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=chance.uniform(0, 0.1))
            while await collect(wait=False):
                pass
            killed_at_work += len(done) < sent
        assert killed_at_work > KILLS // 2
        async with worker_process(server), asyncio.timeout(60):
            while len(done) < sent:
                await collect(wait=True)
        sizes = {entry["name"]: entry["size"] for entry in (await alice.ok("queues.list"))["queues"]}
    assert done == set(range(1, sent + 1))
    assert sizes.get("jobs.dead", 0) == 0
    assert sizes.get("jobs.failed", 0) == 0
