"""Rooms are told what became of the webhooks that heard of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.webhooks.deliveries import Delivery, MemoryDeliveryLog, RoomLoggedDeliveries

NOW = datetime.now(UTC)
WAITING = Delivery(
    id="e",
    project_id="p",
    webhook_id="w",
    url="https://user:secret@example.com:8443/hook?key=secret",
    event="room.started",
    room_name="lobby",
    outcome="waiting",
    attempts=0,
    status=None,
    error=None,
    created_at=NOW,
    updated_at=NOW,
)


def test_a_room_learns_each_outcome_without_secrets() -> None:
    entries: list[tuple[RoomKey, str, Mapping[str, Any]]] = []
    kept = MemoryDeliveryLog()
    log = RoomLoggedDeliveries(kept, lambda *entry: entries.append(entry))
    log.save(WAITING)
    log.save(replace(WAITING, outcome="retrying", attempts=1, status=503, error="answered with status 503"))
    log.save(replace(WAITING, outcome="delivered", attempts=2))
    log.save(replace(WAITING, id="other", room_name="", outcome="failed", attempts=1))
    assert [entry[:2] for entry in entries] == [
        (RoomKey("p", "lobby"), "webhook.retrying"),
        (RoomKey("p", "lobby"), "webhook.delivered"),
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
    assert [delivery.outcome for delivery in kept.of_project("p")] == ["failed", "delivered"]
