"""The external services of a room, as its participants see them. This server calls them, but does not run them."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit

from meshagent.api import jsontext
from meshagent.api.contracts import services as api
from meshagent.api.contracts.operation import Empty
from meshagent.api.errors import InvalidStateError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import ServedOperation, serve
from meshagent.server.kernel.participant import Participant
from meshagent.server.webhooks.ports import ExternalService, ExternalServiceSource


class ExternalServicesService:
    """Serves `services.*` of one room.

    Args:
        room: The room.
        source: The services of the room's project.
    """

    def __init__(self, room: RoomContext, source: ExternalServiceSource) -> None:
        self._room = room
        self._source = source

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.LIST, self.list, grant=_grant),
            serve(api.RESTART, self.restart, grant=_grant),
        ]

    async def list(self, caller: Participant, request: Empty) -> api.ListResult:
        """Each service as a specification in JSON text, with its state.

        A service is `running` while a participant with its participant name is in the room.
        """
        by_id: dict[str, list[ExternalService]] = {}
        for call in await self._source.calls_of(self._room.project_id):
            by_id.setdefault(call.service_id, []).append(call)
        present = {participant.name for participant in self._room.participants.values()}
        return api.ListResult(
            services_json=[jsontext.dumps(_specification(calls)).decode() for calls in by_id.values()],
            service_states=[
                api.ServiceState(
                    service_id=service_id,
                    state="running" if present & {call.participant_name for call in calls} else "stopped",
                )
                for service_id, calls in by_id.items()
            ],
        )

    def restart(self, caller: Participant, request: api.RestartRequest) -> Empty:
        """Always fails: services run outside this server."""
        raise InvalidStateError(
            f"cannot restart service {request.service_id!r}: it runs outside this server", wire_code=7002
        )

    def left(self, participant: Participant) -> None:
        """Nothing to release for a participant."""

    async def close(self) -> None:
        """Nothing to release."""


def _grant(scope: ApiScope, request: object) -> None:
    scope.require_section("services")


def _specification(calls: list[ExternalService]) -> dict[str, Any]:
    """A service in the form of protocol 15.5."""
    first = _split(calls[0].url)
    endpoints = [
        {"path": _split(call.url).path or "/", "identity": call.participant_name, "role": call.role} for call in calls
    ]
    return {
        "version": "v1",
        "kind": "Service",
        "id": calls[0].service_id,
        "name": calls[0].participant_name,
        "url": f"{first.scheme}://{first.netloc}",
        "ports": [{"num": first.port or "*", "type": "meshagent.callable", "endpoints": endpoints}],
    }


def _split(url: str) -> SplitResult:
    """The parts of a URL; those of an example for one that cannot be, stored before such URLs were refused."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return urlsplit("http://not-a-url.invalid/")
    return parts
