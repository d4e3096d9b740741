"""Webhook subscriptions of projects, at hand for each event."""

from __future__ import annotations

from collections.abc import Sequence

from meshagent.server.accounts.project_cache import ProjectCache
from meshagent.server.accounts.records import Webhook
from meshagent.server.accounts.store import AccountsStore


class WebhookCache(ProjectCache[Sequence[Webhook]]):
    """All subscriptions of each project, oldest first."""

    def __init__(self, store: AccountsStore) -> None:
        super().__init__(lambda project_id: store.webhooks.all(project_id=project_id))
