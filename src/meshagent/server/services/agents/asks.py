"""Asks of agents that participants host: with the toolkits they need, and the answer when it comes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from meshagent.api.contracts import agents as api
from meshagent.api.errors import NotFoundError, RoomException
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.hosting import HostedToolkit
from meshagent.server.services.agents.ports import BuiltInToolkit
from meshagent.server.services.agents.registry import Registry, describe_built_in, describe_tool, describe_toolkit
from meshagent.server.services.agents.tool_calls import host_left


@dataclass(frozen=True, slots=True)
class _OpenAsk:
    caller: Participant
    host: Participant
    agent: str
    answer: asyncio.Future[api.AskResult]


class Asks:
    """The asks of one room that wait for their agents, without a time limit.

    Args:
        room: The room.
        registry: Where agents and toolkits are registered.
        built_in: The room's own toolkits, by name.
    """

    def __init__(self, room: RoomContext, registry: Registry, built_in: Mapping[str, BuiltInToolkit]) -> None:
        self._room = room
        self._registry = registry
        self._built_in = built_in
        self._open: dict[str, _OpenAsk] = {}

    def start(self, caller: Participant, request: api.AskRequest) -> asyncio.Future[api.AskResult]:
        """Ask an agent, and hand along the toolkits that the request requires.

        Raises:
            NotFoundError: No such agent, or the caller cannot see a required toolkit or tool.
            ConnectionLostError: The agent left before it answered.
            RoomException: The agent failed; the text is its own.
        """
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
        answer: asyncio.Future[api.AskResult] = asyncio.get_running_loop().create_future()
        self._open[task_id] = _OpenAsk(caller, agent.host, agent.name, answer)
        return answer

    def answered(self, host: Participant, answer: api.AskAnswer) -> None:
        """An agent's answer.

        Raises:
            NotFoundError: The host has no open ask with that task id, or its caller has stopped waiting.
        """
        ask = self._open.get(answer.task_id)
        if ask is None or ask.host is not host:
            raise NotFoundError(f"no ask with the task id {answer.task_id!r} waits for an answer of this participant")
        del self._open[answer.task_id]
        if ask.answer.done():
            raise NotFoundError(f"the caller of the ask {answer.task_id!r} has stopped waiting")
        if answer.error is not None:
            ask.answer.set_exception(RoomException(answer.error))
        else:
            ask.answer.set_result(api.AskResult(answer=answer.answer, caller_context=answer.caller_context))

    def left(self, participant: Participant) -> None:
        """Fail the asks whose host has left, and forget those whose caller has."""
        for task_id, ask in list(self._open.items()):
            if ask.host is participant:
                del self._open[task_id]
                if not ask.answer.done():
                    ask.answer.set_exception(host_left(participant, f"the ask of {ask.agent}"))
            elif ask.caller is participant:
                del self._open[task_id]
                ask.answer.cancel()

    def _required_toolkits(self, request: api.AskRequest, viewer_id: str) -> list[dict[str, Any]]:
        described = []
        for name, tools in _toolkit_requirements(request):
            hosted = self._registry.find_toolkit(name, viewer_id)
            available = hosted.tools if hosted is not None else self._built_in_tools(name)
            if available is None:
                raise NotFoundError(f"the required toolkit {name!r} is not in this room")
            missing = [tool for tool in tools or () if tool not in available]
            if missing:
                raise NotFoundError(f"the required toolkit {name!r} has no tool {missing[0]!r}")
            entry = _toolkit_head(name, hosted, self._built_in.get(name))
            chosen = {tool: available[tool] for tool in (available if tools is None else tools)}
            # Hosts refuse tools without a schema, which are request tools (protocol 9.8).
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


def _toolkit_requirements(request: api.AskRequest) -> list[tuple[str, list[str] | None]]:
    """Names of required toolkits with the tools wanted of each, None for all; both spellings (protocol 9.7)."""
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
        described = describe_built_in(built_in)
    return {"name": name, **{key: described[key] for key in ("title", "description", "thumbnail_url")}}
