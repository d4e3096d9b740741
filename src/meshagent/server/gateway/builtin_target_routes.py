"""Built-in schemas and toolkits over HTTP, under the paths by which agents ask for them (protocol 9.10).

    GET  /schemas/{name}     the schema as JSON
    POST /schemas/{name}     a `room.call`: puts the schema into the room that the call names
    POST /toolkits/{name}    a `room.call`: nothing to do, the room has it

`agent.call` is answered without coming here; these routes serve programs that send the call themselves, as the
command line does to a local address.
"""

from __future__ import annotations

from aiohttp import web

from meshagent.api import jsontext
from meshagent.api.documents.builtin import builtin_schema
from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.api.webhook.events import CallEvent, read_event
from meshagent.api.webhook.signature import parse
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.bodies import read_body
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.handle import BuiltInKind

MAX_CALL_BYTES = 1024 * 1024


class BuiltInTargetRoutes:
    """Serves the built-in targets.

    A call needs no signature: it carries the sender's token, which must allow calling services.
    """

    def __init__(self, authenticator: RoomAuthenticator, rooms: RoomGateway) -> None:
        self._authenticator = authenticator
        self._rooms = rooms

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/schemas/{name}", self.describe_schema),
            web.post("/schemas/{name}", self.call_schema),
            web.post("/toolkits/{name}", self.call_toolkit),
        ]

    async def describe_schema(self, request: web.Request) -> web.Response:
        """The schema; NotFoundError if there is none of that name."""
        name = request.match_info["name"]
        schema = builtin_schema(name)
        if schema is None:
            raise NotFoundError(f"there is no built-in schema {name!r}")
        return web.Response(body=jsontext.dumps(schema.to_json()), content_type="application/json")

    async def call_schema(self, request: web.Request) -> web.Response:
        return await self._called(request, "schemas")

    async def call_toolkit(self, request: web.Request) -> web.Response:
        return await self._called(request, "toolkits")

    async def _called(self, request: web.Request, kind: BuiltInKind) -> web.Response:
        call = await _read_call(request)
        admission = self._authenticator.admit_token(self._authenticator.verify(call.token), call.room_name)
        admission.scope.require_agents("call")  # before the room starts
        async with self._rooms.hold(RoomKey(admission.project_id, call.room_name)) as room:
            await room.install(kind, request.match_info["name"], admission.scope)
        return web.json_response({"ok": True})


async def _read_call(request: web.Request) -> CallEvent:
    payload = parse(await read_body(request, MAX_CALL_BYTES))
    data = payload.get("data") if isinstance(payload, dict) else None
    event = read_event(str(payload.get("event")), data) if isinstance(data, dict) else None
    if not isinstance(event, CallEvent):
        raise InvalidRequestError("the body must be a room.call event")
    return event
