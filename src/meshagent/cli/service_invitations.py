"""`invitations`: the invitations that a room sends to a service, for `meshagent service test`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshagent.cli.output import UsageError

if TYPE_CHECKING:
    from meshagent.api.accounts.services import Service


@dataclass(frozen=True, slots=True)
class Invitation:
    """A URL to invite, and the name and role with which the service there joins the room."""

    url: str
    name: str
    role: str


def invitations(service: Service) -> list[Invitation]:
    """Return the invitations that a starting room sends to a service (protocol 15.5).

    Raises:
        UsageError: The service has no URL, or no callable endpoint.
    """
    if service.url is None:
        raise UsageError(f"{service.name} has no `url`: services that run from an image cannot be tested")
    base, role = service.url.rstrip("/"), service.role or "agent"
    found = [] if service.ports else [Invitation(base, service.name, role)]
    for port in (service.ports or {}).values():
        if port.endpoints is None and port.type in (None, "meshagent.callable"):
            found.append(Invitation(_joined(base, port.path), port.participant_name or service.name, role))
        found += [
            Invitation(_joined(base, endpoint.path), endpoint.participant_name or service.name, endpoint.role or role)
            for endpoint in port.endpoints or []
            if endpoint.type == "meshagent.callable"
        ]
    if not found:
        raise UsageError(f"{service.name} has no endpoint of type meshagent.callable")
    return found


def _joined(base: str, path: str | None) -> str:
    return f"{base}/{path.lstrip('/')}" if path else base
