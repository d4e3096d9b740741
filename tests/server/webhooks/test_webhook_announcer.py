"""Events are stored before what they tell is done, so that kill -9 at any moment loses none (protocol 15.4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from meshagent.api.contracts.storage import FILE_DELETED, FILE_UPDATED, FileEvent
from meshagent.api.errors import UnavailableError
from meshagent.server.stores.outbox import now
from meshagent.server.webhooks.room_events import RoomEvents
from tests.support.fake_room import FakeRoom
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.support.webhooks import RUN, Hook, Hooks, delivering, until


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


def told(receiver: WebhookReceiver) -> list[str]:
    return [event["event"] for event in receiver.events]


async def test_webhooks_get_what_they_subscribed_to(receiver: WebhookReceiver, tmp_path: Path) -> None:
    ended = Hook(receiver.url("/ended"), id="w1", events=("room.ended",))
    files = Hook(receiver.url("/files"), id="w2", events=(FILE_UPDATED.name, FILE_DELETED.name))
    room = FakeRoom()
    async with delivering(tmp_path, ended, files) as webhooks:
        events = RoomEvents(webhooks.deliverer.announcer)
        (await events.starting(room)).happened()
        for event in (FILE_UPDATED, FILE_DELETED):
            assert await events.are_file_events_expected(room, event)
            change = FileEvent(path="a.txt", participant_id="p1")
            (await events.files_changing(room, event, [change])).happened()
        events.ended(room)
        other = FakeRoom(project_id="another")
        (await events.starting(other)).happened()
        events.ended(other)
        await receiver.until_posts(3)
    by_path = sorted((post.path, post.json["event"], post.json["data"]) for post in receiver.posts)
    assert [entry[:2] for entry in by_path] == [
        ("/ended", "room.ended"),
        ("/files", FILE_DELETED.name),
        ("/files", FILE_UPDATED.name),
    ]
    assert by_path[0][2] == {"room_name": "room", "session_id": "session"}
    assert by_path[2][2] == {"room_name": "room", "path": "a.txt", "participant_id": "p1"}


async def test_a_room_without_webhooks_writes_nothing(tmp_path: Path) -> None:
    room = FakeRoom()
    deaf = Hook("http://127.0.0.1:9", events=())
    disabled = replace(deaf, id="w2", events=("*",), disabled_at=now())
    for hooks in ([], [disabled]):
        async with delivering(tmp_path, *hooks) as webhooks:
            before = await webhooks.log.submit(lambda connection: connection.total_changes)
            events = RoomEvents(webhooks.deliverer.announcer)
            start = await events.starting(room)
            start.happened()
            change = FileEvent(path="a.txt", participant_id=None)
            (await events.files_changing(room, FILE_UPDATED, [change])).happened()
            assert not await events.are_file_events_expected(room, FILE_UPDATED)
            events.ended(room)
            await webhooks.deliverer.announcer.close()
            assert await webhooks.log.submit(lambda connection: connection.total_changes) == before


async def test_what_was_about_to_happen_when_the_server_was_killed_is_told(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    hook = Hook(receiver.url())
    async with delivering(tmp_path, hook) as webhooks:
        announcer = webhooks.deliverer.announcer
        await announcer.run_starting(RUN, {"room_name": "room", "session_id": "session"})
        await announcer.expect(RUN, FILE_UPDATED.name, [{"path": "a"}, {"path": "b"}])
        assert await webhooks.outcomes() == [], "nothing is delivered or listed before it happens"
        assert await webhooks.rows() == 4
    assert receiver.posts == []
    async with delivering(tmp_path, hook) as webhooks:  # nothing has been told of the end: as after kill -9
        await webhooks.until_outcomes(
            [
                ("room.started", "delivered", 1),
                (FILE_UPDATED.name, "delivered", 1),
                (FILE_UPDATED.name, "delivered", 1),
                ("room.ended", "delivered", 1),
            ]
        )
    assert told(receiver) == ["room.started", FILE_UPDATED.name, FILE_UPDATED.name, "room.ended"]
    assert receiver.events[-1]["data"] == {"room_name": "room", "session_id": "session"}


async def test_what_did_not_happen_is_not_told(receiver: WebhookReceiver, tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        announcer = webhooks.deliverer.announcer
        expected = await announcer.expect(RUN, FILE_DELETED.name, [{"path": path} for path in "abc"])
        expected.happened(1)
        expected.close()
        expected.close()
        expected.happened(2)
        await webhooks.until_outcomes([(FILE_DELETED.name, "delivered", 1)])
        assert await webhooks.rows() == 1
    assert receiver.events[0]["data"] == {"path": "b"}


async def test_a_run_to_which_nobody_came_is_not_told(receiver: WebhookReceiver, tmp_path: Path) -> None:
    room = FakeRoom()
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        events = RoomEvents(webhooks.deliverer.announcer)
        start = await events.starting(room)
        start.close()
        events.came_to_nothing(room)

        async def is_empty() -> bool:
            return await webhooks.rows() == 0

        await until(is_empty)
    assert receiver.posts == []


async def test_events_are_delivered_in_the_order_in_which_they_happened(
    receiver: WebhookReceiver, tmp_path: Path
) -> None:
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        announcer = webhooks.deliverer.announcer
        receiver.held.clear()
        await webhooks.tell("room.started")
        await receiver.until_posts(1)
        changes = [await announcer.expect(RUN, FILE_UPDATED.name, [{"path": path}]) for path in "abc"]
        for change in reversed(changes):
            change.happened()
        receiver.held.set()
        await receiver.until_posts(4)
    assert [event["data"].get("path") for event in receiver.events] == [None, "c", "b", "a"]


@pytest.mark.parametrize("made_by", ["a change of the webhooks", "the next event"])
async def test_a_webhook_that_is_made_during_a_run_hears_of_its_end_after_a_kill(
    receiver: WebhookReceiver, tmp_path: Path, made_by: str
) -> None:
    source = Hooks([])
    async with delivering(tmp_path, source=source) as webhooks:
        announcer = webhooks.deliverer.announcer
        await announcer.run_starting(RUN, {})
        assert await webhooks.rows() == 0
        source.hooks = [Hook(receiver.url())]
        if made_by == "a change of the webhooks":
            await announcer.webhooks_changed("project")
        else:
            (await announcer.expect(RUN, FILE_UPDATED.name, [{}])).happened()
    receiver.posts.clear()
    async with delivering(tmp_path, source=source):
        await receiver.until_posts(1)
    assert told(receiver) == ["room.ended"]


async def test_the_end_of_a_run_waits_for_the_accounts_database(receiver: WebhookReceiver, tmp_path: Path) -> None:
    source = Hooks([Hook(receiver.url(), events=("room.ended",))])
    async with delivering(tmp_path, source=source) as webhooks:
        await webhooks.deliverer.announcer.run_starting(RUN, {})
        source.failure = UnavailableError("no database")
        webhooks.deliverer.announcer.run_ended(RUN)
    assert receiver.posts == []
    source.failure = None
    async with delivering(tmp_path, source=source):
        await receiver.until_posts(1)
    assert told(receiver) == ["room.ended"]


async def test_a_change_that_cannot_be_told_is_not_made(receiver: WebhookReceiver, tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        await webhooks.log.close()
        with pytest.raises(UnavailableError):
            await webhooks.deliverer.announcer.expect(RUN, FILE_UPDATED.name, [{}])
        with pytest.raises(UnavailableError):
            await webhooks.deliverer.announcer.run_starting(RUN, {})


async def test_a_cancelled_change_leaves_nothing_held(receiver: WebhookReceiver, tmp_path: Path) -> None:
    async with delivering(tmp_path, Hook(receiver.url())) as webhooks:
        changing = asyncio.ensure_future(webhooks.deliverer.announcer.expect(RUN, FILE_UPDATED.name, [{}]))
        await asyncio.sleep(0)
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
        assert await webhooks.rows() == 0
