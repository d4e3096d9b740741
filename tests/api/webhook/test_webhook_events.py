"""Reading the events that webhooks carry."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.errors import InvalidRequestError
from meshagent.api.webhook.events import CallEvent, RoomEndedEvent, RoomStartedEvent, WebhookEvent, read_event

CALL = {"room_name": "r", "room_url": "ws://x", "token": "t", "arguments": {"a": 1}}


@pytest.mark.parametrize(
    ("name", "data", "event"),
    [
        ("room.started", {"room_name": "r", "room_url": "ws://x"}, RoomStartedEvent(room_name="r", room_url="ws://x")),
        ("room.started", {"room_name": "r"}, RoomStartedEvent(room_name="r", room_url="")),
        ("room.ended", {"room_name": "r", "more": 1}, RoomEndedEvent(room_name="r")),
        ("room.call", CALL, CallEvent(room_name="r", room_url="ws://x", token="t", arguments={"a": 1})),
        ("room.unheard_of", {}, None),
    ],
)
def test_events_are_read_by_their_name(name: str, data: dict[str, Any], event: WebhookEvent | None) -> None:
    assert read_event(name, data) == event


@pytest.mark.parametrize("member", ["room_name", "room_url", "token"])
@pytest.mark.parametrize("value", [None, 3])
def test_what_is_missing_is_named(member: str, value: object) -> None:
    with pytest.raises(InvalidRequestError, match=member):
        read_event("room.call", {**CALL, member: value})
