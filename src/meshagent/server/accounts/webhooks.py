"""Webhook subscriptions of projects, at hand for each event, and what is known of how they do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from meshagent.api.errors import UnavailableError
from meshagent.server.accounts.project_cache import ProjectCache
from meshagent.server.accounts.records import Webhook
from meshagent.server.accounts.store import AccountsStore


class WebhookCache(ProjectCache[Sequence[Webhook]]):
    """All subscriptions of each project, oldest first."""

    def __init__(self, store: AccountsStore) -> None:
        super().__init__(lambda project_id: store.webhooks.all(project_id=project_id))
        self._store = store
        self._last_known: dict[str, Sequence[Webhook]] = {}

    async def of_project(self, project_id: str) -> Sequence[Webhook]:
        """The project's subscriptions; the last known ones while the database is unavailable.

        Raises:
            UnavailableError: The database is unavailable, and nothing is known.
        """
        try:
            found = await super().of_project(project_id)
        except UnavailableError:
            if project_id not in self._last_known:
                raise
            return self._last_known[project_id]
        self._last_known[project_id] = found
        return found

    async def set_failing(self, project_id: str, webhook_id: str, since: datetime | None) -> None:
        """Note since when every attempt to deliver fails; None is that the last one succeeded.

        Raises:
            NotFoundError: There is no such webhook.
        """
        await self._store.webhooks.update({"failing_since": since}, project_id=project_id, id=webhook_id)
        self.invalidate(project_id)

    async def disable(self, project_id: str, webhook_id: str, at: datetime, reason: str) -> None:
        """End the deliveries to a webhook; errors as `set_failing`."""
        values = {"disabled_at": at, "disabled_reason": reason}
        await self._store.webhooks.update(values, project_id=project_id, id=webhook_id)
        self.invalidate(project_id)

    async def enable(self, project_id: str, webhook_id: str) -> None:
        """Begin to deliver to a webhook again; errors as `set_failing`."""
        values = {"disabled_at": None, "disabled_reason": None, "failing_since": None}
        await self._store.webhooks.update(values, project_id=project_id, id=webhook_id)
        self.invalidate(project_id)
