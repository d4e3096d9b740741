"""Serves `agent.*`: registrations, listings, tool calls and asks (protocol 9)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import NotFoundError, PermissionDeniedError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.json_cost import check_values
from meshagent.server.kernel.operations import EncodedContent, ServedOperation, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.asks import Asks
from meshagent.server.services.agents.builtin_agents import AgentsToolkit
from meshagent.server.services.agents.hosting import HostedToolkit, HostLink, JsonArguments, ToolCall, ToolInput
from meshagent.server.services.agents.ports import BuiltInToolkit, CallRouter
from meshagent.server.services.agents.registry import (
    Registry,
    describe_agent,
    describe_built_in,
    describe_toolkit,
)
from meshagent.server.services.agents.tool_calls import AnswerFuture, ToolCalls


class AgentsService:
    """The agents and toolkits of one room.

    Calls wait without a time limit, since a tool may wait for a person; they end with their host's answer,
    or with an error when the host leaves. Arguments are checked by hosts, not here.

    Args:
        room: The room.
        calls: The room's tool calls.
        call_router: Answers `agent.call`.
        built_in: Toolkits of the room itself, by name, besides `agents`, which this service adds. A participant's
            toolkit of that name comes first.
        host_link: The way to hosts that register by `agent.register_toolkit`.
        budget: Bytes of all registrations; None for no bound.
    """

    def __init__(
        self,
        room: RoomContext,
        calls: ToolCalls,
        call_router: CallRouter,
        built_in: Mapping[str, BuiltInToolkit],
        host_link: HostLink,
        budget: ByteBudget | None = None,
    ) -> None:
        self._room = room
        self._calls = calls
        self._call_router = call_router
        self._registry = Registry(budget)
        self._built_in: Mapping[str, BuiltInToolkit] = {**built_in, "agents": AgentsToolkit(self._registry, self.ask)}
        self._asks = Asks(room, self._registry, self._built_in)
        self._host_link = host_link

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.REGISTER_AGENT, self.register_agent, grant=_grant("register_agent")),
            serve(api.UNREGISTER_AGENT, self.unregister, grant=None),
            serve(api.REGISTER_TOOLKIT, self.register_toolkit, grant=grant_register_toolkit),
            serve(api.UNREGISTER_TOOLKIT, self.unregister, grant=None),
            serve(api.LIST_AGENTS, self.list_agents, grant=_grant("use_agents")),
            serve(api.LIST_TOOLKITS, self.list_toolkits, grant=_grant("use_tools")),
            serve(api.ASK, self.ask, grant=_grant("use_agents")),
            serve_payload(api.INVOKE_TOOL, self.invoke_tool, grant=_grant("use_tools")),
            serve(api.CALL, self.call, grant=_grant("call")),
        ]

    # --- registrations -------------------------------------------------------------------------------

    def register_agent(self, caller: Participant, request: api.RegisterAgentRequest) -> api.RegistrationResult:
        return api.RegistrationResult(id=self._registry.add_agent(caller, request).id)

    def register_toolkit(self, caller: Participant, request: api.RegisterToolkitRequest) -> api.RegistrationResult:
        """Offer a toolkit to the room; errors as in `Registry.add_toolkit`."""
        return self.add_toolkit(caller, request, self._host_link)

    def add_toolkit(
        self,
        host: Participant,
        request: api.RegisterToolkitRequest,
        link: HostLink,
        annotations: Mapping[str, Any] | None = None,
    ) -> api.RegistrationResult:
        """As `register_toolkit`, for a host that is reached over `link`."""
        return api.RegistrationResult(id=self._registry.add_toolkit(host, request, link, annotations).id)

    def unregister(self, caller: Participant, request: api.UnregisterRequest) -> Empty:
        """Take a registration back; an unknown id is no error."""
        self._registry.remove(request.id, caller)
        return EMPTY

    def list_agents(self, caller: Participant, request: Empty) -> api.ListAgentsResult:
        return api.ListAgentsResult(agents=[describe_agent(agent) for agent in self._registry.agents()])

    def list_toolkits(self, caller: Participant, request: api.ListToolkitsRequest) -> api.ListToolkitsResult:
        """Public toolkits, and the private ones of the caller or of the participant that the request names."""
        hosted = self.visible_toolkits(request.participant_id or caller.id)
        described = {name: describe_built_in(toolkit) for name, toolkit in self._built_in.items() if toolkit.tools()}
        return api.ListToolkitsResult(
            tools={**described, **{name: describe_toolkit(toolkit) for name, toolkit in hosted.items()}}
        )

    def visible_toolkits(self, viewer_id: str) -> dict[str, HostedToolkit]:
        """Hosted toolkits that the participant `viewer_id` can see, by name."""
        return self._registry.visible_toolkits(viewer_id)

    # --- tool calls ----------------------------------------------------------------------------------

    def invoke_tool(
        self, caller: Participant, request: api.InvokeToolRequest, payload: bytes
    ) -> Awaitable[EncodedContent | Empty | Body]:
        """Call a tool, and give what its host answers as it is; of a stream the last content.

        Raises:
            NotFoundError: The caller can see no toolkit or tool of that name.
            PermissionDeniedError: The caller may not act for `on_behalf_of_id`.
            ConnectionLostError: The host left before it answered.
        """
        self.check_on_behalf_of(caller, request.on_behalf_of_id)
        toolkit = self.find_hosted(request.toolkit, request.tool, request.participant_id or caller.id)
        if toolkit is None:
            return self._invoke_built_in(caller, request, payload)
        answer = AnswerFuture()
        takes_content = toolkit.tools[request.tool].input_schema is None
        tool_input: ToolInput = (EncodedContent if takes_content else JsonArguments)(bytes(request.arguments), payload)
        self._calls.start(
            caller,
            toolkit,
            request.tool,
            tool_input,
            answer,
            on_behalf_of_id=request.on_behalf_of_id,
            caller_context=request.caller_context,
        )
        return answer.result

    def find_hosted(self, toolkit_name: str, tool: str, viewer_id: str) -> HostedToolkit | None:
        """The hosted toolkit that a call by `viewer_id` reaches; None if none has that name.

        Raises:
            NotFoundError: It has no such tool.
        """
        toolkit = self._registry.find_toolkit(toolkit_name, viewer_id)
        if toolkit is not None and tool not in toolkit.tools:
            raise NotFoundError(f"toolkit {toolkit_name!r} has no tool {tool!r}")
        return toolkit

    def is_hosted(self, toolkit_name: str, viewer_id: str) -> bool:
        """Whether a call by `viewer_id` would reach a hosted toolkit."""
        return self._registry.find_toolkit(toolkit_name, viewer_id) is not None

    async def _invoke_built_in(self, caller: Participant, request: api.InvokeToolRequest, payload: bytes) -> Body:
        toolkit = self._built_in.get(request.toolkit)
        if toolkit is None:
            raise NotFoundError(f"there is no toolkit {request.toolkit!r} in this room")
        if request.tool not in toolkit.tools():
            raise NotFoundError(f"toolkit {request.toolkit!r} has no tool {request.tool!r}")
        arguments = bytes(request.arguments)
        check_values(arguments)
        return await toolkit.invoke(caller, request.tool, jsontext.loads(arguments), payload)

    # --- asks ----------------------------------------------------------------------------------------

    def ask(self, caller: Participant, request: api.AskRequest) -> asyncio.Future[api.AskResult]:
        """Ask an agent; errors as in `Asks.start`, and:

        Raises:
            PermissionDeniedError: The caller may not act for `on_behalf_of_id`.
        """
        self.check_on_behalf_of(caller, request.on_behalf_of_id)
        return self._asks.start(caller, request)

    def ask_answered(self, host: Participant, answer: api.AskAnswer) -> None:
        """An agent's answer; errors as in `Asks.answered`."""
        self._asks.answered(host, answer)

    # --- calling programs into the room --------------------------------------------------------------

    async def call(self, caller: Participant, request: api.CallRequest) -> Empty:
        """Invite an external service into the room; errors as in `CallRouter.call`."""
        await self._call_router.call(caller, request.name, request.url, request.arguments)
        self._room.record("agent.call", {"caller_id": caller.id, "name": request.name, "url": request.url})
        return EMPTY

    # --- leaving -------------------------------------------------------------------------------------

    def left(self, participant: Participant) -> None:
        self._registry.remove_all_of(participant)
        self._calls.left(participant, self._other_host)
        self._asks.left(participant)

    def _other_host(self, call: ToolCall) -> HostedToolkit | None:
        return self._registry.find_toolkit(call.toolkit.name, call.caller.id)

    async def close(self) -> None:
        """Nothing to release: registrations and calls belong to participants, who are gone."""

    def check_on_behalf_of(self, caller: Participant, participant_id: str | None) -> None:
        """Whether the caller may act for a participant; None is the caller itself.

        Raises:
            NotFoundError: No such participant is here.
            PermissionDeniedError: A person can act for nobody else.
        """
        if participant_id is None:
            return
        if participant_id not in self._room.participants:
            raise NotFoundError(f"on_behalf_of_id: there is no participant {participant_id!r} in this room")
        if caller.is_user and participant_id != caller.id:
            raise PermissionDeniedError("a person can act only on behalf of themselves")


def grant_register_toolkit(scope: ApiScope, request: api.RegisterToolkitRequest) -> None:
    """What registering a toolkit needs: public and private toolkits have a grant each."""
    scope.require_agents("register_public_toolkit" if request.public else "register_private_toolkit")


def _grant(action: str) -> Any:
    return lambda scope, _: scope.require_agents(action)
