"""`room.agents` on a fake core: what is requested, and what becomes of the answers."""

from __future__ import annotations

import pytest

from meshagent.api.contracts.content import FileBody, TextBody
from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.api.participant import Participant
from meshagent.api.room.agents import AgentsClient
from meshagent.api.room.descriptions import AgentDescription, RequiredSchema, RequiredToolkit, Requirement
from tests.support.fake_core import FakeCore

ADDER = AgentDescription(
    "adder",
    description="adds",
    requires=[RequiredToolkit(name="ui"), RequiredSchema(name="thread")],
    labels=["math"],
)


async def test_agents_are_listed() -> None:
    core = FakeCore()
    core.answers["agent.list_agents"] = lambda header, payload: {"agents": [ADDER.to_json(), {"name": "bare"}]}
    listed, bare = await AgentsClient(room=core).list_agents()
    assert listed.to_json() == ADDER.to_json()
    assert (bare.name, bare.requires, bare.labels) == ("bare", [], [])


async def test_toolkits_are_listed_for_a_participant() -> None:
    core = FakeCore()
    core.answers["agent.list_toolkits"] = lambda header, payload: {
        "tools": {"kit": {"title": "K", "description": "", "tools": {"add": {"title": "Add"}}}}
    }
    [kit] = await AgentsClient(room=core).list_toolkits(participant_id="p")
    assert (kit.name, kit.title, kit.get_tool("add").title) == ("kit", "K", "Add")
    with pytest.raises(NotFoundError, match="subtract"):
        kit.get_tool("subtract")
    assert core.received("agent.list_toolkits") == [({"participant_id": "p"}, b"")]


async def test_a_service_is_called() -> None:
    core = FakeCore()
    await AgentsClient(room=core).make_call(name="bot", url="http://x", arguments={"a": 1})
    assert core.received("agent.call") == [({"name": "bot", "url": "http://x", "arguments": {"a": 1}}, b"")]


@pytest.mark.parametrize("option", ["agent", "agentName"])
async def test_an_agent_is_asked(option: str) -> None:
    core = FakeCore()
    core.answers["agent.ask"] = lambda header, payload: {"answer": {"sum": header["arguments"]["a"] + 1}}
    answer = await AgentsClient(room=core).ask(
        **{option: "adder"},
        arguments={"a": 1},
        on_behalf_of=Participant(id="alice", attributes={}),
        requires=[RequiredToolkit(name="ui", tools=["a"])],
        toolkits={"kit": {}},
    )
    assert answer.json == {"sum": 2}
    [(header, _)] = core.received("agent.ask")
    assert header["agent"] == "adder"
    assert header["on_behalf_of_id"] == "alice"
    assert header["requires"] == [{"toolkit": "ui", "tools": ["a"]}]
    assert header["toolkits"] == {"kit": {}}


async def test_an_ask_needs_the_name_of_an_agent() -> None:
    with pytest.raises(InvalidRequestError, match="agent"):
        await AgentsClient(room=FakeCore()).ask(arguments={})


async def test_a_tool_is_called_with_an_attachment() -> None:
    core = FakeCore()
    core.answers["agent.invoke_tool"] = lambda header, payload: TextBody(text=payload.decode())
    result = await AgentsClient(room=core).invoke_tool(
        toolkit="kit", tool="echo", arguments={"n": 1}, participant_id="p", attachment=b"bytes"
    )
    assert isinstance(result, TextBody)
    assert result.text == "bytes"
    [(header, _)] = core.received("agent.invoke_tool")
    assert (header["toolkit"], header["tool"], header["arguments"]) == ("kit", "echo", {"n": 1})
    assert header["participant_id"] == "p"


async def test_a_request_tool_gets_a_whole_content() -> None:
    core = FakeCore()
    core.answers["agent.invoke_tool"] = lambda header, payload: FileBody(
        data=payload, name=header["arguments"]["name"], mime_type="text/plain"
    )
    file = FileBody(data=b"x", name="f", mime_type="m")
    result = await AgentsClient(room=core).invoke_request_tool(toolkit="kit", tool="t", request=file)
    assert isinstance(result, FileBody)
    assert (result.name, result.data) == ("f", b"x")


def test_a_requirement_names_a_toolkit_or_a_schema() -> None:
    assert Requirement.from_json({"schema": "thread"}).to_json() == {"schema": "thread"}
    with pytest.raises(InvalidRequestError):
        Requirement.from_json({"name": "x"})
