"""The agents of a room without sockets: both dialects over a `FakeRoom`, as the room factory puts them together."""

from __future__ import annotations

from typing import Any

from meshagent.api.contracts.agents import RegisteredTool, RegisterToolkitRequest
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, ApiScope
from meshagent.server.dispatch.flat.host_link import FlatHostAnswers, FlatHostLink
from meshagent.server.dispatch.host_answers import HostAnswers
from meshagent.server.dispatch.invoke.dialect import InvokeDialect
from meshagent.server.dispatch.invoke.host_link import InvokeHostLink
from meshagent.server.dispatch.invoke.message_stream import MessageStream
from meshagent.server.dispatch.invoke.room_tools import StreamTool
from meshagent.server.dispatch.invoke.toolkits import ToolkitRequests
from meshagent.server.kernel.dispatcher import Dispatcher, OperationTable
from meshagent.server.services.agents.service import AgentsService
from meshagent.server.services.agents.tool_calls import MAX_CALLS_PER_CALLER, ToolCalls
from tests.support.fake_caller import FakeCaller
from tests.support.fake_room import FakeRoom

SCHEMA: dict[str, Any] = {"type": "object"}

TOOLKIT: dict[str, Any] = {
    "name": "tools",
    "public": True,
    "tools": {
        "add": {"input_spec": {"types": ["json"], "stream": False, "schema": SCHEMA}},
        "count": {"input_spec": {"types": ["control"], "stream": True}},
    },
}
"""A registration in the invoke dialect: `add` takes JSON, `count` streams."""


class FakeCallRouter:
    """A `CallRouter` that keeps what was called."""

    def __init__(self) -> None:
        self.called: list[tuple[str, str, Any]] = []

    async def call(self, caller: object, name: str, url: str, arguments: Any) -> None:
        self.called.append((name, url, arguments))


class AgentsRoom:
    """A room with nothing but agents, toolkits and streams between participants."""

    def __init__(self, *, max_calls_per_caller: int = MAX_CALLS_PER_CALLER) -> None:
        self.room = FakeRoom()
        self.call_router = FakeCallRouter()
        self.calls = ToolCalls(self.room, max_calls_per_caller=max_calls_per_caller)
        self.service = AgentsService(self.room, self.calls, self.call_router, {}, FlatHostLink(self.room))
        operations = OperationTable(self.service.operations())
        answers = HostAnswers(self.calls)
        link = InvokeHostLink(self.room)
        messaging = {
            "stream": StreamTool(lambda stream: MessageStream(stream, self.room, self.calls, link), "messaging")
        }
        toolkits = {"messaging": messaging}
        self.invoke = InvokeDialect(operations, toolkits, self.service, self.calls, answers)
        requests = ToolkitRequests(self.room, self.service, toolkits, link)
        self.dispatcher = Dispatcher(
            operations,
            {**FlatHostAnswers(answers, self.service).one_way_handlers(), **self.invoke.one_way_handlers()},
            {**self.invoke.request_handlers(), **requests.request_handlers()},
        )

    def join(self, name: str, *, role: str = "user", scope: ApiScope = FULL_ROOM_SCOPE) -> FakeCaller:
        """Somebody who is in the room."""
        caller = FakeCaller(name, role=role, scope=scope)
        self.room.join(caller.participant)
        return caller

    def leave(self, caller: FakeCaller) -> None:
        """Somebody leaves, and the services are told as a room tells them."""
        self.room.leave(caller.participant, self.service, self.invoke)

    def send(
        self, caller: FakeCaller, message_type: str, header: Any, payload: bytes = b"", message_id: int = 1
    ) -> None:
        caller.send(self.dispatcher, message_type, header, payload, message_id)

    def ask(self, caller: FakeCaller, message_type: str, header: Any, payload: bytes = b"") -> Any:
        """The answer to a request, which is all that the caller is sent."""
        self.send(caller, message_type, header, payload)
        return caller.take_answer()


def flat_toolkit(name: str = "math", *, public: bool = True, tool: str = "add") -> RegisterToolkitRequest:
    """A registration in the flat dialect with one tool that takes JSON, and `raw`, which takes whole contents."""
    tools = {tool: RegisteredTool(input_schema=SCHEMA), "raw": RegisteredTool()}
    return RegisterToolkitRequest(name=name, public=public, tools=tools)
