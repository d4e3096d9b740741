"""Agents that are asked, in a real room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from meshagent.agents import (
    AgentCallContext,
    DynamicLLMTaskRunner,
    LLMTaskRunner,
    PydanticAgent,
    TaskRunner,
)
from meshagent.agents.llm.scripted import ScriptedAdapter, call, say
from meshagent.api import RequiredToolkit, RoomException
from meshagent.tools import RemoteToolkit, Toolkit, tool
from tests.support.chatting import joined, working
from tests.support.server import TestServer

NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}


class Adder(TaskRunner):
    def __init__(self) -> None:
        super().__init__(
            name="adder",
            title="Adder",
            description="adds",
            input_schema=NUMBERS,
            output_schema={"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]},
            labels=["math"],
        )

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        if arguments["a"] == 13:
            raise ValueError("13 is unlucky")
        if arguments["a"] == 14:
            return {"total": "wrong form"}
        return {"sum": arguments["a"] + arguments["b"]}


class Delegator(TaskRunner):
    """Lets another agent do the work."""

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        return (await context.room.agents.ask(agent="adder", arguments={"a": 1, "b": 2})).json


async def test_an_agent_is_listed_and_asked(server: TestServer) -> None:
    async with working(server, Adder(), name="adder"), joined(server, "alice") as alice:
        [described] = [agent for agent in await alice.agents.list_agents() if agent.name == "adder"]
        assert (described.title, described.description, described.labels) == ("Adder", "adds", ["math"])
        assert described.input_schema == NUMBERS
        answer = await alice.agents.ask(agent="adder", arguments={"a": 1, "b": 2})
        assert answer.json == {"sum": 3}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"a": 13, "b": 1}, "13 is unlucky"), ({"a": 14, "b": 1}, "sum"), ({"a": "x", "b": 1}, "invalid arguments")],
)
async def test_a_failure_reaches_the_caller(server: TestServer, arguments: dict[str, Any], reason: str) -> None:
    async with working(server, Adder(), name="adder"), joined(server, "alice") as alice:
        with pytest.raises(RoomException, match=reason):
            await alice.agents.ask(agent="adder", arguments=arguments)
        assert (await alice.agents.ask(agent="adder", arguments={"a": 1, "b": 1})).json == {"sum": 2}


async def test_one_agent_asks_another(server: TestServer) -> None:
    async with (
        working(server, Adder(), name="adder"),
        working(server, Delegator(name="delegator"), name="delegator"),
        joined(server, "alice") as alice,
    ):
        assert (await alice.agents.ask(agent="delegator", arguments={})).json == {"sum": 3}


async def test_a_stopped_agent_is_gone_and_its_callers_are_told(server: TestServer) -> None:
    begun = asyncio.Event()

    class Sleeper(TaskRunner):
        async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
            begun.set()
            await asyncio.Event().wait()

    sleeper = Sleeper(name="sleeper")
    async with joined(server, "alice") as alice, joined(server, "host", role="agent") as host:
        await sleeper.start(room=host)
        asking = asyncio.ensure_future(alice.agents.ask(agent="sleeper", arguments={}))
        await asyncio.wait_for(begun.wait(), 5)
        await sleeper.stop()
        with pytest.raises(RoomException, match="stopped"):
            await asking
        assert all(agent.name != "sleeper" for agent in await alice.agents.list_agents())
        await sleeper.start(room=host)
        await sleeper.stop()


async def test_an_agent_comes_back_with_its_connection(server: TestServer) -> None:
    async with working(server, Adder(), name="adder") as host, joined(server, "alice") as alice:
        back = asyncio.Event()
        host.on("reconnected", back.set)
        socket = host.protocol._socket  # type: ignore[attr-defined]  # the transport's own
        socket._response.connection.transport.abort()
        await asyncio.wait_for(back.wait(), 5)
        for _ in range(500):  # it registers again in a moment of its own
            if any(agent.name == "adder" for agent in await alice.agents.list_agents()):
                break
            await asyncio.sleep(0.01)
        assert (await alice.agents.ask(agent="adder", arguments={"a": 2, "b": 2})).json == {"sum": 4}


class Question(BaseModel):
    words: list[str]


class Answer(BaseModel):
    longest: str


class Longest(PydanticAgent[Question, Answer]):
    def __init__(self) -> None:
        super().__init__(name="longest", input_model=Question, output_model=Answer)

    async def ask_model(self, context: AgentCallContext, arguments: Question) -> Answer:
        return Answer(longest=max(arguments.words, key=len))


async def test_models_type_an_agent(server: TestServer) -> None:
    async with working(server, Longest(), name="longest"), joined(server, "alice") as alice:
        answer = await alice.agents.ask(agent="longest", arguments={"words": ["a", "abc", "ab"]})
        assert answer.json == {"longest": "abc"}
        with pytest.raises(RoomException, match="words"):
            await alice.agents.ask(agent="longest", arguments={"words": 1})


async def test_a_model_does_the_work_with_tools_of_the_caller(server: TestServer) -> None:
    seen: list[str] = []

    @tool
    def note(text: str) -> str:
        """Take a note."""
        seen.append(text)
        return "noted"

    adapter = ScriptedAdapter([call("note", text="remember"), say("Done.")])
    runner = LLMTaskRunner(name="helper", llm_adapter=adapter, rules=["be brief"])
    async with (
        working(server, runner, name="helper"),
        joined(server, "alice") as alice,
        RemoteToolkit("notes", [note], public=False).hosted(alice),
    ):
        answer = await alice.agents.ask(
            agent="helper", arguments={"prompt": "note it"}, requires=[RequiredToolkit(name="notes")]
        )
        assert answer.json == {"text": "Done."}
    assert seen == ["remember"]
    assert adapter.model.requests[0].instructions == "be brief"


async def test_the_caller_may_choose_the_form_of_the_answer(server: TestServer) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5}}, "required": ["n"]}
    runner = DynamicLLMTaskRunner(name="helper", llm_adapter=ScriptedAdapter())
    async with working(server, runner, name="helper"), joined(server, "alice") as alice:
        answer = await alice.agents.ask(agent="helper", arguments={"prompt": "a number", "output_schema": schema})
        assert answer.json == {"n": 5}


async def test_own_and_required_toolkits_are_in_the_context(server: TestServer) -> None:
    class Lister(TaskRunner):
        async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
            return {toolkit.name: [entry.name for entry in toolkit.tools] for toolkit in context.toolkits}

    @tool
    def one() -> str:
        """The first."""
        return "1"

    @tool
    def two() -> str:
        """The second."""
        return "2"

    lister = Lister(
        name="lister", toolkits=[Toolkit("own", [one])], requires=[RequiredToolkit(name="hosted", tools=["two"])]
    )
    async with (
        joined(server, "alice") as alice,
        RemoteToolkit("hosted", [one, two]).hosted(alice),
        working(server, lister, name="lister"),
    ):
        answer = await alice.agents.ask(agent="lister", arguments={})
        assert answer.json == {"own": ["one"], "hosted": ["two"]}
