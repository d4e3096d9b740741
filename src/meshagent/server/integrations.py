"""How the server reaches out of itself: events for webhooks, calls that bring services in. Put together here.

async with open_integrations(…) as integrations:            # once per server, around the rooms
    part = integrations.for_room(room, files, url)      # once per run of a room
    part.call_router, part.toolkits                    # what the room's agents service needs
    await part.starting()                           # before anybody comes
    part.started()                                  # when the first participant has come
    part.ended()                                    # when the run is over, or else:
    part.came_to_nothing()                          # when it is over and nobody came
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from meshagent.api.contracts.operation import Event
from meshagent.api.contracts.storage import FileEvent
from meshagent.server.config import OutgoingSettings
from meshagent.server.kernel.context import RoomContext
from meshagent.server.outgoing.client import OutgoingClient
from meshagent.server.services.agents.builtin_storage import StorageToolkit
from meshagent.server.services.agents.builtin_targets import BuiltInTargets
from meshagent.server.services.agents.call_router import RoomCallRouter
from meshagent.server.services.agents.ports import BuiltInToolkit
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.stores.outbox import DeliveryOutbox
from meshagent.server.webhooks.announcer import NOTHING
from meshagent.server.webhooks.deliverer import WebhookDeliverer
from meshagent.server.webhooks.deliveries import DeliveryNotes
from meshagent.server.webhooks.ports import ExternalServiceSource, TokenIssuer, WebhookSource
from meshagent.server.webhooks.requests import WebhookRequests
from meshagent.server.webhooks.room_calls import RoomCallSender
from meshagent.server.webhooks.room_events import ExpectedEvents, RoomEvents
from meshagent.server.webhooks.room_start_calls import RoomStartCalls
from meshagent.server.webhooks.settings import DeliveryLimits

BUILT_IN_TOOLKITS: Final = ("storage", "agents")
"""Names of the toolkits that every room has."""

DELIVERY_GRACE: Final = 5.0


class Integrations:
    """What all rooms share.

    Attributes:
        targets: Recognises calls that the server answers itself.
        webhooks: Delivers events, and knows what became of them.
    """

    def __init__(
        self,
        http: OutgoingClient,
        caller: RoomCallSender,
        targets: BuiltInTargets,
        webhooks: WebhookDeliverer,
        services: RoomStartCalls,
    ) -> None:
        self.targets = targets
        self.webhooks = webhooks
        self._http = http
        self._caller = caller
        self._events = RoomEvents(webhooks.announcer)
        self._services = services

    def for_room(self, room: RoomContext, files: RoomFiles, download_url: Callable[[str], str]) -> RoomIntegrations:
        """The part of one run of a room.

        Args:
            room: Which.
            files: Its files.
            download_url: Makes a signed URL for a path.
        """
        return RoomIntegrations(
            room,
            self._events,
            self._services,
            call_router=RoomCallRouter(room, files, self.targets, self._caller),
            storage=StorageToolkit(files, download_url, self._http),
        )


class RoomIntegrations:
    """One room's part.

    Attributes:
        call_router: Answers `agent.call`.
        toolkits: Toolkits that the room has by itself, by name, besides `agents`.
    """

    def __init__(
        self,
        room: RoomContext,
        events: RoomEvents,
        services: RoomStartCalls,
        *,
        call_router: RoomCallRouter,
        storage: StorageToolkit,
    ) -> None:
        self._room = room
        self._events = events
        self._services = services
        self._start: ExpectedEvents = NOTHING
        self.call_router = call_router
        self.toolkits: dict[str, BuiltInToolkit] = {"storage": storage}

    async def starting(self) -> None:
        """The room is about to start: make sure that webhooks will hear of its start and its end.

        Raises:
            StoreFailedError: The disk failed; the room must not start.
        """
        self._start = await self._events.starting(self._room)

    def started(self) -> None:
        """The room works: tell webhooks, and call the project's services in."""
        self._start.happened()
        self._services.room_started(self._room)

    async def are_changes_expected(self, event: Event[FileEvent]) -> bool:
        """Whether a webhook subscribes to this kind of file event."""
        return await self._events.are_file_events_expected(self._room, event)

    async def files_changing(self, event: Event[FileEvent], changes: Sequence[FileEvent]) -> ExpectedEvents:
        """Files are about to change: make sure that webhooks will hear of it.

        Raises:
            StoreFailedError: The disk failed; the files must not change.
        """
        return await self._events.files_changing(self._room, event, changes)

    def ended(self) -> None:
        """The run is over: tell webhooks."""
        self._events.ended(self._room)

    def came_to_nothing(self) -> None:
        """The run is over, and nobody came: there is nothing to tell."""
        self._start.close()
        self._events.came_to_nothing(self._room)


@asynccontextmanager
async def open_integrations(
    settings: OutgoingSettings,
    *,
    webhooks: WebhookSource,
    services: ExternalServiceSource,
    tokens: TokenIssuer,
    secret: str | None,
    room_url: Callable[[str, str], str],
    own_urls: Callable[[], Iterable[str]],
    outbox: DeliveryOutbox,
    notes: DeliveryNotes,
    limits: DeliveryLimits | None = None,
) -> AsyncIterator[Integrations]:
    """The server's integrations for the length of the block, which is to last longer than the rooms.

    Args:
        settings: Whom the server may call.
        webhooks: The webhooks of projects.
        services: The services of projects.
        tokens: Signs tokens for services.
        secret: Signs calls, and events of webhooks without a secret of their own.
        room_url: The WebSocket URL of a room: project id, room name.
        own_urls: Where the server itself is reached.
        outbox: Keeps the events until they are delivered.
        notes: Told what becomes of each event.
        limits: How long events and webhooks are tried.

    Raises:
        StoreFailedError: The outbox cannot be read.
    """
    async with OutgoingClient(settings) as http:
        caller = RoomCallSender(http, tokens, secret)
        requests = WebhookRequests(http, caller, room_url=room_url, default_secret=secret)
        deliverer = WebhookDeliverer(webhooks, outbox, requests, notes, limits=limits)
        await deliverer.start()
        try:
            yield Integrations(
                http,
                caller,
                BuiltInTargets(own_urls, BUILT_IN_TOOLKITS),
                deliverer,
                RoomStartCalls(services, http, caller),
            )
        finally:
            await deliverer.close(DELIVERY_GRACE)
