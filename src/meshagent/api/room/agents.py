"""Agents that can be asked and tools that can be invoked: `room.agents` (protocol 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.content import Body, JsonBody
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import InvalidRequestError
from meshagent.api.participant import Participant
from meshagent.api.room.core import RoomCalls
from meshagent.api.room.descriptions import AgentDescription, Requirement, ToolkitDescription

__all__ = ["AgentsClient"]


class AgentsClient:
    """Agents and toolkits of the room; use it as `room.agents`.

    Errors of all methods: as `RoomClient.call`; `NotFoundError` for unknown names.
    """

    def __init__(self, *, room: RoomCalls) -> None:
        self._room = room

    async def make_call(self, *, name: str, url: str, arguments: Mapping[str, Any]) -> None:
        """Call the service at `url` into the room, as a participant called `name`.

        Returns when the service has accepted, which is before it is in the room.
        """
        await self._room.call(api.CALL, api.CallRequest(name=name, url=url, arguments=dict(arguments)))

    async def ask(
        self,
        *,
        agent: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        on_behalf_of: Participant | None = None,
        requires: Sequence[Requirement] | None = None,
        agentName: str | None = None,
        toolkits: dict[str, dict[str, Any]] | None = None,
    ) -> JsonBody:
        """Ask an agent and return its answer.

        Args:
            agent: The name of the agent; `agentName` is an alias.
            arguments: Arguments that fit its input schema.
            on_behalf_of: The participant whose private toolkits it may use.
            requires: Toolkits that it gets.
            toolkits: The same in the form of the JavaScript clients: toolkit name to `{}` for all of its tools,
                or to `{"use": {tool name: {}}}`.
        """
        name = agent if agent is not None else agentName
        if name is None:
            raise InvalidRequestError("ask() needs the name of an agent")
        result = await self._room.call(
            api.ASK,
            api.AskRequest(
                agent=name,
                arguments=jsontext.raw(dict(arguments or {})),
                on_behalf_of_id=None if on_behalf_of is None else on_behalf_of.id,
                requires=None if requires is None else [requirement.to_json() for requirement in requires],
                toolkits=toolkits,
            ),
        )
        return JsonBody(json=jsontext.loads(bytes(result.answer)))

    async def invoke_tool(
        self,
        *,
        toolkit: str,
        tool: str,
        arguments: Mapping[str, Any],
        participant_id: str | None = None,
        on_behalf_of_id: str | None = None,
        caller_context: dict[str, Any] | None = None,
        attachment: bytes = b"",
    ) -> Body:
        """Call a tool and return its content.

        Args:
            toolkit: The toolkit's name.
            tool: The tool's name.
            arguments: Arguments that fit its input schema.
            participant_id: Use this participant's private toolkit, if it has one of that name.
            on_behalf_of_id: The participant for whom the call is made.
            caller_context: Passed to the tool unchanged.
            attachment: Bytes sent along with the arguments.

        Raises:
            RoomException: The tool answered with an error, or the room refused.
        """
        request = api.InvokeToolRequest(
            toolkit=toolkit,
            tool=tool,
            arguments=jsontext.raw(dict(arguments)),
            participant_id=participant_id,
            on_behalf_of_id=on_behalf_of_id,
            caller_context=caller_context,
        )
        return await self._room.call(api.INVOKE_TOOL, request, attachment)

    async def invoke_request_tool(
        self,
        *,
        toolkit: str,
        tool: str,
        request: Body,
        participant_id: str | None = None,
        on_behalf_of_id: str | None = None,
        caller_context: dict[str, Any] | None = None,
    ) -> Body:
        """Call a tool that takes a whole content instead of arguments; otherwise as `invoke_tool`."""
        return await self.invoke_tool(
            toolkit=toolkit,
            tool=tool,
            arguments=request.to_json(),
            participant_id=participant_id,
            on_behalf_of_id=on_behalf_of_id,
            caller_context=caller_context,
            attachment=request.get_data() or b"",
        )

    async def list_agents(self) -> list[AgentDescription]:
        """The agents in the room."""
        result = await self._room.call(api.LIST_AGENTS, EMPTY)
        return [AgentDescription.from_json(agent) for agent in result.agents]

    async def list_toolkits(self, participant_id: str | None = None) -> list[ToolkitDescription]:
        """The public toolkits, and the private ones of `participant_id` (by default of this client)."""
        result = await self._room.call(api.LIST_TOOLKITS, api.ListToolkitsRequest(participant_id=participant_id))
        return [ToolkitDescription.from_json(name, toolkit) for name, toolkit in result.tools.items()]
