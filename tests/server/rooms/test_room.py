"""One run of a room: coming, going, and its end. Services and sockets are fakes."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.wire.close_codes import CloseCode
from tests.support.room_parts import RoomParts


async def test_the_first_participant_starts_the_run() -> None:
    parts = RoomParts()
    parts.join("alice")
    parts.join("helper", role="agent")
    assert parts.journal == ["started", "1 users", "1 users"]
    assert [(kind, data["name"]) for kind, data in parts.recorded] == [
        ("room.participant_joined", "alice"),
        ("room.participant_joined", "helper"),
    ]
    assert [one.name for one in parts.state.participants.values()] == ["alice", "helper"]


async def test_a_participant_is_welcomed_before_anything_else() -> None:
    parts = RoomParts()
    socket = parts.join()
    connection = parts.connection("alice")
    connection.deliver(b"")  # whatever is sent first brings the welcome forward
    (first, hello), (second, _), (third, ready) = socket.headers()
    assert [first, second, third] == ["connected", "room.status", "room_ready"]
    assert hello == {
        "type": "init",
        "participantId": connection.participant.id,
        "attributes": {"name": "alice"},
    }
    assert ready == {"room_name": "room", "room_url": "ws://host/rooms/room", "session_id": "session"}
    assert [message.id for message in socket.messages()] == [1, 2, 3]
    assert parts.state.take_message_ids(1) == 4


async def test_services_clean_up_after_somebody_in_their_order() -> None:
    parts = RoomParts()
    parts.join("alice")
    connection = parts.connection("alice")
    parts.journal.clear()
    connection.lost(1001, "gone home")
    assert parts.journal == ["first left alice", "second left alice", "0 users"]
    kind, data = parts.recorded[-1]
    assert kind == "room.participant_left"
    assert (data["name"], data["code"], data["reason"]) == ("alice", 1001, "gone home")
    assert not parts.state.participants
    assert not parts.room.connections


async def test_who_is_gone_is_not_in_the_room_while_services_clean_up() -> None:
    parts = RoomParts()
    parts.join("alice")
    connection = parts.connection("alice")
    present: list[int] = []
    parts.services[0].left = lambda participant: present.append(len(parts.state.participants))  # type: ignore[method-assign]  # looks at the room meanwhile
    connection.lost(1000, "")
    assert present == [0]


async def test_a_service_that_fails_to_clean_up_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    parts = RoomParts()
    parts.join("alice")
    parts.services[0].error = ValueError("not foreseen")
    connection = parts.connection("alice")
    parts.journal.clear()
    connection.lost(1000, "")
    assert parts.journal == ["first left alice", "second left alice", "0 users"]
    assert "not foreseen" in caplog.text


async def test_somebody_leaves_once() -> None:
    parts = RoomParts()
    parts.join("alice")
    connection = parts.connection("alice")
    parts.room.departed(connection, 1000, "")
    parts.journal.clear()
    parts.room.departed(connection, 1000, "")
    assert parts.journal == []


async def test_the_end_disconnects_everybody_and_then_closes_the_services() -> None:
    parts = RoomParts()
    sockets = [parts.join("alice"), parts.join("bob")]
    parts.journal.clear()
    await parts.room.close(CloseCode.POLICY, "deleted")
    assert [socket.closed for socket in sockets] == [(CloseCode.POLICY, "deleted")] * 2
    assert parts.journal == [
        "first left alice",
        "second left alice",
        "1 users",
        "first left bob",
        "second left bob",
        "0 users",
        "ended",
        "first closed",
        "second closed",
    ]
    await asyncio.sleep(0)  # the sockets report their end, which is no news
    assert parts.journal[-1] == "second closed"


async def test_a_run_that_nobody_came_to_has_neither_started_nor_ended() -> None:
    parts = RoomParts()
    await parts.room.close(CloseCode.NORMAL, "nobody came")
    assert parts.journal == ["came to nothing", "first closed", "second closed"]


async def test_clients_that_are_to_come_back_are_dropped_without_a_close_frame() -> None:
    parts = RoomParts()
    socket = parts.join()
    await parts.room.close(CloseCode.GOING_AWAY, "the server is shutting down", drop=True)
    assert socket.dropped
    assert socket.closed is None


async def test_what_was_answered_leaves_before_sockets_are_dropped() -> None:
    parts = RoomParts()
    socket = parts.join()
    socket.emptied.clear()
    closing = asyncio.create_task(parts.room.close(CloseCode.GOING_AWAY, "", drop=True))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not socket.dropped
    socket.emptied.set()
    await closing
    assert socket.dropped


async def test_a_service_that_fails_to_close_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    parts = RoomParts()
    parts.services[0].error = ValueError("not foreseen")
    await parts.room.close(CloseCode.NORMAL, "")
    assert parts.journal == ["came to nothing", "first closed", "second closed"]
    assert "not foreseen" in caplog.text


async def test_the_end_stops_background_tasks_before_services_close() -> None:
    parts = RoomParts()
    parts.join()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            parts.journal.append("task stopped")

    parts.state.spawn(work(), name="work")
    await asyncio.sleep(0)
    await parts.room.close(CloseCode.NORMAL, "")
    assert parts.journal[-3:] == ["task stopped", "first closed", "second closed"]
