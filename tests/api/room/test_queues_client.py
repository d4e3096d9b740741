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
    assert core.received("queues.receive") == [({"name": "jobs", "create": True, "wait": False, "receive_id": 1}, b"")]


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
        ("queues.send", {"name": "jobs", "message": {"a": [1, None]}, "create": False}, b""),
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
