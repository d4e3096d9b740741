"""Toolkits in the invoke dialect: listing, registering, and calling external services into the room."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshagent.api.contracts.agents import (
    CallRequest,
    ListToolkitsResult,
    RegisteredTool,
    RegisterToolkitRequest,
    UnregisterRequest,
)
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message
from meshagent.server.dispatch.invoke.messages import (
    CALL,
    LIST_TOOLKITS,
    REGISTER_TOOLKIT,
    UNREGISTER_TOOLKIT,
    CallService,
    ListToolkits,
    RegisterToolkit,
    ToolDescription,
)
from meshagent.server.dispatch.invoke.room_tools import RoomTool, RoomToolkit, StreamTool
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.dispatcher import Caller, RequestHandler
from meshagent.server.services.agents.hosting import HostedToolkit, HostLink
from meshagent.server.services.agents.registry import describe_toolkit
from meshagent.server.services.agents.service import AgentsService, grant_register_toolkit


class ToolkitRequests:
    """Serves `room.list_toolkits`, `room.register_toolkit`, `room.unregister_toolkit` and `room.call`.

    Args:
        room: The room.
        agents: Keeps the toolkits that participants host.
        toolkits: The room's own toolkits, by name.
        host_link: The way to hosts that register here.
    """

    def __init__(
        self, room: RoomContext, agents: AgentsService, toolkits: Mapping[str, RoomToolkit], host_link: HostLink
    ) -> None:
        self._room = room
        self._agents = agents
        self._toolkits = toolkits
        self._host_link = host_link

    def request_handlers(self) -> dict[str, RequestHandler]:
        return {
            LIST_TOOLKITS: self.list_toolkits,
            REGISTER_TOOLKIT: self.register_toolkit,
            UNREGISTER_TOOLKIT: self.unregister_toolkit,
            CALL: self.call,
        }

    def list_toolkits(self, caller: Caller, message: Message) -> None:
        """The room's own toolkits, and the hosted ones that the caller or the named participant can see."""
        request, _ = envelope.unpack_as(message.data, ListToolkits)
        participant = caller.participant
        if participant.scope is not FULL_ROOM_SCOPE:
            participant.scope.require_agents("use_tools")
        viewer_id = request.participant_id or self._id_of(request.participant_name) or participant.id
        listed: dict[str, Any] = {name: describe_room_toolkit(name, tools) for name, tools in self._toolkits.items()}
        hosted = self._agents.visible_toolkits(viewer_id)
        listed |= {name: describe_hosted(toolkit) for name, toolkit in hosted.items() if name not in listed}
        caller.answer(message.id, ListToolkitsResult(tools=listed))

    def _id_of(self, participant_name: str | None) -> str | None:
        if participant_name is None:
            return None
        return next((p.id for p in self._room.participants.values() if p.name == participant_name), None)

    def register_toolkit(self, caller: Caller, message: Message) -> None:
        """Offer a toolkit to the room; errors as in `Registry.add_toolkit`."""
        request, _ = envelope.unpack_as(message.data, RegisterToolkit)
        registration = _registration(request)
        participant = caller.participant
        if participant.scope is not FULL_ROOM_SCOPE:
            grant_register_toolkit(participant.scope, registration)
        result = self._agents.add_toolkit(participant, registration, self._host_link, request.annotations)
        caller.answer(message.id, result)

    def unregister_toolkit(self, caller: Caller, message: Message) -> None:
        """Take a registration back; an unknown id is no error."""
        request, _ = envelope.unpack_as(message.data, UnregisterRequest)
        self._agents.unregister(caller.participant, request)
        caller.answer(message.id, None)

    def call(self, caller: Caller, message: Message) -> None:
        """Invite an external service into the room; errors as in `AgentsService.call`."""
        request, _ = envelope.unpack_as(message.data, CallService)
        if caller.participant.scope is not FULL_ROOM_SCOPE:
            caller.participant.scope.require_agents("call")
        flat = CallRequest(name=request.name, url=request.url, arguments=request.arguments)
        caller.answer_when_done(message.id, self._agents.call(caller.participant, flat), len(message.data))


def _registration(request: RegisterToolkit) -> RegisterToolkitRequest:
    """A registration in the form that the registry keeps."""
    tools = {name: _registered_tool(tool) for name, tool in request.tools.items()}
    return RegisterToolkitRequest(
        name=request.name,
        title=request.title,
        description=request.description,
        thumbnail_url=request.thumbnail_url,
        public=request.public,
        tools=tools,
    )


def _registered_tool(tool: ToolDescription) -> RegisteredTool:
    schema = tool.input_schema
    spec = tool.input_spec
    if schema is None and spec is not None and "json" in (spec.get("types") or ()) and not spec.get("stream"):
        schema = spec.get("schema")
    return RegisteredTool(
        title=tool.title,
        description=tool.description,
        input_schema=schema,
        defs=tool.defs,
        thumbnail_url=tool.thumbnail_url,
        pricing=tool.pricing,
        input_spec=spec,
        output_spec=tool.output_spec,
        strict=tool.strict,
    )


def describe_hosted(toolkit: HostedToolkit) -> dict[str, Any]:
    """A hosted toolkit as a listing shows it."""
    described = describe_toolkit(toolkit)
    return {
        "title": described["title"],
        "description": described["description"],
        "annotations": dict(toolkit.annotations),
        "participant_id": described["participant_id"],
        "tools": {name: _describe_tool(name, tool) for name, tool in toolkit.tools.items()},
    }


def _describe_tool(name: str, tool: RegisteredTool) -> dict[str, Any]:
    spec = tool.input_spec
    if spec is None and tool.input_schema is not None:
        spec = {"types": ["json"], "stream": False, "schema": tool.input_schema}
    return {
        "title": tool.title or name,
        "description": tool.description or "",
        "input_spec": spec,
        "output_spec": tool.output_spec,
        "defs": tool.defs,
        "strict": bool(tool.strict),
    }


def describe_room_toolkit(name: str, toolkit: RoomToolkit) -> dict[str, Any]:
    """A toolkit of the room itself as a listing shows it."""
    return {
        "title": name,
        "description": f"the room's {name}",
        "annotations": {},
        "participant_id": None,
        "tools": {tool_name: _describe_room_tool(tool_name, tool) for tool_name, tool in toolkit.items()},
    }


def _describe_room_tool(name: str, tool: RoomTool) -> dict[str, Any]:
    # Only `json` is named even for streams: clients of 0.39 refuse a listing with types that they do not know.
    spec: dict[str, Any] = {"types": ["json"], "stream": isinstance(tool, StreamTool)}
    schema = None if isinstance(tool, StreamTool) else tool.schema()
    if schema is not None:
        spec["schema"] = schema
    return {"title": name, "description": "", "input_spec": spec, "output_spec": None, "defs": None, "strict": False}
