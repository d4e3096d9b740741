"""Trying a service in a room without making it one of the project's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshagent.cli.output import UsageError

if TYPE_CHECKING:
    from meshagent.api.accounts.services import Service


@dataclass(frozen=True, slots=True)
class Invitation:
    """A URL that takes calls, and the name and role with which what answers there joins the room."""

    url: str
    name: str
    role: str


def invitations(service: Service) -> list[Invitation]:
    """The calls that a room makes to a service when it starts (protocol 15.5).

    Raises:
        UsageError: The service has no URL, or nothing that can be called.
    """
    if service.url is None:
        raise UsageError(f"{service.name} runs from an image: only a service with a `url` can be tried from here")
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
        raise UsageError(f"{service.name} has no endpoint of the type meshagent.callable")
    return found


def _joined(base: str, path: str | None) -> str:
    return f"{base}/{path.lstrip('/')}" if path else base
