"""Service files (`kind: Service`) and templates of them (`kind: ServiceTemplate`); protocol 15.5."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from meshagent.api.accounts.services import Endpoint, Port, PortType, Service, ServiceRole

__all__ = [
    "ServicePortEndpointSpec",
    "ServicePortSpec",
    "ServiceSpec",
    "ServiceTemplateEnvironmentVariable",
    "ServiceTemplateSpec",
    "ServiceTemplateVariable",
]


class ServicePortEndpointSpec(BaseModel):
    """One path of a port; `identity` is the participant name of what answers there."""

    path: str
    identity: str
    role: ServiceRole | None = None
    type: PortType | None = None


class ServicePortSpec(BaseModel):
    """A port; `*` takes a free one. `liveness` is a path that answers when the service is up."""

    num: int | Literal["*"]
    type: PortType | None = None
    liveness: str | None = None
    endpoints: list[ServicePortEndpointSpec] = []

    def to_port(self) -> Port:
        """The port of a `Service`. An endpoint without a type gets that of the port, else `meshagent.callable`."""
        endpoints = [
            Endpoint(
                type=endpoint.type or self.type or "meshagent.callable",
                path=endpoint.path,
                participant_name=endpoint.identity,
                role=endpoint.role,
            )
            for endpoint in self.endpoints
        ]
        return Port(liveness_path=self.liveness, type=self.type, endpoints=endpoints)


class ServiceSpec(BaseModel):
    """The content of a service file; with `url` instead of `image` the service already runs somewhere."""

    version: Literal["v1"] = "v1"
    kind: Literal["Service"] = "Service"
    name: str
    image: str | None = None
    url: str | None = None
    command: str | None = None
    role: ServiceRole | None = None
    environment: dict[str, str] | None = None
    secrets: list[str] = []
    pull_secret: str | None = None
    room_storage_path: str | None = None
    room_storage_subpath: str | None = None
    ports: list[ServicePortSpec] = []
    id: str | None = None

    def to_service(self) -> Service:
        """The service as the REST API takes it.

        Raises:
            ValueError: There is neither an image nor a url.
        """
        return Service(
            id="",
            created_at=datetime.now(UTC).isoformat(),
            name=self.name,
            image=self.image,
            url=self.url,
            command=self.command,
            role=self.role,
            environment=self.environment,
            environment_secrets=self.secrets,
            pull_secret=self.pull_secret,
            room_storage_path=self.room_storage_path,
            room_storage_subpath=self.room_storage_subpath,
            ports={str(port.num): port.to_port() for port in self.ports},
        )


class ServiceTemplateVariable(BaseModel):
    """A variable of a template; `obscure` ones are not shown while they are typed."""

    name: str
    description: str | None = None
    obscure: bool = False
    enum: list[str] | None = None
    optional: bool = False


class ServiceTemplateEnvironmentVariable(BaseModel):
    """An environment variable whose value may contain `{variable}` placeholders."""

    name: str
    value: str


class ServiceTemplateSpec(BaseModel):
    """A template of a service file."""

    version: Literal["v1"] = "v1"
    kind: Literal["ServiceTemplate"] = "ServiceTemplate"
    name: str
    description: str | None = None
    variables: list[ServiceTemplateVariable] = []
    environment: list[ServiceTemplateEnvironmentVariable] = []
    image: str | None = None
    url: str | None = None
    command: str | None = None
    role: ServiceRole | None = None
    room_storage_path: str | None = None
    room_storage_subpath: str | None = None
    ports: list[ServicePortSpec] = []

    def to_service_spec(self, *, values: Mapping[str, str]) -> ServiceSpec:
        """The service with its variables replaced. Optional variables without a value are empty.

        Raises:
            KeyError: A variable that is not optional has no value.
        """
        filled = {variable.name: "" for variable in self.variables if variable.optional} | dict(values)
        return ServiceSpec(
            name=self.name,
            image=self.image,
            url=self.url,
            command=self.command,
            role=self.role,
            environment={item.name: item.value.format_map(filled) for item in self.environment},
            room_storage_path=self.room_storage_path,
            room_storage_subpath=self.room_storage_subpath,
            ports=self.ports,
        )
