"""Serves `agent.*`: registrations, listings, tool calls and asks (spec room-protocol 5.5)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import NotFoundError, PermissionDeniedError, RoomException
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.wire import envelope, names
from meshagent.api.wire.packets import Message
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.dispatcher import OneWay
from meshagent.server.kernel.operations import Served, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.builtin_agents import AgentsToolkit
from meshagent.server.services.agents.pending_calls import FutureLink, HostLink, PendingAsks
from meshagent.server.services.agents.ports import BuiltInToolkit, CallRouter
from meshagent.server.services.agents.registry import (
    HostedToolkit,
    Registry,
    describe_agent,
    describe_tool,
    describe_toolkit,
)
from meshagent.server.services.agents.tool_calls import ToolCalls


class AgentsService:
    """The agents and toolkits of one room.

    Calls wait without a time limit, since a tool may wait for a person; they end with their host's answer,
    or with an error when the host leaves. Arguments are checked by hosts, not here.

    Args:
        room: Whose agents they are.
        call_router: Answers `agent.call`.
        built_in: Toolkits of the room itself, by name, besides `agents`, which this service adds. A participant's
            toolkit of that name comes first.
        flat_host: How calls reach hosts that register by `agent.register_toolkit`.
    """

    def __init__(
        self, room: RoomContext, call_router: CallRouter, built_in: Mapping[str, BuiltInToolkit], flat_host: HostLink
    ) -> None:
        self._room = room
        self._call_router = call_router
        self._registry = Registry()
        self._built_in: Mapping[str, BuiltInToolkit] = {**built_in, "agents": AgentsToolkit(self._registry, self.ask)}
        self._flat_host = flat_host
        self.calls = ToolCalls(room)
        self._asks: PendingAsks[api.AskResult] = PendingAsks()

    @property
    def registry(self) -> Registry:
        return self._registry

    def operations(self) -> list[Served]:
        return [
            serve(api.REGISTER_AGENT, self.register_agent, grant=_grant("register_agent")),
            serve(api.UNREGISTER_AGENT, self.unregister, grant=None),
            serve(api.REGISTER_TOOLKIT, self.register_toolkit, grant=_grant_register_toolkit),
            serve(api.UNREGISTER_TOOLKIT, self.unregister, grant=None),
            serve(api.LIST_AGENTS, self.list_agents, grant=_grant("use_agents")),
            serve(api.LIST_TOOLKITS, self.list_toolkits, grant=_grant("use_tools")),
            serve(api.ASK, self.ask, grant=_grant("use_agents")),
            serve_payload(api.INVOKE_TOOL, self.invoke_tool, grant=_grant("use_tools")),
            serve(api.CALL, self.call, grant=_grant("call")),
        ]

    def one_way(self) -> dict[str, OneWay]:
        """Handlers of what hosts answer; answers get no answer."""
        return {names.TOOL_CALL_RESPONSE: self.tool_call_response, names.AGENT_ASK_RESPONSE: self.ask_response}

    # --- registrations -------------------------------------------------------------------------------

    def register_agent(self, caller: Participant, request: api.RegisterAgentRequest) -> api.RegistrationResult:
        return api.RegistrationResult(id=self._registry.add_agent(caller, request).id)

    def register_toolkit(self, caller: Participant, request: api.RegisterToolkitRequest) -> api.RegistrationResult:
        """Offer a toolkit to the room; errors as in `Registry.add_toolkit`."""
        return api.RegistrationResult(id=self._registry.add_toolkit(caller, request, self._flat_host).id)

    def unregister(self, caller: Participant, request: api.UnregisterRequest) -> Empty:
        """Take a registration back; one that is gone already is no error."""
        self._registry.remove(request.id, caller)
        return EMPTY

    def list_agents(self, caller: Participant, request: Empty) -> api.ListAgentsResult:
        return api.ListAgentsResult(agents=[describe_agent(agent) for agent in self._registry.agents()])

    def list_toolkits(self, caller: Participant, request: api.ListToolkitsRequest) -> api.ListToolkitsResult:
        """Public toolkits, and the private ones of the caller or of the participant that the request names."""
        hosted = self._registry.visible_toolkits(request.participant_id or caller.id)
        described = {name: _describe_built_in(toolkit) for name, toolkit in self._built_in.items() if toolkit.tools()}
        return api.ListToolkitsResult(
            tools={**described, **{name: describe_toolkit(toolkit) for name, toolkit in hosted.items()}}
        )

    # --- tool calls ----------------------------------------------------------------------------------

    def invoke_tool(self, caller: Participant, request: api.InvokeToolRequest, payload: bytes) -> Any:
        """Call a tool, and give what its host answers as it is.

        Raises:
            NotFoundError: No toolkit or tool of that name is in the caller's sight.
            PermissionDeniedError: The caller may not act for `on_behalf_of_id`.
            ConnectionLostError: The host left before it answered.
        """
        self.check_on_behalf_of(caller, request.on_behalf_of_id)
        toolkit = self.find_hosted(request.toolkit, request.tool, request.participant_id or caller.id)
        if toolkit is None:
            return self._invoke_built_in(caller, request, payload)
        link = FutureLink()
        self.calls.begin(
            caller,
            toolkit,
            request.tool,
            arguments=bytes(request.arguments),
            is_content=toolkit.tools[request.tool].input_schema is None,
            payload=payload,
            link=link,
            on_behalf_of_id=request.on_behalf_of_id,
            caller_context=request.caller_context,
        )
        return link.result

    def find_hosted(self, toolkit_name: str, tool: str, viewer_id: str) -> HostedToolkit | None:
        """The hosted toolkit that a call reaches; None if none has that name.

        Raises:
            NotFoundError: It has no such tool.
        """
        toolkit = self._registry.find_toolkit(toolkit_name, viewer_id)
        if toolkit is not None and tool not in toolkit.tools:
            raise NotFoundError(f"the toolkit {toolkit_name!r} has no tool {tool!r}")
        return toolkit

    def tool_call_response(self, host: Participant, message: Message) -> None:
        """A host's answer."""
        self.calls.answer(host, message.id, message.data)

    async def _invoke_built_in(self, caller: Participant, request: api.InvokeToolRequest, payload: bytes) -> Any:
        toolkit = self._built_in.get(request.toolkit)
        if toolkit is None:
            raise NotFoundError(f"there is no toolkit {request.toolkit!r} in this room")
        if request.tool not in toolkit.tools():
            raise NotFoundError(f"the toolkit {request.toolkit!r} has no tool {request.tool!r}")
        return await toolkit.invoke(caller, request.tool, jsontext.loads(bytes(request.arguments)), payload)

    # --- asks ----------------------------------------------------------------------------------------

    def ask(self, caller: Participant, request: api.AskRequest) -> asyncio.Future[api.AskResult]:
        """Ask an agent, handing along the toolkits that the request requires.

        Raises:
            NotFoundError: No such agent, or a required toolkit or tool is not in sight.
            PermissionDeniedError: The caller may not act for `on_behalf_of_id`.
            ConnectionLostError: The agent left before it answered.
            RoomException: The agent's own failure, in its words.
        """
        self.check_on_behalf_of(caller, request.on_behalf_of_id)
        agent = self._registry.find_agent(request.agent)
        if agent is None:
            raise NotFoundError(f"there is no agent {request.agent!r} in this room")
        toolkits = self._required_toolkits(request, request.on_behalf_of_id or caller.id)
        task_id = str(uuid.uuid4())
        behalf = {} if request.on_behalf_of_id is None else {"on_behalf_of_id": request.on_behalf_of_id}
        forwarded = api.ForwardedAsk(
            task_id=task_id,
            agent=agent.name,
            arguments=request.arguments,
            caller_id=caller.id,
            toolkits=toolkits,
            context={"messages": [], "system_role": "system"},
            **behalf,
        )
        self._room.publish(api.ASKED, forwarded, to=(agent.host,))
        self._room.record("agent.ask", {"caller_id": caller.id, "host_id": agent.host.id, "name": agent.name})
        return self._asks.add(task_id, caller, agent.host, f"the ask of {agent.name}")

    def ask_response(self, host: Participant, message: Message) -> None:
        """An agent's answer; one without a known task cannot be matched, and is dropped by the dispatcher's log."""
        answer, _ = envelope.unpack_as(message.data, api.AskAnswer)
        outcome: api.AskResult | RoomException
        if answer.error is not None:
            outcome = RoomException(answer.error)
        else:
            outcome = api.AskResult(answer=answer.answer, caller_context=answer.caller_context)
        if not self._asks.finish(answer.task_id, host, outcome):
            raise NotFoundError(f"an answer names the task {answer.task_id!r}, which nobody waits for")

    def _required_toolkits(self, request: api.AskRequest, target_id: str) -> list[dict[str, Any]]:
        described = []
        for name, tools in _toolkit_requirements(request):
            hosted = self._registry.find_toolkit(name, target_id)
            available = hosted.tools if hosted is not None else self._built_in_tools(name)
            if available is None:
                raise NotFoundError(f"the required toolkit {name!r} is not in this room")
            missing = [tool for tool in tools or () if tool not in available]
            if missing:
                raise NotFoundError(f"the required toolkit {name!r} has no tool {missing[0]!r}")
            entry = _toolkit_head(name, hosted, self._built_in.get(name))
            chosen = {tool: available[tool] for tool in (available if tools is None else tools)}
            # Hosts refuse tools without a schema, which are request tools (spec 5.5.7).
            entry["tools"] = [
                {"name": tool, **describe_tool(tool, spec)}
                for tool, spec in chosen.items()
                if spec.input_schema is not None
            ]
            described.append(entry)
        return described

    def _built_in_tools(self, name: str) -> Mapping[str, api.RegisteredTool] | None:
        toolkit = self._built_in.get(name)
        return None if toolkit is None else toolkit.tools()

    # --- calling services in -------------------------------------------------------------------------

    async def call(self, caller: Participant, request: api.CallRequest) -> Empty:
        """Invite a service into the room; errors as in `CallRouter.call`."""
        await self._call_router.call(caller, request.name, request.url, request.arguments)
        self._room.record("agent.call", {"caller_id": caller.id, "name": request.name, "url": request.url})
        return EMPTY

    # --- leaving -------------------------------------------------------------------------------------

    def left(self, participant: Participant) -> None:
        self._registry.remove_all_of(participant)
        self.calls.left(participant)
        self._asks.left(participant)

    async def close(self) -> None:
        """Nothing to release: registrations and calls belong to participants, who are gone."""

    def check_on_behalf_of(self, caller: Participant, participant_id: str | None) -> None:
        if participant_id is None:
            return
        if participant_id not in self._room.participants:
            raise NotFoundError(f"on_behalf_of_id: there is no participant {participant_id!r} in this room")
        if caller.is_user and participant_id != caller.id:
            raise PermissionDeniedError("a person can act on behalf of nobody but themselves")


