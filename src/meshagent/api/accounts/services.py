"""Services: programs that a project runs or calls in its rooms (protocol 15.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

PortType = Literal["mcp.sse", "meshagent.callable", "http", "tcp"]
ServiceRole = Literal["user", "tool", "agent"]
Line = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]


class Endpoint(BaseModel):
    """One path of a port; `participant_name` is the participant name of what answers there."""

    model_config = ConfigDict(extra="allow")

    type: PortType
    path: str | None = None
    participant_name: str | None = None
    role: ServiceRole | None = None


class Port(BaseModel):
    """A port of a service. Its own `type`, `path` and `participant_name` apply if it has no endpoints."""

    model_config = ConfigDict(extra="allow")

    liveness_path: str | None = None
    participant_name: str | None = None
    type: PortType | None = None
    path: str | None = None
    endpoints: list[Endpoint] | None = None


def _as_mapping(ports: Any) -> Any:
    """Turn port numbers into strings, and a list of nulls, which older clients send, into None."""
    if isinstance(ports, (list, tuple)) and all(port is None for port in ports):
        return None
    if isinstance(ports, Mapping):
        return {str(number) if isinstance(number, int) else number: port for number, port in ports.items()}
    return ports


PortNumber = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,5}|\*)$")]
Ports = Annotated[dict[PortNumber, Port] | None, BeforeValidator(_as_mapping)]


class ServiceFields(BaseModel):
    """The members of a service. Unknown members are kept."""

    model_config = ConfigDict(extra="allow")

    image: str | None = Field(default=None, description="Container image; kept for platforms that run containers.")
    url: str | None = Field(
        default=None,
        pattern=r"^https?://[^\x00-\x20]+$",
        description="Where the service answers; its callable endpoints are called when a room starts.",
    )
    environment: dict[str, str] | None = None
    command: str | None = None
    room_storage_path: str | None = None
    room_storage_subpath: str | None = None
    pull_secret: str | None = None
    runtime_secrets: dict[str, str] | None = None
    environment_secrets: list[str] | None = None
    ports: Ports = None
    role: ServiceRole | None = None


class Service(ServiceFields):
    """A service of a project, with a container image or the URL where it answers.

    `id` and `created_at` are the server's; `builtin` never leaves the program.
    """

    id: str | None = None
    name: Line
    created_at: str | None = None
    builtin: bool = Field(default=False, exclude=True)

    @model_validator(mode="after")
    def _runs_somewhere(self) -> Service:
        if self.image is None and self.url is None:
            raise ValueError("a service needs an image or a url")
        return self


class ServiceChange(ServiceFields):
    """New values for a service; members that are not set stay unchanged."""

    name: Line | None = None


class Services(BaseModel):
    """The list of a project's services in JSON."""

    services: list[Service]
