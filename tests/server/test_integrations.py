"""A room's part in webhooks and calls, from its start to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from meshagent.server.config import OutgoingSettings
from meshagent.server.integrations import BUILT_IN_TOOLKITS, Integrations, open_integrations
from meshagent.server.services.file_observers import FileObservers
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.stores.memory_files import MemoryFileStore
from meshagent.server.stores.sqlite_outbox import SqliteOutbox
from meshagent.server.webhooks.deliveries import RoomDeliveryNotes
from meshagent.server.webhooks.ports import ExternalService, Subscription
from tests.support.fake_room import FakeRoom, fake_participant
from tests.support.stores import open_commit_log
from tests.support.webhook_receiver import FakeTokens, WebhookReceiver, webhook_receiver


@dataclass(frozen=True)
class Everything:
    """A webhook for all events, and a service, at one address."""

    base: str
    id: str = "w1"
    name: str = "all"
    events: Sequence[str] = ("*",)
    action: None = None
    payload: None = None
    secret: None = None
    failing_since: None = None
    disabled_at: None = None
    service_id: str = "s1"
    liveness_url: None = None
    participant_name: str = "helper"
    role: str = "agent"

    @property
    def url(self) -> str:
        return self.base + "/posts"

    async def of_project(self, project_id: str) -> Sequence[Subscription]:
        return [self]

    async def set_failing(self, project_id: str, webhook_id: str, since: datetime | None) -> None:
        raise AssertionError("no attempt fails")

    async def disable(self, project_id: str, webhook_id: str, at: datetime, reason: str) -> None:
        raise AssertionError("no attempt fails")

    async def calls_of(self, project_id: str) -> Sequence[ExternalService]:
        return [self]


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
async def integrations(receiver: WebhookReceiver, tmp_path: Path) -> AsyncIterator[Integrations]:
    source = Everything(receiver.base)
    async with (
        open_commit_log(tmp_path) as log,
        open_integrations(
            OutgoingSettings(),
            webhooks=source,
            services=source,
            tokens=FakeTokens(),
            secret="secret",
            room_url=lambda project_id, room_name: "",
            own_urls=lambda: [receiver.base],
            outbox=SqliteOutbox(log),
            notes=RoomDeliveryNotes(lambda key, entry_type, data: None),
        ) as integrations,
    ):
        yield integrations


async def test_webhooks_and_services_hear_of_a_room(integrations: Integrations, receiver: WebhookReceiver) -> None:
    room = FakeRoom()
    observers = FileObservers()
    files = RoomFiles(room, MemoryFileStore(), max_file_bytes=1000, observers=observers)
    part = integrations.for_room(room, files, lambda path: f"http://host/{path}")
    await part.starting()
    part.started()
    await room.settle()
    observers.listen(part)
    await files.write_file("a.txt", b"", participant_id="p1")
    await files.move("a.txt", "b.txt")
    await files.delete("b.txt")
    part.ended()
    await receiver.until_posts(5)
    told = [event["event"] for event in receiver.events]
    assert told.count("room.call") == 1
    assert [event for event in told if event != "room.call"] == [
        "room.started",
        "storage.file.updated",
        "storage.file.deleted",
        "room.ended",
    ]
    written = next(event for event in receiver.events if event["event"] == "storage.file.updated")
    assert written["data"] == {"room_name": "room", "path": "a.txt", "participant_id": "p1"}


async def test_what_is_built_in_is_there(integrations: Integrations, receiver: WebhookReceiver) -> None:
    room = FakeRoom()
    files = RoomFiles(room, MemoryFileStore(), max_file_bytes=10_000)
    part = integrations.for_room(room, files, lambda path: f"http://host/{path}")
    assert list(part.toolkits) == ["storage"]
    alice = fake_participant()
    for name in BUILT_IN_TOOLKITS:
        await part.call_router.call(alice, "x", f"{receiver.base}/toolkits/{name}", {})
    await part.call_router.call(alice, "x", f"{receiver.base}/schemas/thread", {})
    assert await files.exists(".schemas/thread.json")
    await asyncio.sleep(0)
    assert receiver.posts == []
