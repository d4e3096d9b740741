"""`services.*`: the services that a project calls into its rooms (protocol 13.3)."""

from __future__ import annotations

import msgspec

from meshagent.api.contracts.operation import Empty, Operation


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """How a service is doing; this server runs no containers, so there is none to name."""

    service_id: str
    state: str
    container_id: str | None = None
    restart_count: int = 0


class ListResult(msgspec.Struct, frozen=True, kw_only=True):
    """The services as specifications in JSON text, and their states, in the same order."""

    services_json: list[str]
    service_states: list[ServiceState]


class RestartRequest(msgspec.Struct, frozen=True, kw_only=True):
    service_id: str


LIST = Operation("services.list", Empty, ListResult)
RESTART = Operation("services.restart", RestartRequest, Empty)
