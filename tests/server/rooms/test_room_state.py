"""What services share of a room: messages to its participants, its log, background tasks."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from meshagent.api.contracts.operation import Event
from meshagent.server.kernel.participant import Participant
from tests.support.fake_room import FakeOutbox, fake_participant
from tests.support.room_parts import RoomParts


class Told(msgspec.Struct):
    text: str


EVENT = Event("test.told", Told)


def frames_of(participant: Participant) -> list[bytes]:
    assert isinstance(participant.outbox, FakeOutbox)
    return participant.outbox.frames


def test_an_event_is_encoded_once_for_all_who_get_it() -> None:
    state = RoomParts().state
    alice, bob = fake_participant("alice"), fake_participant("bob")
    state.add(alice)
    state.add(bob)
    assert state.publish(EVENT, Told("all")) == 1
    assert state.publish(EVENT, Told("bob"), to=[bob]) == 2
    assert len(frames_of(alice)) == 1
    assert len(frames_of(bob)) == 2
    assert frames_of(alice)[0] is frames_of(bob)[0]
    assert b"test.told" in frames_of(alice)[0]


def test_people_are_counted_and_others_are_not() -> None:
    state = RoomParts().state
    alice, agent = fake_participant("alice"), fake_participant("agent", role="agent")
    state.add(alice)
    state.add(agent)
    assert state.users == 1
    assert state.remove(alice)
    assert not state.remove(alice)
    assert state.users == 0
    assert list(state.participants.values()) == [agent]


def test_failures_of_the_server_are_in_the_log_without_their_texts() -> None:
    parts = RoomParts()
    alice = fake_participant("alice")
    parts.state.record_failure(alice, "storage.list", ValueError("/secret/path"))
    [(kind, data)] = parts.recorded
    assert kind == "room.error"
    assert data == {
        "request": "storage.list",
        "error": "ValueError",
        "participant_id": alice.id,
        "name": "alice",
        "role": "user",
    }


async def test_a_background_task_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("not foreseen")

    task = RoomParts().state.spawn(fail(), name="upkeep")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert "room room: upkeep failed" in caplog.text
    assert "not foreseen" in caplog.text


async def test_stopping_waits_for_the_end_of_every_task() -> None:
    state = RoomParts().state
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    for number in range(3):
        state.spawn(work(number), name="work")
    await asyncio.sleep(0)
    await state.stop_tasks()
    assert sorted(ended) == [0, 1, 2]
