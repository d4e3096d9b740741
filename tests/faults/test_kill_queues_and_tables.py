"""kill -9 with a thousand queued messages and open tables: nothing that was acknowledged is lost, or comes twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.server_process import ServerProcess, server_process
from tests.support.wire_client import WireClient, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

QUEUED = 1000
RECEIVED = 100
ROUNDS = 3
ROWS_BEFORE_THE_KILL = 40
SCHEMA = {"id": {"type": "int"}, "state": {"type": "text"}}


class Books:
    """What the server has acknowledged, and what may have happened besides."""

    def __init__(self) -> None:
        self.sent: set[int] = set()
        self.received: list[int] = []
        self.rows: dict[int, str] = {}
        self.unknown_rows: set[int] = set()
        self.next = 0

    def number(self) -> int:
        self.next += 1
        return self.next


async def send_all(client: WireClient, books: Books, count: int) -> None:
    """Send messages, all on the way at a time, and wait until all are acknowledged."""
    numbers = [books.number() for _ in range(count)]
    pending = [await client.send("queues.send", {"name": "jobs", "message": number}) for number in numbers]
    for number, request in zip(numbers, pending, strict=True):
        assert (await client.answer(request)).header["type"] == "empty"
        books.sent.add(number)


async def receive(client: WireClient, count: int | None) -> list[int]:
    """That many messages, or all there are."""
    got: list[int] = []
    while count is None or len(got) < count:
        header = (await client.request("queues.receive", {"name": "jobs", "wait": False})).header
        if header["type"] == "empty":
            break
        got.append(header["json"])
    return got


async def write_rows(client: WireClient, table: str, books: Books, enough: asyncio.Event) -> None:
    """Insert rows and change them, until the connection ends."""
    while True:
        number = books.number()
        books.unknown_rows.add(number)
        await client.ok("database.insert", {"table": table, "records": {"id": number, "state": "new"}})
        books.rows[number] = "new"
        if number % 3 == 0:
            del books.rows[number]  # while it changes it may be either
            values = {"table": table, "where": f"id = {number}", "values": {"state": "changed"}, "values_sql": None}
            await client.ok("database.update", values)
            books.rows[number] = "changed"
        books.unknown_rows.discard(number)
        if len(books.rows) % ROWS_BEFORE_THE_KILL == 0:
            enough.set()


async def send_on(client: WireClient, books: Books, unknown: set[int]) -> None:
    """Send messages one after the other, until the connection ends; `unknown` holds those without an answer."""
    while True:
        number = books.number()
        unknown.add(number)
        await client.ok("queues.send", {"name": "jobs", "message": number})
        books.sent.add(number)
        unknown.discard(number)


async def work_until_killed(server: ServerProcess, tables: dict[str, Books], books: Books, unknown: set[int]) -> None:
    """Write to the queue and all tables, while others wait on an empty queue, and kill the server meanwhile."""
    enough = asyncio.Event()
    async with (
        connect(server.url, server.token("writer")) as writer,
        connect(server.url, server.token("idler")) as idler,
    ):
        for _ in range(20):
            await idler.send("queues.receive", {"name": "nothing", "create": True, "wait": True})
        await idler.settle()
        writing = [asyncio.ensure_future(write_rows(writer, name, rows, enough)) for name, rows in tables.items()]
        writing.append(asyncio.ensure_future(send_on(writer, books, unknown)))
        await asyncio.wait_for(enough.wait(), 30)
        await server.kill()
        for outcome in await asyncio.gather(*writing, return_exceptions=True):
            assert isinstance(outcome, (AssertionError, ConnectionError)), repr(outcome)


async def check_table(client: WireClient, name: str, books: Books) -> None:
    """Every acknowledged row is there once, as it was left; only rows without an answer may be there besides."""
    found: list[dict[str, Any]] = (await client.ok("database.search", {"table": name, "where": None}))["results"]
    states = {row["id"]: row["state"] for row in found}
    assert len(states) == len(found), "a row is there twice"
    assert {number: states.get(number) for number in books.rows} == books.rows
    assert set(states) - set(books.rows) <= books.unknown_rows
    for number in books.unknown_rows & set(states):
        books.rows[number] = states[number]
    books.unknown_rows.clear()


async def test_nothing_acknowledged_is_lost(tmp_path: Path, unused_tcp_port: int) -> None:
    books, unknown = Books(), set[int]()
    tables = {"first": Books(), "second": Books()}
    async with server_process(tmp_path, unused_tcp_port) as server:
        async with connect(server.url, server.token("alice")) as alice:
            await send_all(alice, books, QUEUED)
            books.received += await receive(alice, RECEIVED)
            for name in tables:
                await alice.ok("database.create_table", {"name": name, "schema": SCHEMA, "data": None})
        for _ in range(ROUNDS):
            await work_until_killed(server, tables, books, unknown)
            await server.start()
            async with connect(server.url, server.token("checker")) as checker:
                for name, rows in tables.items():
                    await check_table(checker, name, rows)
                [queue] = [entry for entry in (await checker.ok("queues.list"))["queues"] if entry["name"] == "jobs"]
                assert len(books.sent) - RECEIVED <= queue["size"] <= len(books.sent) + len(unknown) - RECEIVED
        async with connect(server.url, server.token("bob")) as bob:
            books.received += await receive(bob, None)
    assert len(books.received) == len(set(books.received)), "a message came twice"
    assert books.sent <= set(books.received) <= books.sent | unknown
    assert sorted(books.received) == books.received, "messages of one sender must come in order"
    assert len(books.sent) > QUEUED
