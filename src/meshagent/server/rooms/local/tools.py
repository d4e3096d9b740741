"""The tools of a room of this process, for callers that are not in the room."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from meshagent.api import jsontext
from meshagent.api.contracts import agents as api
from meshagent.api.contracts.content import Body, EmptyBody
from meshagent.api.contracts.operation import Empty
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Outbox, Participant
from meshagent.server.rooms.handle import ToolDescription
from meshagent.server.services.agents.service import AgentsService


class LocalTools:
    """Implements `ToolAccess`: to the room, a caller is a participant for the length of one call."""

    def __init__(self, agents: AgentsService) -> None:
        self._agents = agents

    async def list(self, caller: Admission) -> Sequence[ToolDescription]:
        caller.scope.require_agents("use_tools")
        with self._visiting(caller) as participant:
            listed = self._agents.list_toolkits(participant, api.ListToolkitsRequest()).tools
        return [
            ToolDescription(
                toolkit=toolkit,
                name=name,
                title=tool["title"],
                description=tool["description"],
                input_schema=tool["input_schema"],
                defs=tool.get("defs") or {},
            )
            for toolkit, described in listed.items()
            for name, tool in described["tools"].items()
            if tool["input_schema"] is not None
        ]

    async def call(self, caller: Admission, toolkit: str, tool: str, arguments: Mapping[str, Any]) -> Body:
        caller.scope.require_agents("use_tools")
        request = api.InvokeToolRequest(toolkit=toolkit, tool=tool, arguments=jsontext.raw(dict(arguments)))
        with self._visiting(caller) as participant:
            return _content(await self._agents.invoke_tool(participant, request, b""))

    @contextmanager
    def _visiting(self, caller: Admission) -> Iterator[Participant]:
        participant = Participant(
            participant_id=f"visitor-{uuid.uuid4()}",
            name=caller.name,
            role=caller.role,
            scope=caller.scope,
            outbox=_NoOutbox(),
            project_id=caller.project_id,
            key_id=caller.key_id,
        )
        try:
            yield participant
        finally:
            self._agents.left(participant)


class _NoOutbox(Outbox):
    """Nothing is sent to somebody who is here for one call."""

    def deliver(self, frames: bytes) -> None:
        return None

    async def sent(self) -> bool:
        return False

    def disconnect(self, code: int, reason: str) -> None:
        return None


def _content(answer: EncodedContent | Empty | Body) -> Body:
    if isinstance(answer, EncodedContent):
        return answer.decoded()
    return EmptyBody() if isinstance(answer, Empty) else answer
