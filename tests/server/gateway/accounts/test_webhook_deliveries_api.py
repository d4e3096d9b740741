"""The delivery log of webhooks over REST: listing, sending again, enabling and disabling (protocol 15.7)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import aiohttp
import pytest

from meshagent.api.accounts_client import AccountsClient
from meshagent.api.webhook.signature import EVENT_ID_HEADER, RESEND_HEADER
from meshagent.server.stores.outbox import RoomRun
from tests.support.accounts_server import AccountsServer
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.support.webhooks import until


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


@pytest.fixture
async def webhook_id(api: AccountsServer, admin: AccountsClient, receiver: WebhookReceiver) -> str:
    made = await admin.create_project_webhook(api.project_id, "w", receiver.url(), ["*"])
    return str(made["id"])


async def tell(api: AccountsServer, event: str, **data: Any) -> None:
    run = RoomRun(session_id="s", project_id=api.project_id, room_name="lobby")
    expected = await api.webhooks.announcer.expect(run, event, [{"room_name": "lobby", **data}])
    expected.happened()


async def until_outcomes(api: AccountsServer, admin: AccountsClient, webhook_id: str, *expected: str) -> Any:
    """Wait until the deliveries have these outcomes, newest first; the deliveries."""
    found: list[Any] = []

    async def are_expected() -> bool:
        found[:] = (await admin.list_webhook_deliveries(api.project_id, webhook_id))["deliveries"]
        return [entry["outcome"] for entry in found] == list(expected)

    await until(are_expected)
    return found


async def status_of(call: Awaitable[object]) -> int:
    with pytest.raises(aiohttp.ClientResponseError) as refusal:
        await call
    return refusal.value.status


async def test_deliveries_are_listed_newest_first(
    api: AccountsServer, admin: AccountsClient, receiver: WebhookReceiver, webhook_id: str
) -> None:
    receiver.script = [404, 200]
    await tell(api, "room.started", session_id="s")
    await tell(api, "room.ended")
    second, first = await until_outcomes(api, admin, webhook_id, "delivered", "failed")
    assert (first["event"], first["room_name"], first["data"]) == (
        "room.started",
        "lobby",
        {"room_name": "lobby", "session_id": "s"},
    )
    assert (first["status"], first["attempts"], first["resends"]) == (404, 1, 0)
    assert first["error"] == f"{receiver.url()} answered with status 404"
    assert "next_attempt_at" not in first
    assert "error" not in second
    assert second["id"] == receiver.posts[1].headers[EVENT_ID_HEADER]
    project = api.project_id
    page = await admin.list_webhook_deliveries(project, webhook_id, limit=1)
    assert (page["deliveries"], page["next_offset"]) == ([second], 1)
    page = await admin.list_webhook_deliveries(project, webhook_id, limit=1, offset=1)
    assert (page["deliveries"], page.get("next_offset")) == ([first], None)
    assert (await admin.list_webhook_deliveries(project, webhook_id, outcome="failed"))["deliveries"] == [first]
    assert await admin.get_webhook_delivery(project, webhook_id, first["id"]) == first
    assert await status_of(admin.get_webhook_delivery(project, webhook_id, "none")) == 404
    assert await status_of(admin.list_webhook_deliveries(project, "none")) == 404
    assert await status_of(admin.list_webhook_deliveries(project, webhook_id, outcome="held or so")) == 400


async def test_the_log_of_another_projects_webhook_is_not_shown(
    api: AccountsServer, admin: AccountsClient, webhook_id: str
) -> None:
    await tell(api, "room.started")
    [entry] = await until_outcomes(api, admin, webhook_id, "delivered")
    other = (await admin.create_project("other"))["id"]
    for call in (
        admin.list_webhook_deliveries(other, webhook_id),
        admin.get_webhook_delivery(other, webhook_id, entry["id"]),
        admin.resend_webhook_delivery(other, webhook_id, entry["id"]),
        admin.resend_webhook_deliveries(other, webhook_id),
        admin.enable_project_webhook(other, webhook_id),
        admin.disable_project_webhook(other, webhook_id),
    ):
        assert await status_of(call) == 404


async def test_events_are_sent_again(
    api: AccountsServer, admin: AccountsClient, receiver: WebhookReceiver, webhook_id: str
) -> None:
    receiver.script = [404, 200]
    await tell(api, "room.started")
    await tell(api, "room.ended")
    delivered, failed = await until_outcomes(api, admin, webhook_id, "delivered", "failed")
    again = await admin.resend_webhook_delivery(api.project_id, webhook_id, delivered["id"])
    assert (again["id"], again["resends"]) == (delivered["id"], 1)
    await receiver.until_posts(3)
    assert await admin.resend_webhook_deliveries(api.project_id, webhook_id) == 1
    await until_outcomes(api, admin, webhook_id, "delivered", "delivered")
    sent = [(post.headers[EVENT_ID_HEADER], post.headers.get(RESEND_HEADER)) for post in receiver.posts]
    assert sent == [(failed["id"], None), (delivered["id"], None), (delivered["id"], "1"), (failed["id"], "1")]


async def test_a_disabled_webhook_is_enabled_again(
    api: AccountsServer, admin: AccountsClient, receiver: WebhookReceiver, webhook_id: str
) -> None:
    project = api.project_id
    receiver.script = [503]
    await tell(api, "room.started")
    [entry] = await until_outcomes(api, admin, webhook_id, "retrying")
    assert entry["next_attempt_at"] > entry["updated_at"]
    [listed] = (await admin.list_project_webhooks(project))["webhooks"]
    assert "failing_since" in listed
    for _ in range(2):
        disabled = await admin.disable_project_webhook(project, webhook_id)
        assert (disabled["disabled_reason"], "disabled_at" in disabled) == ("disabled by administrator", True)
    await tell(api, "room.ended")
    note, given_up = await until_outcomes(api, admin, webhook_id, "disabled", "abandoned")
    assert (note["event"], note["data"]) == ("webhook.disabled", {"reason": "disabled by administrator"})
    assert given_up["error"] == "the webhook was disabled: disabled by administrator"
    assert await status_of(admin.resend_webhook_delivery(project, webhook_id, given_up["id"])) == 409
    assert await status_of(admin.resend_webhook_deliveries(project, webhook_id)) == 409
    for _ in range(2):
        enabled = await admin.enable_project_webhook(project, webhook_id)
        assert not {"disabled_at", "disabled_reason", "failing_since"} & set(enabled)
    assert await status_of(admin.resend_webhook_delivery(project, webhook_id, note["id"])) == 409
    assert await admin.resend_webhook_deliveries(project, webhook_id) == 1
    await until_outcomes(api, admin, webhook_id, "enabled", "disabled", "delivered")
    assert len(receiver.posts) == 2


async def test_the_log_of_a_deleted_webhook_goes_with_it(
    api: AccountsServer, admin: AccountsClient, webhook_id: str
) -> None:
    await tell(api, "room.started")
    await until_outcomes(api, admin, webhook_id, "delivered")
    await admin.delete_project_webhook(api.project_id, webhook_id)
    assert await api.webhooks.page(api.project_id, webhook_id, limit=10, offset=0) == ([], None)
    assert await status_of(admin.list_webhook_deliveries(api.project_id, webhook_id)) == 404
