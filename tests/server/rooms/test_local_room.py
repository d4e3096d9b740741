"""A room of this process behind its handle: who gets a seat, who is there, who is put out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshagent.api.errors import LimitExceededError
from meshagent.api.tokens.token import ParticipantToken
from meshagent.api.wire.close_codes import CloseCode
from meshagent.server.rooms.handle import ParticipantInfo, RoomRunsError
from tests.support.fake_room import fake_admission
from tests.support.fake_socket import FakeSocket
from tests.support.room_parts import RoomParts


async def test_whoever_has_a_seat_enters_when_the_socket_opens() -> None:
    parts = RoomParts()
    handler = await parts.local().join(fake_admission("alice"))
    assert not parts.state.participants
    FakeSocket.joined(handler)
    assert [one.name for one in parts.state.participants.values()] == ["alice"]


async def test_a_full_room_takes_nobody_until_somebody_leaves() -> None:
    parts = RoomParts(max_connections=1)
    parts.join("alice")
    with pytest.raises(LimitExceededError, match="full"):
        await parts.local().join(fake_admission("bob"))
    parts.connection("alice").lost(1000, "")
    await parts.local().join(fake_admission("bob"))


async def test_services_of_a_token_are_for_a_room_that_does_not_run_yet() -> None:
    parts = RoomParts()
    token = ParticipantToken(name="dev", extra_payload={"meshagent_dev_services": [{}]})
    admission = replace(fake_admission("dev"), token=token)
    FakeSocket.joined(await parts.local().join(admission))
    with pytest.raises(RoomRunsError):
        await parts.local().join(admission)


async def test_the_status_names_who_is_here() -> None:
    parts = RoomParts()
    parts.join("alice")
    parts.join("helper", role="agent")
    status = await parts.local().status()
    ids = list(parts.state.participants)
    assert status.session_id == "session"
    assert list(status.participants) == [
        ParticipantInfo(ids[0], "alice", "user"),
        ParticipantInfo(ids[1], "helper", "agent"),
    ]


async def test_a_participant_can_be_disconnected() -> None:
    parts = RoomParts()
    alice, bob = parts.join("alice"), parts.join("bob")
    assert await parts.local().disconnect(parts.connection("alice").participant.id, "enough")
    assert alice.closed == (CloseCode.POLICY, "enough")
    assert bob.closed is None
    assert not await parts.local().disconnect("nobody", "enough")


async def test_everybody_who_came_with_a_key_can_be_disconnected() -> None:
    parts = RoomParts()
    with_key = [parts.join(name, key_id="k1") for name in ("alice", "bob")]
    others = [parts.join("carol", key_id="k2"), parts.join("dave")]
    await parts.local().disconnect_key("k1", "revoked")
    assert [socket.closed for socket in with_key] == [(CloseCode.POLICY, "revoked")] * 2
    assert [socket.closed for socket in others] == [None, None]
