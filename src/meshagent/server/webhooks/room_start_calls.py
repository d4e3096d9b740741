"""The services of a project, called at each start of a room (protocol 15.5)."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from meshagent.api.errors import RoomException
from meshagent.server.kernel.context import RoomContext
from meshagent.server.outgoing.policy import OutgoingRefusedError
from meshagent.server.webhooks.ports import ExternalService, ExternalServiceSource, Poster
from meshagent.server.webhooks.retry import RetryPolicy
from meshagent.server.webhooks.room_calls import Invitation, RoomCallSender

log = logging.getLogger(__name__)

ROOM_START_RETRY = RetryPolicy(attempts=10, initial_delay=0.5, max_delay=30.0)
"""Patient, because a service may start together with the server."""


class RoomStartCalls:
    """Calls the services of a project into its rooms.

    The outcome of each call is in the room's log: `service.called`, or `service.call_failed` after the last attempt.
    """

    def __init__(
        self,
        source: ExternalServiceSource,
        http: Poster,
        caller: RoomCallSender,
        *,
        retry: RetryPolicy = ROOM_START_RETRY,
    ) -> None:
        self._source = source
        self._http = http
        self._caller = caller
        self._retry = retry

    def room_started(self, room: RoomContext) -> None:
        """Call the services of the room's project in the background; the end of the room ends the attempts."""
        room.spawn(self._call_all(room), name="service calls")

    async def _call_all(self, room: RoomContext) -> None:
        for service in await self._source.calls_of(room.project_id):
            room.spawn(self._call(room, service), name=f"call of {service.url}")

    async def _call(self, room: RoomContext, service: ExternalService) -> None:
        event_id = str(uuid.uuid4())  # one for all attempts, so that a service that took the call takes it once
        entry: dict[str, Any] = {"service_id": service.service_id, "url": service.url, "name": service.participant_name}
        for attempt, delay in enumerate((*self._retry.delays(), None), start=1):
            error = await self._attempt(room, service, event_id)
            if error is None:
                room.record("service.called", {**entry, "attempts": attempt})
                return
            if delay is None or isinstance(error, OutgoingRefusedError):
                room.record("service.call_failed", {**entry, "attempts": attempt, "error": str(error)})
                log.warning("could not call an external service into room %s: %s", room.name, error)
                return
            await asyncio.sleep(delay)

    async def _attempt(self, room: RoomContext, service: ExternalService, event_id: str) -> RoomException | None:
        """Call the service once; return the error, or None.

        All errors are retried: a proxy may answer 404 until the service is up.
        """
        invitation = Invitation(
            project_id=room.project_id,
            room_name=room.name,
            room_url=room.url,
            name=service.participant_name,
            role=service.role,
        )
        try:
            if service.liveness_url is not None:
                await self._http.check(service.liveness_url)
            await self._caller.call(service.url, invitation, event_id=event_id)
        except RoomException as error:
            return error
        return None
