"""`room.queues` on a fake core."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api.contracts.content import Body, EmptyBody, FileBody, JsonBody, TextBody
from meshagent.api.errors import RoomException
from meshagent.api.room.queues import QueuesClient
from tests.support.fake_core import FakeCore


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (JsonBody(json={"a": [1, None]}), {"a": [1, None]}),
        (TextBody(text="work"), "work"),
        (EmptyBody(), None),
    ],
)
async def test_messages_arrive_as_they_were_sent(content: Body, message: Any) -> None:
    core = FakeCore()
    core.answers["queues.receive"] = lambda header, payload: content
    assert await QueuesClient(room=core).receive(name="jobs", wait=False) == message
    assert core.received("queues.receive") == [
        (
            {
                "name": "jobs",
                "create": True,
                "wait": False,
                "receive_id": 1,
                "lease": None,
                "max_attempts": None,
            },
            b"",
        )
    ]


async def test_other_contents_are_refused() -> None:
    core = FakeCore()
    core.answers["queues.receive"] = lambda header, payload: FileBody(data=b"", name="", mime_type="")
    with pytest.raises(RoomException, match="file"):
        await QueuesClient(room=core).receive("jobs")


async def test_queues_are_listed() -> None:
    core = FakeCore()
    core.answers["queues.list"] = lambda header, payload: {"queues": [{"name": "jobs", "size": 2}]}
    assert [(queue.name, queue.size) for queue in await QueuesClient(room=core).list()] == [("jobs", 2)]


async def test_queues_are_written_and_emptied() -> None:
    core = FakeCore()
    queues = QueuesClient(room=core)
    await queues.open("jobs")
    await queues.send("jobs", {"a": [1, None]}, create=False)
    await queues.drain("jobs")
    await queues.close("jobs")
    assert core.requests == [
        ("queues.open", {"name": "jobs"}, b""),
        (
            "queues.send",
            {"name": "jobs", "message": {"a": [1, None]}, "create": False, "delay": 0, "deduplication_id": None},
            b"",
        ),
        ("queues.drain", {"name": "jobs"}, b""),
        ("queues.close", {"name": "jobs"}, b""),
    ]


async def test_a_cancelled_receive_tells_the_room() -> None:
    core = FakeCore()
    core.answers["queues.receive"] = lambda header, payload: asyncio.Event().wait()
    queues = QueuesClient(room=core)
    waiting = asyncio.create_task(queues.receive("jobs"))
    await core.settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await core.settle()
    assert core.received("queues.cancel_receive") == [({"name": "jobs", "receive_id": 1}, b"")]


async def test_a_receive_whose_connection_is_gone_has_nothing_to_cancel() -> None:
    core = FakeCore()
    core.answers["queues.receive"] = lambda header, payload: asyncio.Event().wait()
    waiting = asyncio.create_task(QueuesClient(room=core).receive("jobs"))
    await core.settle()
    core.lose_connection()
    waiting.cancel()
    await asyncio.wait([waiting])
    await core.settle()
    assert core.received("queues.cancel_receive") == []


async def test_a_leased_message_is_acknowledged_released_and_extended() -> None:
    core = FakeCore()
    answer = JsonBody(json={"message": {"a": 1}, "lease": "7.ab", "attempts": 2})
    core.answers["queues.receive"] = lambda header, payload: answer
    leased = await QueuesClient(room=core).receive("jobs", lease=30, max_attempts=5)
    assert leased is not None
    assert (leased.queue, leased.message, leased.attempts, leased.lease) == ("jobs", {"a": 1}, 2, "7.ab")
    await leased.extend(60)
    await leased.release(delay=5)
    await leased.ack()
    [(request, _)] = core.received("queues.receive")
    assert (request["lease"], request["max_attempts"]) == (30, 5)
    assert core.requests[1:] == [
        ("queues.extend", {"name": "jobs", "lease": "7.ab", "seconds": 60}, b""),
        ("queues.release", {"name": "jobs", "lease": "7.ab", "delay": 5}, b""),
        ("queues.ack", {"name": "jobs", "lease": "7.ab"}, b""),
    ]


async def test_an_empty_queue_has_no_lease() -> None:
    core = FakeCore()
    core.answers["queues.receive"] = lambda header, payload: EmptyBody()
    assert await QueuesClient(room=core).receive("jobs", wait=False, lease=30) is None


async def test_a_text_is_no_leased_message() -> None:
    core = FakeCore()
    core.answers["queues.receive"] = lambda header, payload: TextBody(text="work")
    with pytest.raises(RoomException, match="text"):
        await QueuesClient(room=core).receive("jobs", lease=30)
