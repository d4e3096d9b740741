"""Rooms are told what became of the events that they sent to webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.stores.outbox import Attempt, Delivery
from meshagent.server.webhooks.deliveries import RoomDeliveryNotes, without_secrets

NOW = datetime.now(UTC)
DELIVERY = Delivery(
    id="e",
    project_id="p",
    webhook_id="w",
    room_name="lobby",
    event="room.started",
    data="{}",
    created_at=NOW,
    due_at=NOW,
    expires_at=NOW,
    updated_at=NOW,
)
ATTEMPT = Attempt(
    id="e", outcome="retrying", attempts=1, status=503, error="answered with status 503", due_at=NOW, at=NOW
)


def test_a_room_learns_each_outcome_without_secrets() -> None:
    entries: list[tuple[RoomKey, str, Mapping[str, Any]]] = []
    notes = RoomDeliveryNotes(lambda *entry: entries.append(entry))
    url = "https://user:secret@example.com:8443/hook?key=secret"
    notes.attempted(DELIVERY, ATTEMPT, url)
    notes.attempted(DELIVERY, replace(ATTEMPT, outcome="delivered", attempts=2, status=None, error=None), url)
    notes.attempted(replace(DELIVERY, room_name=""), ATTEMPT, url)
    notes.ended(DELIVERY, "dropped", "too many events were waiting")
    assert [entry[:2] for entry in entries] == [
        (RoomKey("p", "lobby"), "webhook.retrying"),
        (RoomKey("p", "lobby"), "webhook.delivered"),
        (RoomKey("p", "lobby"), "webhook.dropped"),
    ]
    assert entries[0][2] == {
        "event": "room.started",
        "event_id": "e",
        "webhook_id": "w",
        "url": "https://example.com:8443/hook",
        "attempts": 1,
        "status": 503,
        "error": "answered with status 503",
    }
    assert entries[2][2]["error"] == "too many events were waiting"


def test_a_stored_url_that_cannot_be_is_not_repeated() -> None:
    entries: list[tuple[RoomKey, str, Mapping[str, Any]]] = []
    RoomDeliveryNotes(lambda *entry: entries.append(entry)).attempted(DELIVERY, ATTEMPT, "http://secret@[::1/")
    assert entries[0][2]["url"] == "(not a URL)"
    assert without_secrets("could not post to http://secret@[::1/", "http://secret@[::1/").endswith("to (not a URL)")
