"""The toolkit `agents`, which every room has: asking an agent as if it were a tool."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from meshagent.api import jsontext
from meshagent.api.contracts.agents import AskRequest, AskResult, RegisteredTool
from meshagent.api.contracts.content import Body, JsonBody
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.registry import Registry

_ANY_ARGUMENTS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": True}


class AgentsToolkit:
    """A `BuiltInToolkit` with one tool for each agent that is registered in the room, under the agent's name.

    Args:
        registry: Where agents are registered.
        ask: Asks one, `AgentsService.ask`.
    """

    title = "Agents"
    description = "Asks the agents of this room."

    def __init__(self, registry: Registry, ask: Callable[[Participant, AskRequest], Awaitable[AskResult]]) -> None:
        self._registry = registry
        self._ask = ask

    def tools(self) -> Mapping[str, RegisteredTool]:
        """The agents in the room now; of several with one name, the one that an ask would reach."""
        tools: dict[str, RegisteredTool] = {}
        for agent in self._registry.agents():
            registration = agent.registration
            tools.setdefault(
                agent.name,
                RegisteredTool(
                    title=registration.title,
                    description=registration.description,
                    # A tool without a schema would take a whole content.
                    input_schema=registration.input_schema or dict(_ANY_ARGUMENTS),
                ),
            )
        return tools

    async def invoke(self, caller: Participant, tool: str, arguments: Any, payload: bytes) -> Body:
        """Ask the agent `tool`; its answer is the result.

        Raises:
            PermissionDeniedError: The caller may use tools, but not agents.
            RoomException: As `AgentsService.ask`.
        """
        caller.scope.require_agents("use_agents")
        result = await self._ask(caller, AskRequest(agent=tool, arguments=jsontext.raw(arguments)))
        return JsonBody(json=jsontext.loads(bytes(result.answer)))
