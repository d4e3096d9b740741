"""What webhooks and calls need of the rest of the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from meshagent.api.tokens.scope import ApiScope


class Subscription(Protocol):
    """A project's webhook.

    `events` are names or `*`. `action` empty or None delivers the event, `call` sends a `room.call` for the room
    concerned instead. `payload` is JSON, or text that holds JSON. `secret` signs; None stands for the server's.
    `failing_since` is the first failed attempt since the last success, `disabled_at` when its deliveries ended.
    """

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def events(self) -> Sequence[str]: ...

    @property
    def action(self) -> str | None: ...

    @property
    def payload(self) -> Any: ...

    @property
    def secret(self) -> str | None: ...

    @property
    def failing_since(self) -> datetime | None: ...

    @property
    def disabled_at(self) -> datetime | None: ...


class WebhookSource(Protocol):
    """The webhooks of projects, and what is known of how they do."""

    async def of_project(self, project_id: str) -> Sequence[Subscription]:
        """A project's webhooks, as they are now; asked for every event, so it must be quick."""
        ...

    async def set_failing(self, project_id: str, webhook_id: str, since: datetime | None) -> None:
        """Note since when a webhook fails; None is that it works."""
        ...

    async def disable(self, project_id: str, webhook_id: str, at: datetime, reason: str) -> None:
        """End the deliveries to a webhook until somebody enables it."""
        ...


class ExternalService(Protocol):
    """A service that a room calls when it starts. `liveness_url`, where given, answers 2xx once it can be called."""

    @property
    def service_id(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def liveness_url(self) -> str | None: ...

    @property
    def participant_name(self) -> str: ...

    @property
    def role(self) -> str: ...


class ExternalServiceSource(Protocol):
    """The services of projects."""

    async def calls_of(self, project_id: str) -> Sequence[ExternalService]:
        """What to call when a room of the project starts."""
        ...


class TokenIssuer(Protocol):
    """Signs participant tokens."""

    async def issue(
        self, project_id: str, *, room_name: str, name: str, role: str | None = None, scope: ApiScope | None = None
    ) -> str:
        """A JWT that opens one room; without `scope` for everything there.

        Raises:
            NotFoundError: There is no such project.
        """
        ...


class Poster(Protocol):
    """Makes HTTP requests; `outgoing.client.OutgoingClient` is the real one, and says which errors there are."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post a body; return when it was answered with 2xx."""
        ...

    async def check(self, url: str) -> None:
        """Get a URL; return when it was answered with 2xx."""
        ...
