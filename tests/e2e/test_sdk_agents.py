"""Toolkits and agents through the SDK, between two and three participants of a real room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.agents import AgentCallContext, TaskRunner
from meshagent.api import RequiredToolkit, RoomClient, RoomException
from meshagent.api.errors import NotFoundError, PermissionDeniedError
from meshagent.api.messaging import (
    Body,
    EmptyResponse,
    FileRequest,
    FileResponse,
    JsonRequest,
    JsonResponse,
    LinkResponse,
    RawOutputs,
    TextRequest,
    TextResponse,
)
from meshagent.tools import RemoteToolkit, RequestTool, ToolContext, tool
from meshagent.tools.tool import ToolResult
from tests.support.chatting import joined, working
from tests.support.server import TestServer

ANSWERS: dict[str, Body] = {
    "json": JsonResponse(json={"result": [1, None, "é"]}),
    "text": TextResponse(text="three"),
    "empty": EmptyResponse(),
    "link": LinkResponse(url="https://example.com", name="x"),
    "file": FileResponse(data=bytes(range(256)) * 1000, name="a.bin", mime_type="application/octet-stream"),
    "raw": RawOutputs(outputs=[{"type": "message", "content": []}]),
}


@tool
async def answer(kind: str) -> Any:
    """An answer of that kind."""
    return ANSWERS[kind]


@tool
async def refuse() -> None:
    """Nothing but an error."""
    raise RoomException("I would rather not")


@tool
async def add_one(number: int) -> dict[str, int]:
    """The next number."""
    await asyncio.sleep(0)
    return {"next": number + 1}


class Mirror(RequestTool):
    """Answers with the content that it was given."""

    async def execute(self, context: ToolContext, request: Body) -> ToolResult:
        return request


async def call(room: RoomClient, toolkit: str, name: str, **arguments: Any) -> Body:
    return await room.agents.invoke_tool(toolkit=toolkit, tool=name, arguments=arguments)


async def test_each_kind_of_answer_comes_through(server: TestServer) -> None:
    async with (
        joined(server, "host", role="tool") as host,
        RemoteToolkit("answers", [answer, refuse]).hosted(host),
        joined(server, "alice") as alice,
    ):
        for kind, expected in ANSWERS.items():
            assert await call(alice, "answers", "answer", kind=kind) == expected
        with pytest.raises(RoomException, match="I would rather not"):
            await call(alice, "answers", "refuse")
        with pytest.raises(RoomException, match="sort"):
            await call(alice, "answers", "answer", sort="text")
        with pytest.raises(NotFoundError):
            await call(alice, "answers", "question")


@pytest.mark.parametrize(
    "content",
    [
        TextRequest(text="hello"),
        JsonRequest(json={"a": 1}),
        FileRequest(data=b"\0" * 200_000, name="a.bin", mime_type="application/octet-stream"),
    ],
    ids=lambda content: content.type,
)
async def test_a_tool_may_take_a_whole_content(server: TestServer, content: Body) -> None:
    async with (
        joined(server, "host", role="tool") as host,
        RemoteToolkit("mirrors", [Mirror(name="mirror")]).hosted(host),
        joined(server, "alice") as alice,
    ):
        assert await alice.agents.invoke_request_tool(toolkit="mirrors", tool="mirror", request=content) == content


async def test_a_host_that_vanishes_in_the_middle_of_calls_frees_its_callers(server: TestServer) -> None:
    begun = asyncio.Semaphore(0)

    @tool
    async def wait() -> None:
        """Nothing, for ever."""
        begun.release()
        await asyncio.Event().wait()

    async with (
        joined(server, "alice") as alice,
        joined(server, "bob") as bob,
        joined(server, "host", role="tool") as host,
        RemoteToolkit("slow", [wait]).hosted(host),
    ):
        calls = [asyncio.ensure_future(call(caller, "slow", "wait")) for caller in (alice, bob, bob)]
        for _ in calls:
            await asyncio.wait_for(begun.acquire(), 5)
        socket = host.protocol._socket  # type: ignore[attr-defined]  # the transport's own
        socket._response.connection.transport.abort()
        for outcome in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5):
            assert isinstance(outcome, RoomException)
            assert "left the room" in str(outcome)


async def test_a_thousand_calls_at_once_through_one_toolkit(server: TestServer) -> None:
    async with (
        joined(server, "host", role="tool") as host,
        RemoteToolkit("numbers", [add_one]).hosted(host),
        joined(server, "alice") as alice,
        joined(server, "bob") as bob,
    ):
        answers = await asyncio.gather(
            *(call((alice, bob)[number % 2], "numbers", "add_one", number=number) for number in range(1000))
        )
        assert [body.json["next"] for body in answers if isinstance(body, JsonResponse)] == list(range(1, 1001))


def user_interface(name: str) -> RemoteToolkit:
    """A private toolkit `ui`, through which an agent asks a person."""

    @tool
    async def ask_user(question: str, context: ToolContext) -> str:
        """Show a question."""
        behalf = "" if context.on_behalf_of is None else f" for {context.on_behalf_of.id}"
        return f"{name}: {question}?{behalf}"

    return RemoteToolkit("ui", [ask_user], public=False)


async def test_a_private_toolkit_is_answered_by_the_participant_who_is_named(server: TestServer) -> None:
    async with (
        joined(server, "alice") as alice,
        joined(server, "bob") as bob,
        joined(server, "bot", role="agent") as bot,
        user_interface("alice").hosted(alice),
        user_interface("bob").hosted(bob),
    ):
        assert "ui" not in [toolkit.name for toolkit in await bot.agents.list_toolkits()]
        with pytest.raises(NotFoundError):
            await call(bot, "ui", "ask_user", question="who")
        for person, name in ((alice, "alice"), (bob, "bob")):
            person_id = person.local_participant.id
            [seen] = [entry for entry in await bot.agents.list_toolkits(person_id) if entry.name == "ui"]
            assert [entry.name for entry in seen.tools] == ["ask_user"]
            answered = await bot.agents.invoke_tool(
                toolkit="ui",
                tool="ask_user",
                arguments={"question": "how"},
                participant_id=person_id,
                on_behalf_of_id=person_id,
            )
            assert answered == TextResponse(text=f"{name}: how? for {person_id}")
            assert await call(person, "ui", "ask_user", question="me") == TextResponse(text=f"{name}: me?")


class Consultant(TaskRunner):
    """Uses every tool that it is handed, and says what came of it."""

    async def ask(self, *, context: AgentCallContext, arguments: dict[str, Any]) -> Any:
        answers: dict[str, Any] = {}
        tool_context = ToolContext(room=context.room, caller=context.caller, on_behalf_of=context.on_behalf_of)
        for toolkit in context.toolkits:
            for entry in toolkit.tools:
                body = await entry.invoke(tool_context, arguments)
                answers[f"{toolkit.name}.{entry.name}"] = body.to_json()
        return answers


async def test_an_agent_is_handed_the_toolkits_that_the_ask_requires(server: TestServer) -> None:
    consultant = Consultant(name="consultant", supports_tools=True, input_schema={"type": "object"})
    async with (
        working(server, consultant, name="consultant"),
        joined(server, "alice") as alice,
        joined(server, "bob") as bob,
        user_interface("alice").hosted(alice),
        user_interface("bob").hosted(bob),
        RemoteToolkit("answers", [answer, refuse]).hosted(bob),
    ):
        asked = await alice.agents.ask(
            agent="consultant", arguments={"question": "why"}, requires=[RequiredToolkit(name="ui")]
        )
        assert asked.json["ui.ask_user"]["text"].startswith("alice: why?")
        asked = await bob.agents.ask(
            agentName="consultant", arguments={"kind": "text"}, toolkits={"answers": {"use": {"answer": {}}}}
        )
        assert asked.json["answers.answer"]["text"] == "three"
        with pytest.raises(RoomException, match="nothing"):
            await alice.agents.ask(agent="consultant", arguments={}, requires=[RequiredToolkit(name="nothing")])
        requires = [RequiredToolkit(name="answers", tools=["fly"])]
        with pytest.raises(RoomException, match="fly"):
            await alice.agents.ask(agent="consultant", arguments={}, requires=requires)
        with pytest.raises(PermissionDeniedError):
            await alice.agents.ask(agent="consultant", arguments={}, on_behalf_of=bob.local_participant)
        with pytest.raises(NotFoundError):
            await alice.agents.ask(agent="nobody", arguments={})


async def test_two_hosts_of_one_name_serve_one_after_the_other(server: TestServer) -> None:
    def greeter(name: str) -> RemoteToolkit:
        @tool
        async def greet() -> str:
            """Who is there."""
            return name

        return RemoteToolkit("greeters", [greet])

    async with joined(server, "alice") as alice, joined(server, "second") as second:
        async with joined(server, "first") as first, greeter("first").hosted(first):
            await greeter("second").start(room=second)
            assert await call(alice, "greeters", "greet") == TextResponse(text="first")
        assert await call(alice, "greeters", "greet") == TextResponse(text="second")
