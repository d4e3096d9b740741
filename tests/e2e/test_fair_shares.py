"""A client that keeps the server busy takes turns with the others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import perf_counter

import pytest

from meshagent.server.rooms.attributes import ParticipantAttributes
from tests.support.server import serve
from tests.support.wire_client import join

WORK = 0.002
MESSAGES = 200


@pytest.fixture
def laborious_attributes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Setting attributes takes `WORK` seconds; the list says who set some."""
    done: list[str] = []

    def work(_service: object, participant: object, _message: object) -> None:
        end = perf_counter() + WORK
        while perf_counter() < end:
            pass
        done.append(str(getattr(participant, "name", "")))

    monkeypatch.setattr(ParticipantAttributes, "set", work)
    return done


@pytest.mark.parametrize("room", ["another room", "room"])
async def test_a_request_is_answered_while_messages_of_another_client_that_were_read_before_wait(
    room: str, tmp_path: Path, laborious_attributes: list[str]
) -> None:
    async with serve(tmp_path) as server, join(server) as busy, join(server, "quiet", room=room) as quiet:
        for number in range(MESSAGES):  # 20 KiB, which one read of the server's takes whole
            await busy.send("set_attributes", {"n": number})
        await quiet.ok("agent.list_agents")
        assert len(laborious_attributes) < MESSAGES
        await busy.settle()
        assert len(laborious_attributes) == MESSAGES


async def test_two_busy_clients_are_served_in_turn(tmp_path: Path, laborious_attributes: list[str]) -> None:
    async with serve(tmp_path) as server, join(server) as busy, join(server, "bob", room="two") as other:
        for number in range(MESSAGES):
            await busy.send("set_attributes", {"n": number})
        for number in range(MESSAGES // 10):
            await other.send("set_attributes", {"n": number})
        await asyncio.gather(busy.settle(), other.settle())
        last = len(laborious_attributes) - laborious_attributes[::-1].index("bob")
        assert last < MESSAGES
