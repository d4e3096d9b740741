"""Following events of a room, time limits, and the invitations of a service."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api.accounts.services import Service
from meshagent.cli.output import CommandError, ExitCode, UsageError
from meshagent.cli.room_events import EventQueue, at_most, follow
from meshagent.cli.service_invitations import Invitation, invitations


class Room:
    """Stands for a room client: closes when it is told to."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def wait_for_close(self) -> None:
        await self.closed.wait()


async def test_items_arrive_in_order_until_the_count_is_reached() -> None:
    room: Any = Room()
    events: EventQueue[int] = EventQueue()
    for number in range(4):
        events.put(number)
    assert [number async for number in follow(room, events, 3)] == [0, 1, 2]
    assert await events.get() == 3


async def test_a_closed_room_ends_with_an_error() -> None:
    room: Any = Room()
    events: EventQueue[int] = EventQueue()
    events.put(1)
    items = follow(room, events)
    assert await anext(items) == 1
    room.closed.set()
    with pytest.raises(CommandError, match="connection to the room closed") as caught:
        await anext(items)
    assert caught.value.code is ExitCode.NO_CONNECTION


async def test_a_full_queue_drops_new_items_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    events: EventQueue[int] = EventQueue()
    for number in range(10_001):
        events.put(number)
    assert capsys.readouterr().err == "output is too slow: dropped an entry\n"
    assert await events.get() == 0


async def test_a_time_limit_is_an_error_with_its_exit_code() -> None:
    with pytest.raises(CommandError, match="too late") as caught:
        async with at_most(0, "too late"):
            await asyncio.Event().wait()
    assert caught.value.code is ExitCode.TIMEOUT
    async with at_most(None, "never"):
        pass


def service(**fields: Any) -> Service:
    return Service.model_validate({"name": "clock", **fields})


def test_a_service_without_ports_is_invited_at_its_url() -> None:
    assert invitations(service(url="http://localhost:1/")) == [Invitation("http://localhost:1", "clock", "agent")]


def test_callable_ports_and_endpoints_are_invited() -> None:
    ports = {
        "1": {"type": "meshagent.callable", "path": "/a", "participant_name": "ann"},
        "2": {"type": "http", "path": "/b"},
        "3": {
            "endpoints": [
                {"type": "meshagent.callable", "path": "c", "role": "tool"},
                {"type": "mcp.sse", "path": "/d"},
            ]
        },
    }
    assert invitations(service(url="http://localhost:1", role="user", ports=ports)) == [
        Invitation("http://localhost:1/a", "ann", "user"),
        Invitation("http://localhost:1/c", "clock", "tool"),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": "clock:1"}, "has no `url`"),
        ({"url": "http://localhost:1", "ports": {"1": {"type": "http"}}}, "no endpoint of type meshagent.callable"),
    ],
)
def test_services_that_cannot_be_invited_are_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        invitations(service(**fields))
