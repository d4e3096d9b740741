"""A service that deploys schemas into rooms: `SchemaRegistry`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from meshagent.api.documents.schema import MeshSchema
from meshagent.api.helpers import deploy_schema, validate_schema_name
from meshagent.api.hosting.calls import join
from meshagent.api.webhook.events import CallEvent
from meshagent.api.webhook.server import WebhookServer

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["SchemaRegistration", "SchemaRegistry"]


class SchemaRegistration:
    """A schema and its name, which is the extension of its documents.

    Raises:
        InvalidRequestError: The name is empty, or contains a dot or a slash.
    """

    def __init__(self, *, name: str, schema: MeshSchema) -> None:
        validate_schema_name(name)
        self.name = name
        self.schema = schema


class SchemaRegistry:
    """Deploys schemas into every room that calls it.

    Host a subclass in a `ServiceHost`, `start` it in a room that you have joined, or `run` it as a server that rooms
    call.

    Args:
        schemas: The schemas to deploy; they replace schemas with the same names.
        name: The name of the registry.
        path: As for `WebhookServer`, for `run`; so are `app`, `host`, `port` and `webhook_secret`.
        validate_webhook_secret: Whether `run` refuses unsigned calls; by default if `webhook_secret` is given.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        app: web.Application | None = None,
        host: str | None = None,
        port: int | None = None,
        webhook_secret: str | None = None,
        schemas: Sequence[SchemaRegistration],
        name: str = "schema.registry",
        validate_webhook_secret: bool | None = None,
    ) -> None:
        self.name = name
        self.schemas = list(schemas)
        validate = webhook_secret is not None if validate_webhook_secret is None else validate_webhook_secret
        self._server = _CallReceiver(
            self, path=path, app=app, host=host, port=port, webhook_secret=webhook_secret, validate=validate
        )

    @property
    def server(self) -> WebhookServer:
        """The server that receives calls; start it yourself if `run` does not fit."""
        return self._server

    async def start(self, room: RoomClient) -> None:
        """Deploy all schemas into a room that is joined."""
        for registration in self.schemas:
            await deploy_schema(room=room, schema=registration.schema, name=registration.name)

    async def stop(self) -> None:
        """Do nothing: the schemas stay in the room."""

    async def run(self) -> None:
        """Serve until SIGINT, SIGTERM or SIGABRT. Each call is answered when its room has the schemas."""
        await self._server.run()


class _CallReceiver(WebhookServer):
    def __init__(
        self,
        registry: SchemaRegistry,
        *,
        path: str | None,
        app: web.Application | None,
        host: str | None,
        port: int | None,
        webhook_secret: str | None,
        validate: bool,
    ) -> None:
        super().__init__(
            path=path,
            app=app,
            host=host,
            port=port,
            webhook_secret=webhook_secret,
            validate_webhook_secret=validate,
        )
        self._registry = registry

    async def on_call(self, event: CallEvent) -> None:
        async with join(event) as room:
            await self._registry.start(room)
