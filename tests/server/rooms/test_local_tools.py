"""Tools of a room for callers that are not in the room, through the room's handle."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api.contracts.agents import RegisteredTool, RegisterToolkitRequest
from meshagent.api.contracts.content import JsonBody
from meshagent.api.errors import ConnectionLostError, NotFoundError, PermissionDeniedError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.rooms.local.tools import LocalTools
from tests.support.agents_room import AgentsRoom
from tests.support.fake_room import fake_admission, fake_participant

CALLER = fake_admission("visitor")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}}}


class Tools:
    """A room with a toolkit of two tools: `add` takes JSON, `upload` a whole content."""

    def __init__(self) -> None:
        self.agents = AgentsRoom()
        self.room = self.agents.room
        self.host = self.room.join(fake_participant("host", role="agent"))
        self.access = LocalTools(self.agents.service)
        self.register("tools", public=True)

    def register(self, name: str, *, public: bool, host: Participant | None = None) -> None:
        request = RegisterToolkitRequest(
            name=name,
            public=public,
            tools={
                "add": RegisteredTool(title="Add", description="Adds.", input_schema=SCHEMA),
                "upload": RegisteredTool(title="Upload"),
            },
        )
        self.agents.service.register_toolkit(host or self.host, request)

    def call(self, tool: str = "add") -> asyncio.Task[Any]:
        return asyncio.ensure_future(self.access.call(CALLER, "tools", tool, {"a": 1}))

    async def forwarded(self) -> int:
        """Wait until the host was asked; the id of the message that asks."""
        await asyncio.sleep(0)
        asked = [n for n, event in enumerate(self.room.events, 1) if event.message_type == "agent.tool_call.tools"]
        return asked[-1]


async def test_tools_with_json_arguments_are_listed() -> None:
    tools = Tools()
    listed = [tool for tool in await tools.access.list(CALLER) if tool.toolkit == "tools"]
    [add] = listed
    assert (add.name, add.title, add.description, add.input_schema) == ("add", "Add", "Adds.", SCHEMA)


async def test_private_toolkits_of_others_are_out_of_sight() -> None:
    tools = Tools()
    tools.register("private", public=False)
    assert "private" not in {tool.toolkit for tool in await tools.access.list(CALLER)}


async def test_a_call_gives_the_hosts_answer() -> None:
    tools = Tools()
    call = tools.call()
    message_id = await tools.forwarded()
    tools.agents.calls.host_answered(tools.host, message_id, EncodedContent(b'{"type":"json","json":{"sum":2}}'), None)
    assert await call == JsonBody(json={"sum": 2})


async def test_a_call_ends_when_its_host_leaves() -> None:
    tools = Tools()
    call = tools.call()
    await tools.forwarded()
    tools.room.leave(tools.host, tools.agents.service)
    with pytest.raises(ConnectionLostError):
        await call


async def test_a_call_that_is_given_up_leaves_nothing_behind() -> None:
    tools = Tools()
    call = tools.call()
    await tools.forwarded()
    assert len(tools.agents.calls) == 1
    call.cancel()
    await asyncio.wait([call])
    assert len(tools.agents.calls) == 0


async def test_unknown_tools_and_tokens_without_the_grant_are_refused() -> None:
    tools = Tools()
    with pytest.raises(NotFoundError):
        await tools.call("subtract")
    stranger = fake_admission("stranger", scope=ApiScope())
    with pytest.raises(PermissionDeniedError):
        await tools.access.list(stranger)
    with pytest.raises(PermissionDeniedError):
        await tools.access.call(stranger, "tools", "add", {})