def _grant(action: str) -> Any:
    return lambda scope, _: scope.require_agents(action)


def _grant_register_toolkit(scope: ApiScope, request: api.RegisterToolkitRequest) -> None:
    scope.require_agents("register_public_toolkit" if request.public else "register_private_toolkit")


def _toolkit_requirements(request: api.AskRequest) -> list[tuple[str, list[str] | None]]:
    """Names of required toolkits with the tools wanted of each, None for all; both spellings (spec 5.5.6)."""
    wanted: list[tuple[str, list[str] | None]] = [
        (entry["toolkit"], entry.get("tools")) for entry in request.requires or () if "toolkit" in entry
    ]
    for name, choice in (request.toolkits or {}).items():
        use = choice.get("use")
        wanted.append((name, None if use is None else list(use)))
    return wanted


def _toolkit_head(name: str, hosted: HostedToolkit | None, built_in: BuiltInToolkit | None) -> dict[str, Any]:
    if hosted is not None:
        described = describe_toolkit(hosted)
    else:
        assert built_in is not None
        described = _describe_built_in(built_in)
    return {"name": name, **{key: described[key] for key in ("title", "description", "thumbnail_url")}}


def _describe_built_in(toolkit: BuiltInToolkit) -> dict[str, Any]:
    return {
        "title": toolkit.title,
        "description": toolkit.description,
        "thumbnail_url": None,
        "participant_id": None,
        "tools": {name: describe_tool(name, tool) for name, tool in toolkit.tools().items()},
    }
