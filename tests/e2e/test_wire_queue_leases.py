"""Leases, delays and deduplication of queue messages, over real sockets (protocol 10.2, 10.5)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from meshagent.api import RoomClient
from meshagent.api.errors import InvalidRequestError, NotFoundError, RoomException
from meshagent.api.room.queues import LeasedMessage
from tests.support.chatting import joined
from tests.support.server import TestServer, serve


async def leased(room: RoomClient, name: str = "jobs", *, wait: bool = False, **options: Any) -> LeasedMessage:
    message = await room.queues.receive(name, wait=wait, **{"lease": 60, **options})
    assert isinstance(message, LeasedMessage)
    return message


async def rest(room: RoomClient, name: str = "jobs") -> list[Any]:
    """Everything that can be received, in order."""
    found = []
    while (message := await room.queues.receive(name, wait=False)) is not None:
        found.append(message)
    return found


async def test_a_leased_message_is_unseen_and_acknowledged_once(server: TestServer) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        for number in range(2):
            await alice.queues.send("jobs", {"n": number})
        message = await leased(bob)
        assert (message.message, message.attempts) == ({"n": 0}, 1)
        assert [queue.size for queue in await alice.queues.list()] == [1]
        assert await rest(alice) == [{"n": 1}]
        await message.ack()
        with pytest.raises(NotFoundError, match="lease"):
            await message.ack()
        assert await rest(alice) == []


async def test_a_waiting_receiver_gets_a_lease(server: TestServer) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        waiting = asyncio.create_task(leased(bob, wait=True))
        await alice.queues.send("jobs", "text")
        message = await waiting
        assert message.message == "text"
        await message.ack()


async def test_a_lease_that_ends_returns_its_message(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        for number in range(1, 3):
            await alice.queues.send("jobs", number)
        late = await leased(alice, lease=0.1)
        [again] = [await leased(alice, wait=True, lease=60) for _ in range(2)][-1:]
        assert (again.message, again.attempts) == (1, 2)
        with pytest.raises(NotFoundError):
            await late.ack()
        await again.ack()
        assert await rest(alice) == []


async def test_a_released_message_returns_to_its_place(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        for number in range(1, 4):
            await alice.queues.send("jobs", number)
        first, second = await leased(alice), await leased(alice)
        await second.release()
        await first.release()
        again = await leased(alice)
        assert (again.message, again.attempts) == (1, 2)
        await again.extend(120)
        await again.release(delay=0.1)
        with pytest.raises(NotFoundError):
            await again.release()
        assert await rest(alice) == [2, 3]
        assert await alice.queues.receive("jobs") == 1


async def test_a_lease_outlives_the_connection_and_the_server(tmp_path: Path) -> None:
    async with serve(tmp_path / "data") as server:
        async with joined(server, "alice") as alice:
            for number in range(3):
                await alice.queues.send("jobs", number)
            kept, short = await leased(alice), await leased(alice, lease=1)
        async with joined(server, "bob") as bob:
            assert await rest(bob) == [2]
    async with serve(tmp_path / "data") as server, joined(server, "carol") as carol:
        acknowledged = LeasedMessage(carol, queue="jobs", message=0, attempts=1, lease=kept.lease)
        await acknowledged.ack()
        again = await leased(carol, wait=True)
        assert (again.message, again.attempts) == (short.message, 2)
        await again.ack()
        assert await rest(carol) == []


async def test_a_message_that_nobody_finishes_goes_to_the_dead_letter_queue(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await alice.queues.send("jobs", "poison")
        await alice.queues.send("jobs", "work")
        for attempt in (1, 2):
            message = await leased(alice, max_attempts=2)
            assert (message.message, message.attempts) == ("poison", attempt)
            await message.release()
        assert (await leased(alice, max_attempts=2)).message == "work"
        assert await alice.queues.receive("jobs.dead") == "poison"
        assert await rest(alice) == []


async def test_a_cancelled_receive_ends_its_lease_and_counts_no_attempt(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await alice.queues.open("jobs")
        for turns in range(12):
            receiving = asyncio.create_task(leased(alice, wait=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending = asyncio.create_task(alice.queues.send("jobs", turns))
            for _ in range(turns):
                await asyncio.sleep(0)
            receiving.cancel()
            await asyncio.wait([receiving, sending])
            message = receiving.result() if not receiving.cancelled() else await leased(alice, wait=True)
            assert (message.message, message.attempts) == (turns, 1)
            await message.ack()


async def test_a_delayed_message_comes_later(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await alice.queues.send("jobs", "later", delay=0.2)
        await alice.queues.send("jobs", "much later", delay=3600)
        await alice.queues.send("jobs", "now")
        assert [await alice.queues.receive("jobs") for _ in range(2)] == ["now", "later"]
        assert await rest(alice) == []


async def test_a_repeated_message_is_dropped(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        for number in range(3):
            await alice.queues.send("jobs", number, deduplication_id="order 7")
        await alice.queues.send("jobs", 3, deduplication_id="order 8")
        assert await rest(alice) == [0, 3]


@pytest.mark.parametrize("limits", [{"max_queue_messages": 2}, {"max_queue_bytes": 100}])
async def test_a_repeated_message_is_dropped_by_a_full_queue(tmp_path: Path, limits: dict[str, int]) -> None:
    first, second = "a" * 40, "b" * 40
    async with serve(tmp_path, limits=limits) as server, joined(server, "alice") as alice:
        await alice.queues.send("jobs", first, deduplication_id="order 7")
        await alice.queues.send("jobs", second, deduplication_id="order 8", delay=3600)
        for _ in range(2):
            await alice.queues.send("jobs", first, deduplication_id="order 7")
            await alice.queues.send("jobs", second, deduplication_id="order 8")
            for key in (None, "order 9"):
                with pytest.raises(RoomException, match="full"):
                    await alice.queues.send("jobs", first, deduplication_id=key)
        assert await rest(alice) == [first]


@pytest.mark.parametrize("options", [{"lease": 0}, {"lease": 50_000}, {"max_attempts": 1}, {"max_attempts": 0}])
async def test_leases_have_bounds(server: TestServer, options: dict[str, Any]) -> None:
    async with joined(server, "alice") as alice:
        with pytest.raises(InvalidRequestError):
            await alice.queues.receive("jobs", wait=False, **options)


@pytest.mark.parametrize(
    "options", [{"delay": -1}, {"delay": 1e9}, {"deduplication_id": ""}, {"deduplication_id": "x" * 129}]
)
async def test_delays_and_deduplication_ids_have_bounds(server: TestServer, options: dict[str, Any]) -> None:
    async with joined(server, "alice") as alice:
        with pytest.raises(InvalidRequestError):
            await alice.queues.send("jobs", 1, **options)
