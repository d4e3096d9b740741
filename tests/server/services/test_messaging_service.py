"""The messaging service without a wire: presence, messages, grants."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from meshagent.api.contracts import messaging as api
from meshagent.api.contracts.operation import EMPTY, Empty, Event, Operation
from meshagent.api.errors import InvalidRequestError, NotFoundError, PermissionDeniedError, UnavailableError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.context import DataT, PendingDelivery
from meshagent.server.kernel.operations import AnswerWithFollowUp
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.messaging import MessagingService
from tests.support.fake_room import FakeRoom, PublishedEvent, fake_participant, start_operation

HELLO = msgspec.Raw(b'{"text": "hello"}')


@dataclass
class Scene:
    """A room with a messaging service and three people, of whom nobody has enabled messaging."""

    room: FakeRoom = field(default_factory=FakeRoom)

    def __post_init__(self) -> None:
        self.service = MessagingService(self.room)
        self.alice, self.bob, self.carol = (
            self.room.join(fake_participant(name)) for name in ("alice", "bob", "carol")
        )

    def enable(self, *participants: Participant) -> None:
        for participant in participants:
            self.service.enable(participant, EMPTY).follow_up()
        self.room.take_events()


def told(events: list[PublishedEvent]) -> list[tuple[str, tuple[str, ...]]]:
    """The type of each message, and who got it."""
    return [(event.header["type"], event.to) for event in events]


def test_enabling_lists_the_others_before_they_hear_of_it() -> None:
    scene = Scene()
    scene.enable(scene.bob)
    answer = scene.service.enable(scene.alice, EMPTY)
    assert isinstance(answer, AnswerWithFollowUp)
    (listed,) = scene.room.take_events()
    assert (listed.message_type, listed.to) == ("messaging.send", ("alice-id",))
    assert listed.header["message"] == {
        "participants": [{"id": "bob-id", "role": "user", "attributes": {"name": "bob"}}]
    }
    answer.follow_up()  # the dispatcher calls this when the answer is out
    (announced,) = scene.room.take_events()
    assert told([announced]) == [(api.PARTICIPANT_ENABLED, ("bob-id",))]
    assert announced.header["message"]["id"] == "alice-id"


def test_enabling_again_announces_nothing() -> None:
    scene = Scene()
    scene.enable(scene.alice, scene.bob)
    scene.service.enable(scene.alice, EMPTY).follow_up()
    assert told(scene.room.take_events()) == [(api.MESSAGING_ENABLED, ("alice-id",))]


@pytest.mark.parametrize("leaves", [True, False])
def test_leaving_and_disabling_are_announced_once(leaves: bool) -> None:
    scene = Scene()
    scene.enable(scene.alice, scene.bob)
    if leaves:
        scene.room.leave(scene.alice, scene.service)
    else:
        scene.service.disable(scene.alice, EMPTY)
        scene.service.disable(scene.alice, EMPTY)
    (event,) = scene.room.take_events()
    assert told([event]) == [(api.PARTICIPANT_DISABLED, ("bob-id",))]
    assert event.header["message"] == {"id": "alice-id"}
    scene.service.left(scene.carol)  # was never announced
    assert scene.room.take_events() == []


def test_a_message_reaches_its_receiver_with_its_attachment() -> None:
    scene = Scene()
    request = api.SendRequest(to_participant_id="bob-id", type="chat", message=HELLO)
    scene.service.send(scene.alice, request, b"attached")
    header = {"from_participant_id": "alice-id", "type": "chat", "message": {"text": "hello"}}
    assert scene.room.take_events() == [PublishedEvent("messaging.send", header, b"attached", ("bob-id",))]


def test_a_message_to_nobody_is_an_error() -> None:
    scene = Scene()
    with pytest.raises(NotFoundError, match=r"^the participant was not found$"):  # clients compare the text
        scene.service.send(scene.alice, api.SendRequest(to_participant_id="nobody", type="chat"), b"")


def test_a_broadcast_is_one_event_for_all_who_enabled_messaging() -> None:
    scene = Scene()
    scene.enable(scene.alice, scene.bob, scene.carol)
    scene.service.disable(scene.carol, EMPTY)
    scene.room.take_events()
    scene.service.broadcast(scene.alice, api.BroadcastRequest(type="chat", message=HELLO), b"")
    assert told(scene.room.take_events()) == [("chat", ("bob-id",))]


@pytest.mark.parametrize("message_type", sorted(api.SERVER_OWNED_TYPES))
def test_presence_cannot_be_forged(message_type: str) -> None:
    scene = Scene()
    scene.enable(scene.alice, scene.bob)
    with pytest.raises(InvalidRequestError):
        scene.service.broadcast(scene.alice, api.BroadcastRequest(type=message_type), b"")
    with pytest.raises(InvalidRequestError):
        scene.service.send(scene.alice, api.SendRequest(to_participant_id="bob-id", type=message_type), b"")
    assert scene.room.take_events() == []


async def test_operations_need_their_grants() -> None:
    scene = Scene()
    nobody = scene.room.join(fake_participant("nobody", scope=ApiScope()))
    requests: list[tuple[Operation[Any, Any], msgspec.Struct]] = [
        (api.ENABLE, EMPTY),
        (api.SEND, api.SendRequest(to_participant_id="bob-id", type="chat")),
        (api.BROADCAST, api.BroadcastRequest(type="chat")),
    ]
    for operation, request in requests:
        with pytest.raises(PermissionDeniedError):
            await start_operation(scene.service.operations(), operation, nobody, request)
    assert await start_operation(scene.service.operations(), api.DISABLE, nobody, EMPTY) is EMPTY


class CrowdedRoom(FakeRoom):
    """A room of slow readers, who all leave before they get the message."""

    def offer(
        self, event: Event[DataT], data: DataT, payload: bytes, *, to: Sequence[Participant]
    ) -> Sequence[PendingDelivery]:
        gone: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        gone.set_result(False)
        return [(participant, gone) for participant in to]


async def test_an_error_names_ten_of_the_receivers_that_were_missed() -> None:
    scene = Scene(CrowdedRoom())
    scene.enable(*(scene.room.join(fake_participant(f"slow{number}")) for number in range(12)))
    sent = scene.service.broadcast(scene.alice, api.BroadcastRequest(type="chat", message=HELLO), b"")
    assert not isinstance(sent, Empty)
    with pytest.raises(UnavailableError) as missed:
        await sent
    text = str(missed.value)
    assert [f"'slow{number}' (slow{number}-id)" in text for number in range(12)] == [True] * 10 + [False] * 2
    assert "and 2 more" in text
