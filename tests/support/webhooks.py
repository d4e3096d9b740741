"""Webhooks for tests: subscriptions in memory, and a deliverer with a real outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.client import OutgoingClient
from meshagent.server.stores.commit_log import CommitLog
from meshagent.server.stores.outbox import Attempt, Delivery, Outcome, RoomRun, now
from meshagent.server.stores.sqlite_outbox import SqliteOutbox
from meshagent.server.webhooks.deliverer import WebhookDeliverer
from meshagent.server.webhooks.requests import WebhookRequests
from meshagent.server.webhooks.retry import RetryPolicy
from meshagent.server.webhooks.room_calls import RoomCallSender
from meshagent.server.webhooks.settings import DeliveryLimits
from tests.support.stores import open_commit_log
from tests.support.webhook_receiver import FakeTokens

DEFAULT_SECRET = "the server's secret"
QUICK = RetryPolicy(initial_delay=0.001, max_delay=0.002)
RUN = RoomRun(session_id="session", project_id="project", room_name="room")
FILE_UPDATED = "storage.file.updated"


@dataclass(frozen=True)
class Hook:
    """A webhook of a project."""

    url: str
    id: str = "w1"
    name: str = "hook"
    events: Sequence[str] = ("*",)
    action: str | None = ""
    payload: Any = ""
    secret: str | None = None
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_reason: str | None = None


@dataclass
class Hooks:
    """The webhooks of project `project`."""

    hooks: list[Hook] = field(default_factory=list)
    failure: Exception | None = None

    async def of_project(self, project_id: str) -> Sequence[Hook]:
        if self.failure is not None:
            raise self.failure
        return list(self.hooks) if project_id == "project" else []

    async def set_failing(self, project_id: str, webhook_id: str, since: datetime | None) -> None:
        self._change(webhook_id, failing_since=since)

    async def disable(self, project_id: str, webhook_id: str, at: datetime, reason: str) -> None:
        self._change(webhook_id, disabled_at=at, disabled_reason=reason)

    def enable(self, webhook_id: str) -> None:
        self._change(webhook_id, disabled_at=None, disabled_reason=None, failing_since=None)

    def find(self, webhook_id: str) -> Hook:
        return next(hook for hook in self.hooks if hook.id == webhook_id)

    def _change(self, webhook_id: str, **values: Any) -> None:
        self.hooks = [replace(hook, **values) if hook.id == webhook_id else hook for hook in self.hooks]


class Clock:
    """The time, which tests may move on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return now() + self.ahead


@dataclass
class Notes:
    """What was noted of deliveries: event and outcome."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def attempted(self, delivery: Delivery, attempt: Attempt, url: str) -> None:
        self.lines.append((delivery.event, attempt.outcome))

    def ended(self, delivery: Delivery, outcome: Outcome, error: str) -> None:
        self.lines.append((delivery.event, outcome))


@dataclass
class Webhooks:
    """A deliverer that works, with all that it stands on."""

    deliverer: WebhookDeliverer
    source: Hooks
    outbox: SqliteOutbox
    log: CommitLog
    notes: Notes
    clock: Clock

    async def tell(
        self, event: str, data: Mapping[str, Any] | None = None, *, room: str = "room", project: str = "project"
    ) -> None:
        """Let an event happen."""
        run = RoomRun(session_id="no run", project_id=project, room_name=room)
        expected = await self.deliverer.announcer.expect(run, event, [{"room_name": room, **(data or {})}])
        expected.happened()
        expected.close()

    async def deliveries(self, webhook_id: str = "w1") -> list[Delivery]:
        """All deliveries of a webhook, oldest first."""
        return list(reversed(await self.outbox.page("project", webhook_id, limit=10_000, offset=0)))

    async def outcomes(self, webhook_id: str = "w1") -> list[tuple[str, str, int]]:
        """(event, outcome, attempts), oldest first."""
        return [(entry.event, entry.outcome, entry.attempts) for entry in await self.deliveries(webhook_id)]

    async def until_outcomes(self, expected: list[tuple[str, str, int]], webhook_id: str = "w1") -> None:
        """Wait until the deliveries of a webhook are these, oldest first."""
        found: list[tuple[str, str, int]] = []

        async def are_expected() -> bool:
            nonlocal found
            found = await self.outcomes(webhook_id)
            return found == expected

        try:
            await until(are_expected)
        except TimeoutError:
            assert found == expected

    async def rows(self) -> int:
        """All rows that the outbox has written, held ones and runs too."""
        tables = ("webhook_deliveries", "webhook_runs")
        return await self.log.read(
            lambda connection: sum(
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables
            )
        )


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition that must be read, and that nothing announces."""
    async with asyncio.timeout(5):
        while not await condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


@asynccontextmanager
async def delivering(
    folder: Path,
    *hooks: Hook,
    source: Hooks | None = None,
    secret: str | None = DEFAULT_SECRET,
    retry: RetryPolicy = QUICK,
    limits: DeliveryLimits | None = None,
    clock: Clock | None = None,
    steady: Callable[[], datetime] | None = None,
    grace: float = 2.0,
    **bounds: int,
) -> AsyncIterator[Webhooks]:
    """A deliverer with an outbox in `folder`; leaving the block stops it gracefully."""
    source, clock, notes = source or Hooks(list(hooks)), clock or Clock(), Notes()
    async with open_commit_log(folder) as log, OutgoingClient(OutgoingSettings()) as http:
        outbox = SqliteOutbox(log, **bounds)
        requests = WebhookRequests(
            http,
            RoomCallSender(http, FakeTokens(), secret),
            room_url=lambda project_id, room_name: f"ws://host/rooms/{room_name}",
            default_secret=secret,
            clock=clock,
        )
        deliverer = WebhookDeliverer(
            source, outbox, requests, notes, retry=retry, limits=limits, clock=clock, steady=steady or clock
        )
        await deliverer.start()
        try:
            yield Webhooks(deliverer, source, outbox, log, notes, clock)
        finally:
            await deliverer.close(grace)
