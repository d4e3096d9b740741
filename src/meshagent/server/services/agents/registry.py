"""Toolkits and agents that participants host, and who can see them (protocol 9.2 to 9.5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts.agents import RegisterAgentRequest, RegisteredTool, RegisterToolkitRequest
from meshagent.api.errors import AlreadyExistsError, LimitExceededError
from meshagent.server.kernel.byte_budget import ByteBudget
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.hosting import HostedAgent, HostedToolkit, HostLink
from meshagent.server.services.agents.ports import BuiltInToolkit

MAX_REGISTRATIONS_PER_PARTICIPANT = 1000

MAX_REGISTRATION_BYTES = 4 * 1024 * 1024
"""JSON text of all toolkits and agents that one participant registers."""


class Registry:
    """Registered toolkits and agents, oldest first; of several with one name the oldest is used.

    Args:
        budget: Bytes of all of them together; None for no bound.
    """

    def __init__(self, budget: ByteBudget | None = None) -> None:
        self._budget = budget if budget is not None else ByteBudget()
        self._toolkits: dict[str, HostedToolkit] = {}
        self._agents: dict[str, HostedAgent] = {}

    def add_toolkit(
        self,
        host: Participant,
        request: RegisterToolkitRequest,
        link: HostLink,
        annotations: Mapping[str, Any] | None = None,
    ) -> HostedToolkit:
        """Register a toolkit whose calls go over `link`.

        Raises:
            AlreadyExistsError: The participant hosts one of that name; calls could not tell them apart.
            LimitExceededError: The participant has too many registrations, or it or the room too many bytes of them.
        """
        size = len(jsontext.dumps(request))
        self._check_bounds(host, size)
        if any(known.host is host and known.name == request.name for known in self._toolkits.values()):
            raise AlreadyExistsError(f"toolkit {request.name!r} is already registered by this participant")
        toolkit = HostedToolkit(
            host=host,
            name=request.name,
            title=request.title,
            description=request.description,
            thumbnail_url=request.thumbnail_url,
            public=request.public,
            tools=request.tools,
            link=link,
            annotations=annotations or {},
            size=size,
        )
        self._toolkits[toolkit.id] = toolkit
        self._budget.change(size)
        return toolkit

    def add_agent(self, host: Participant, request: RegisterAgentRequest) -> HostedAgent:
        """Register an agent; several of one name are allowed."""
        size = len(jsontext.dumps(request))
        self._check_bounds(host, size)
        agent = HostedAgent(host=host, registration=request, size=size)
        self._agents[agent.id] = agent
        self._budget.change(size)
        return agent

    def remove(self, registration_id: str, host: Participant) -> None:
        """Remove a registration of `host`; an unknown id is no error (protocol 9.2)."""
        toolkit = self._toolkits.get(registration_id)
        if toolkit is not None and toolkit.host is host:
            del self._toolkits[registration_id]
            self._budget.change(-toolkit.size)
        agent = self._agents.get(registration_id)
        if agent is not None and agent.host is host:
            del self._agents[registration_id]
            self._budget.change(-agent.size)

    def remove_all_of(self, host: Participant) -> None:
        """Remove everything that a participant hosts."""
        self._budget.change(-sum(self._sizes_of(host)))
        self._toolkits = {key: entry for key, entry in self._toolkits.items() if entry.host is not host}
        self._agents = {key: entry for key, entry in self._agents.items() if entry.host is not host}

    def agents(self) -> list[HostedAgent]:
        return list(self._agents.values())

    def find_agent(self, name: str) -> HostedAgent | None:
        return next((agent for agent in self._agents.values() if agent.name == name), None)

    def visible_toolkits(self, viewer_id: str) -> dict[str, HostedToolkit]:
        """Toolkits that the participant `viewer_id` can see, by name: its own private ones hide public ones."""
        return {toolkit.name: toolkit for toolkit in reversed(list(self._visible(viewer_id)))}

    def find_toolkit(self, name: str, viewer_id: str) -> HostedToolkit | None:
        """The toolkit that a call for `viewer_id` reaches: its private one of that name, else a public one."""
        public: list[HostedToolkit] = []
        for toolkit in self._toolkits.values():
            if toolkit.name != name:
                continue
            if not toolkit.public and toolkit.host.id == viewer_id:
                return toolkit
            if toolkit.public:
                public.append(toolkit)
        if len(public) < 2:
            return public[0] if public else None
        return next((toolkit for toolkit in public if toolkit.host.outbox.seems_present()), public[0])

    def _visible(self, viewer_id: str) -> Iterator[HostedToolkit]:
        yield from (entry for entry in self._toolkits.values() if not entry.public and entry.host.id == viewer_id)
        yield from (entry for entry in self._toolkits.values() if entry.public)

    def _check_bounds(self, host: Participant, size: int) -> None:
        hosted = self._sizes_of(host)
        if len(hosted) >= MAX_REGISTRATIONS_PER_PARTICIPANT:
            limit = MAX_REGISTRATIONS_PER_PARTICIPANT
            raise LimitExceededError(f"a participant can register at most {limit} toolkits and agents", limit=limit)
        if sum(hosted) + size > MAX_REGISTRATION_BYTES:
            limit = MAX_REGISTRATION_BYTES
            raise LimitExceededError(
                f"the registrations of a participant can have {limit:,} bytes at most", limit=limit
            )
        self._budget.check(size)

    def _sizes_of(self, host: Participant) -> list[int]:
        hosted = [toolkit.size for toolkit in self._toolkits.values() if toolkit.host is host]
        return hosted + [agent.size for agent in self._agents.values() if agent.host is host]


def describe_agent(agent: HostedAgent) -> dict[str, Any]:
    """An agent as listings show it."""
    described = msgspec.to_builtins(agent.registration)
    described["title"] = described["title"] or agent.name
    described["description"] = described["description"] or ""
    described["requires"] = [_complete_requirement(entry) for entry in described["requires"] or []]
    described["labels"] = described["labels"] or []
    described["supports_tools"] = bool(described["supports_tools"])
    return dict(described)


def _complete_requirement(requirement: dict[str, Any]) -> dict[str, Any]:
    """Clients fail on a toolkit requirement without `tools` (protocol 9.3)."""
    return {"tools": None, **requirement} if "toolkit" in requirement else requirement


def describe_tool(name: str, tool: RegisteredTool) -> dict[str, Any]:
    """A tool as listings show it; `input_spec` is what current clients read (protocol 14.1)."""
    described = {
        "title": tool.title or name,
        "description": tool.description or "",
        "input_schema": tool.input_schema,
        "thumbnail_url": tool.thumbnail_url,
        "defs": tool.defs,
        "supports_context": bool(tool.supports_context),
        "input_spec": tool.input_spec,
    }
    return {**described, "pricing": tool.pricing} if tool.pricing is not None else described


def describe_toolkit(toolkit: HostedToolkit) -> dict[str, Any]:
    """A toolkit as listings show it: `tools` maps names to descriptions."""
    return {
        "title": toolkit.title or toolkit.name,
        "description": toolkit.description or "",
        "thumbnail_url": toolkit.thumbnail_url,
        "participant_id": toolkit.host.id,
        "tools": {name: describe_tool(name, tool) for name, tool in toolkit.tools.items()},
    }


def describe_built_in(toolkit: BuiltInToolkit) -> dict[str, Any]:
    """A toolkit of the room itself as listings show it."""
    return {
        "title": toolkit.title,
        "description": toolkit.description,
        "thumbnail_url": None,
        "participant_id": None,
        "tools": {name: describe_tool(name, tool) for name, tool in toolkit.tools().items()},
    }
