"""Notes since when webhooks fail, and disables those that have failed for days (protocol 15.4)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from meshagent.api.errors import RoomException
from meshagent.server.stores.outbox import Delivery, DeliveryOutbox
from meshagent.server.webhooks.ports import Subscription, WebhookSource

log = logging.getLogger(__name__)

WEBHOOK_DISABLED: Final = "webhook.disabled"
WEBHOOK_ENABLED: Final = "webhook.enabled"


class WebhookHealth:
    """Keeps the state of webhooks by the outcome of each attempt.

    Args:
        source: Keeps it.
        outbox: Gets an entry for each webhook that is disabled.
        disable_after: How long every attempt must fail; None is never.
        clock: The time that is noted.
        age_clock: The time by which webhooks have failed for too long.
    """

    def __init__(
        self,
        source: WebhookSource,
        outbox: DeliveryOutbox,
        *,
        disable_after: timedelta | None,
        clock: Callable[[], datetime],
        age_clock: Callable[[], datetime],
    ) -> None:
        self._source = source
        self._outbox = outbox
        self._disable_after = disable_after
        self._clock = clock
        self._age_clock = age_clock

    async def worked(self, project_id: str, webhook: Subscription) -> None:
        """An attempt succeeded."""
        if webhook.failing_since is not None:
            await self._note(project_id, webhook, None)

    async def failed(self, project_id: str, webhook: Subscription, error: str) -> bool:
        """An attempt failed; whether the webhook is disabled now."""
        since, at = webhook.failing_since, self._clock()
        if since is None:
            await self._note(project_id, webhook, at)
            return False
        if self._disable_after is None or self._age_clock() - since < self._disable_after:
            return False
        reason = f"every attempt since {since.isoformat(timespec='seconds')} failed, the last one with: {error}"
        try:
            await self._source.disable(project_id, webhook.id, at, reason)
        except RoomException:
            log.exception("could not disable the webhook %s", webhook.id)
            return False
        log.error("disabled the webhook %s of project %s: %s", webhook.id, project_id, reason)
        self._outbox.abandon(webhook.id, f"the webhook was disabled: {reason}", at)
        await self._outbox.add([state_entry(project_id, webhook.id, at, reason=reason)])
        return True

    async def _note(self, project_id: str, webhook: Subscription, since: datetime | None) -> None:
        try:
            await self._source.set_failing(project_id, webhook.id, since)
        except RoomException as error:
            log.warning("could not note whether the webhook %s works: %s", webhook.id, error)


def state_entry(project_id: str, webhook_id: str, at: datetime, *, reason: str | None) -> Delivery:
    """The entry in a webhook's delivery log that it was disabled, for a reason, or else that it was enabled."""
    return Delivery(
        project_id=project_id,
        webhook_id=webhook_id,
        room_name="",
        event=WEBHOOK_ENABLED if reason is None else WEBHOOK_DISABLED,
        data=json.dumps({} if reason is None else {"reason": reason}),
        created_at=at,
        outcome="enabled" if reason is None else "disabled",
        error=reason,
        due_at=at,
        expires_at=at,
        updated_at=at,
    )
