"""How the server reaches out of itself: events for webhooks, calls that bring services in. Put together here.

async with open_outreach(…) as outreach:            # once per server, around the rooms
    part = outreach.for_room(room, files, url)      # once per run of a room
    part.summoner, part.toolkits                    # what the room's agents service needs
    part.started()                                  # when the first participant has come
    part.ended()                                    # when the run is over
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

from meshagent.api.wire import names
from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.client import OutgoingClient
from meshagent.server.rooms.context import RoomContext
from meshagent.server.services.agents.builtin_storage import StorageToolkit
from meshagent.server.services.agents.builtin_targets import BuiltInTargets
from meshagent.server.services.agents.ports import BuiltInToolkit
from meshagent.server.services.agents.summoner import RoomSummoner
from meshagent.server.services.room_files import RoomFiles
from meshagent.server.webhooks.calls import ServiceCaller
from meshagent.server.webhooks.deliverer import WebhookDeliverer
from meshagent.server.webhooks.deliveries import DeliveryLog
from meshagent.server.webhooks.ports import ServiceSource, TokenIssuer, WebhookSource
from meshagent.server.webhooks.room_events import RoomEvents
from meshagent.server.webhooks.room_services import RoomServiceCaller

BUILT_IN_TOOLKITS: Final = ("storage", "agents")
"""Names of the toolkits that every room has."""

DELIVERY_GRACE: Final = 5.0


class Outreach:
    """What all rooms share.

    Attributes:
        targets: Recognises calls that the server answers itself.
    """

    def __init__(
        self,
        http: OutgoingClient,
        caller: ServiceCaller,
        targets: BuiltInTargets,
        events: RoomEvents,
        services: RoomServiceCaller,
    ) -> None:
        self.targets = targets
        self._http = http
        self._caller = caller
        self._events = events
        self._services = services

    def for_room(self, room: RoomContext, files: RoomFiles, download_url: Callable[[str], str]) -> RoomOutreach:
        """The part of one run of a room.

        Args:
            room: Which.
            files: Its files.
            download_url: Makes a signed URL for a path.
        """
        return RoomOutreach(
            room,
            self._events,
            self._services,
            summoner=RoomSummoner(room, files, self.targets, self._caller),
            storage=StorageToolkit(files, download_url, self._http),
        )


class RoomOutreach:
    """One room's part.

    Attributes:
        summoner: Answers `agent.call`.
        toolkits: Toolkits that the room has by itself, by name. The agents service adds `agents`.
    """

    def __init__(
        self,
        room: RoomContext,
        events: RoomEvents,
        services: RoomServiceCaller,
        *,
        summoner: RoomSummoner,
        storage: StorageToolkit,
    ) -> None:
        self._room = room
        self._events = events
        self._services = services
        self.summoner = summoner
        self.toolkits: dict[str, BuiltInToolkit] = {"storage": storage}

    def started(self) -> None:
        """The room works: tell webhooks, and call the project's services in."""
        self._events.started(self._room)
        self._services.room_started(self._room)

    def file_changed(self, message_type: str, path: str, participant_id: str | None) -> None:
        """A file event went to the participants; tell webhooks what they can subscribe to."""
        if message_type == names.FILE_UPDATED:
            self._events.file_updated(self._room, path, participant_id)
        elif message_type == names.FILE_DELETED:
            self._events.file_deleted(self._room, path, participant_id)

    def ended(self) -> None:
        """The run is over: tell webhooks."""
        self._events.ended(self._room)


@asynccontextmanager
async def open_outreach(
    settings: OutgoingSettings,
    *,
    webhooks: WebhookSource,
    services: ServiceSource,
    tokens: TokenIssuer,
    secret: str | None,
    room_url: Callable[[str, str], str],
    own_urls: Callable[[], Iterable[str]],
    deliveries: DeliveryLog,
) -> AsyncIterator[Outreach]:
    """The server's outreach for the length of the block, which is to last longer than the rooms.

    Args:
        settings: Whom the server may call.
        webhooks: The webhooks of projects.
        services: The services of projects.
        tokens: Signs tokens for services.
        secret: Signs calls, and events of webhooks without a secret of their own.
        room_url: The WebSocket URL of a room: project id, room name.
        own_urls: Where the server itself is reached.
        deliveries: Notes what becomes of each event.
    """
    async with OutgoingClient(settings) as http:
        caller = ServiceCaller(http, tokens, secret)
        deliverer = WebhookDeliverer(
            webhooks, http, caller, room_url=room_url, default_secret=secret, deliveries=deliveries
        )
        deliverer.start()
        try:
            yield Outreach(
                http,
                caller,
                BuiltInTargets(own_urls, BUILT_IN_TOOLKITS),
                RoomEvents(deliverer),
                RoomServiceCaller(services, http, caller),
            )
        finally:
            await deliverer.close(DELIVERY_GRACE)
