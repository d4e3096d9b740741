"""Services of projects; those given by a URL are called into each room that starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from meshagent.api.accounts.services import Service
from meshagent.server.accounts import records
from meshagent.server.accounts.project_cache import ProjectCache
from meshagent.server.accounts.store import AccountsStore


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalService:
    """A call to send when a room starts.

    Attributes:
        url: Where to post `room.call`.
        liveness_url: What answers with success once the service is up; None if it has no such path.
        participant_name: The name for the token that goes with the call.
        role: Its role.
    """

    service_id: str
    url: str
    liveness_url: str | None
    participant_name: str
    role: str


class ExternalServiceCache(ProjectCache[Sequence[ExternalService]]):
    """What to call when a room of a project starts."""

    def __init__(self, store: AccountsStore) -> None:
        super().__init__(self._read)
        self._store = store

    async def calls_of(self, project_id: str) -> Sequence[ExternalService]:
        """What to call when a room of the project starts."""
        return await self.of_project(project_id)

    async def _read(self, project_id: str) -> Sequence[ExternalService]:
        kept = await self._store.services.all(project_id=project_id)
        return [call for record in kept for call in service_calls(as_service(record))]


def as_service(record: records.Service) -> Service:
    """A kept service in its public form."""
    values = record.definition | {"id": record.id, "name": record.name, "created_at": record.created_at.isoformat()}
    return Service.model_validate(values)


def definition_of(service: Service) -> dict[str, Any]:
    """What is kept of a service beside its name: the members that were given."""
    return service.model_dump(mode="json", exclude_unset=True, exclude={"id", "name", "created_at", "builtin"})


def service_calls(service: Service) -> list[ExternalService]:
    """The calls of a service that has a URL: one per callable endpoint, or one to the URL itself without any ports."""
    if service.url is None or service.id is None:
        return []
    base = service.url.rstrip("/")

    def call(path: str | None, name: str | None, role: str | None, liveness: str | None) -> ExternalService:
        assert service.id is not None
        return ExternalService(
            service_id=service.id,
            url=_joined(base, path),
            liveness_url=None if liveness is None else _joined(base, liveness),
            participant_name=name or service.name,
            role=role or service.role or "agent",
        )

    if not service.ports:
        return [call(None, None, None, None)]
    calls = []
    for port in service.ports.values():
        if port.endpoints is None:
            if port.type in (None, "meshagent.callable"):
                calls.append(call(port.path, port.participant_name, None, port.liveness_path))
            continue
        calls += [
            call(endpoint.path, endpoint.participant_name, endpoint.role, port.liveness_path)
            for endpoint in port.endpoints
            if endpoint.type == "meshagent.callable"
        ]
    return calls


def _joined(base: str, path: str | None) -> str:
    return f"{base}/{path.lstrip('/')}" if path else base
