"""Since when webhooks fail and whether they are disabled, on each kind of database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from meshagent.api.errors import NotFoundError, UnavailableError
from meshagent.server.accounts.records import Project, Webhook, now
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.accounts.webhooks import WebhookCache


@pytest.fixture
async def webhook(store: AccountsStore) -> Webhook:
    await store.projects.add(Project(id="p", name="p"))
    webhook = Webhook(project_id="p", name="w", url="http://x", events=["*"], secret="hidden")
    await store.webhooks.add(webhook)
    return webhook


async def test_the_state_of_a_webhook_is_seen_at_once_and_kept(store: AccountsStore, webhook: Webhook) -> None:
    cache = WebhookCache(store)
    assert list(await cache.of_project("p")) == [webhook]
    since, at = now(), now()
    await cache.set_failing("p", webhook.id, since)
    await cache.disable("p", webhook.id, at, "every attempt failed")
    for found in (await cache.of_project("p"), await WebhookCache(store).of_project("p")):
        [state] = found
        assert (state.failing_since, state.disabled_at, state.disabled_reason) == (since, at, "every attempt failed")
        assert (state.url, state.secret) == (webhook.url, "hidden")
    await cache.enable("p", webhook.id)
    assert list(await cache.of_project("p")) == [webhook]


async def test_states_of_what_is_not_there_are_refused(store: AccountsStore, webhook: Webhook) -> None:
    cache = WebhookCache(store)
    for project_id, webhook_id in (("p", "none"), ("another", webhook.id)):
        with pytest.raises(NotFoundError):
            await cache.set_failing(project_id, webhook_id, now())
        with pytest.raises(NotFoundError):
            await cache.disable(project_id, webhook_id, now(), "")
        with pytest.raises(NotFoundError):
            await cache.enable(project_id, webhook_id)
    assert await store.webhooks.all() == [webhook]


async def test_the_last_known_webhooks_serve_while_the_database_is_unavailable(
    store: AccountsStore, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = WebhookCache(store)
    await cache.of_project("p")

    async def fail(**_: Any) -> Sequence[Webhook]:
        raise UnavailableError("no database")

    monkeypatch.setattr(store.webhooks, "all", fail)
    cache.invalidate()
    assert list(await cache.of_project("p")) == [webhook]
    with pytest.raises(UnavailableError):
        await cache.of_project("never asked for")
