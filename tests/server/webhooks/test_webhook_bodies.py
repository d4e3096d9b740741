"""What a webhook is told of an event."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.server.accounts.records import Webhook
from meshagent.server.webhooks.bodies import event_body, is_call, is_subscribed, payload_of


def _webhook(**values: Any) -> Webhook:
    return Webhook(**{"project_id": "p", "name": "w", "url": "http://x", "events": ["room.started"], **values})


@pytest.mark.parametrize(
    ("events", "subscribed"),
    [(["room.started"], True), (["*"], True), (["room.ended"], False), ([], False), (["room"], False)],
)
def test_events_are_named_in_full_or_by_a_star(events: list[str], subscribed: bool) -> None:
    assert is_subscribed(_webhook(events=events), "room.started") is subscribed


@pytest.mark.parametrize(("action", "expected"), [("call", True), ("", False), (None, False), ("Call", False)])
def test_only_the_action_call_sends_a_call(action: str | None, expected: bool) -> None:
    assert is_call(_webhook(action=action)) is expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, None),
        ("", None),
        (" \n", None),
        ('{"k": 1}', {"k": 1}),
        ("plain text", "plain text"),
        ("[" * 100_000, "[" * 100_000),
        ({"k": [1]}, {"k": [1]}),
        (0, 0),
    ],
)
def test_a_payload_is_json_or_text(payload: Any, expected: Any) -> None:
    assert payload_of(_webhook(payload=payload)) == expected


def test_what_the_event_says_wins_over_the_payload() -> None:
    body = event_body(_webhook(payload={"room_name": "forged", "k": 1}), "room.started", {"room_name": "r"})
    assert body == {"event": "room.started", "data": {"room_name": "r", "k": 1}}


def test_an_action_other_than_call_is_passed_on() -> None:
    assert event_body(_webhook(action="notify", payload="text"), "e", {}) == {
        "event": "e",
        "data": {},
        "action": "notify",
    }
