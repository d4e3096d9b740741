"""The loop around a model: tools, streaming, structured answers, failures, cancelling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from meshagent.agents.llm import (
    AgentChatContext,
    Fail,
    LLMEvent,
    Reply,
    ScriptedAdapter,
    TextDelta,
    TextFinished,
    TextStarted,
    ToolCallFinished,
    ToolCallStarted,
    UsageReported,
)
from meshagent.agents.llm.scripted import call, say
from meshagent.api.contracts.content import JsonBody
from meshagent.api.errors import InvalidRequestError, LimitExceededError, NotFoundError, UnavailableError
from meshagent.api.room.client import RoomClient
from meshagent.tools import ToolContext, Toolkit, tool
from tests.support.scripted_server import ScriptedServer, memory_pair


@tool(rules=["add exactly"])
async def add(a: int, b: int) -> int:
    if a < 0:
        raise ValueError("too small")
    return a + b


@tool
async def whoami(context: ToolContext) -> str:
    return f"{context.caller.id} for {context.beneficiary.id}"


MATH = Toolkit(name="math", tools=[add, whoami], rules=["be exact"])


@pytest.fixture
async def room() -> AsyncIterator[RoomClient]:
    client, end = memory_pair()
    async with ScriptedServer(end), RoomClient(protocol=client) as room:
        yield room


async def test_a_plain_answer_streams_and_joins_the_conversation(room: RoomClient) -> None:
    adapter = ScriptedAdapter([say("hello to you")])
    context = adapter.create_chat_context()
    context.append_user_message("hello")
    events: list[LLMEvent] = []
    assert await adapter.next(context=context, room=room, event_handler=events.append) == "hello to you"
    assert events == [
        TextStarted(),
        TextDelta("hello ", "hello "),
        TextDelta("to ", "hello to "),
        TextDelta("you", "hello to you"),
        TextFinished("hello to you"),
        UsageReported("scripted", 4, 3),
    ]
    assert context.messages[-1] == {"role": "assistant", "content": "hello to you"}


async def test_tools_are_called_until_the_model_is_done(room: RoomClient) -> None:
    adapter = ScriptedAdapter([say("let me see", ("add", {"a": 1, "b": 2})), say("it is 3")])
    context = AgentChatContext(rules=["be kind"])
    context.append_user_message("what is 1 + 2?")
    events: list[LLMEvent] = []

    async def on_event(event: LLMEvent) -> None:
        events.append(event)

    assert await adapter.next(context=context, room=room, toolkits=[MATH], event_handler=on_event) == "it is 3"
    first, second = adapter.model.requests
    assert first.instructions == "be kind\nbe exact\nadd exactly"
    assert [definition.name for definition in first.tools] == ["add", "whoami"]
    call_id = second.messages[2]["call_id"]
    assert list(second.messages[1:]) == [
        {"role": "assistant", "content": "let me see"},
        {"type": "function_call", "call_id": call_id, "name": "add", "arguments": '{"a": 1, "b": 2}'},
        {"type": "function_call_output", "call_id": call_id, "output": '{"result":3}'},
    ]
    started = ToolCallStarted(call_id, "math", "add", {"a": 1, "b": 2})
    assert started in events
    assert events[events.index(started) + 1] == ToolCallFinished(call_id, "math", "add", JsonBody(json={"result": 3}))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (call("add", a=-1, b=1), "error: too small"),
        (call("add", a="x", b=1), "error: invalid arguments of add"),
        (call("divide", a=1), "error: no tool named 'divide'"),
    ],
)
async def test_a_failing_tool_is_told_to_the_model(room: RoomClient, step: Reply, said: str) -> None:
    adapter = ScriptedAdapter([step, say("sorry")])
    assert await adapter.next(context=AgentChatContext(), room=room, toolkits=[MATH]) == "sorry"
    assert adapter.model.requests[1].messages[-1]["output"].startswith(said)


async def test_tools_see_who_calls_and_for_whom(room: RoomClient) -> None:
    adapter = ScriptedAdapter([call("whoami"), say("ok")])
    await adapter.next(context=AgentChatContext(), room=room, toolkits=[MATH], on_behalf_of=room.local_participant)
    assert adapter.model.requests[1].messages[-1]["output"] == "me for me"


async def test_calls_that_the_model_makes_at_once_run_at_once(room: RoomClient) -> None:
    meeting = asyncio.Barrier(2)

    @tool
    async def meet() -> str:
        async with asyncio.timeout(5):
            await meeting.wait()
        return "met"

    adapter = ScriptedAdapter([say("", ("meet", {}), ("meet", {})), say("ok")])
    await adapter.next(context=AgentChatContext(), room=room, toolkits=[Toolkit(name="t", tools=[meet])])
    assert [message["output"] for message in adapter.model.requests[1].messages[2:]] == ["met", "met"]


async def test_tools_of_one_name_and_odd_names_stay_apart(room: RoomClient) -> None:
    @tool(name="add")
    async def other_add(a: int, b: int) -> str:
        return "other"

    @tool(name="höchster wert")
    async def odd() -> str:
        return "odd"

    adapter = ScriptedAdapter([call("shop_add", a=1, b=1), call("h_chster_wert"), say("ok")])
    shop = Toolkit(name="shop", tools=[other_add, odd])
    await adapter.next(context=AgentChatContext(), room=room, toolkits=[MATH, shop])
    names = [definition.name for definition in adapter.model.requests[0].tools]
    assert names == ["math_add", "whoami", "shop_add", "h_chster_wert"]
    assert adapter.model.requests[1].messages[-1]["output"] == "other"
    assert adapter.model.requests[2].messages[-1]["output"] == "odd"


SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["sum"],
    "properties": {"sum": {"type": "integer"}},
}


async def test_a_structured_answer_is_checked_and_corrected(room: RoomClient) -> None:
    adapter = ScriptedAdapter([say("three"), say('{"sum": "3"}'), say('{"sum": 3}')])
    assert await adapter.next(context=AgentChatContext(), room=room, output_schema=SCHEMA) == {"sum": 3}
    assert "invalid JSON" in adapter.model.requests[1].messages[-1]["content"]
    assert "at sum" in adapter.model.requests[2].messages[-1]["content"]


async def test_a_model_that_never_follows_the_schema_is_given_up(room: RoomClient) -> None:
    adapter = ScriptedAdapter(lambda request: say("no"))
    with pytest.raises(InvalidRequestError):
        await adapter.next(context=AgentChatContext(), room=room, output_schema=SCHEMA)
    assert len(adapter.model.requests) == 4


async def test_a_model_that_never_stops_calling_is_stopped(room: RoomClient) -> None:
    adapter = ScriptedAdapter(lambda request: call("add", a=1, b=1), max_steps=5)
    with pytest.raises(LimitExceededError) as caught:
        await adapter.next(context=AgentChatContext(), room=room, toolkits=[MATH])
    assert caught.value.limit == 5


@pytest.mark.parametrize(
    ("step", "error"), [(Fail("down"), UnavailableError), (Fail("gone", error=NotFoundError("gone")), NotFoundError)]
)
async def test_a_failing_model_raises_and_leaves_the_conversation_as_it_was(
    room: RoomClient, step: Fail, error: type[Exception]
) -> None:
    context = AgentChatContext()
    context.append_user_message("hello")
    with pytest.raises(error):
        await ScriptedAdapter([step]).next(context=context, room=room)
    assert len(context.messages) == 1


async def test_cancelling_leaves_no_call_without_its_result(room: RoomClient) -> None:
    running = asyncio.Event()
    ended = asyncio.Event()

    @tool
    async def forever() -> None:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    context = AgentChatContext()
    adapter = ScriptedAdapter([call("add", a=1, b=1), call("forever")])
    toolkits = [MATH, Toolkit(name="t", tools=[forever])]
    turn = asyncio.create_task(adapter.next(context=context, room=room, toolkits=toolkits))
    async with asyncio.timeout(5):
        await running.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert ended.is_set()
    assert [message["type"] for message in context.messages] == ["function_call", "function_call_output"]


async def test_the_built_in_model_echoes_calls_tools_on_request_and_follows_schemas(room: RoomClient) -> None:
    adapter = ScriptedAdapter()

    async def answer(text: str, **options: Any) -> Any:
        context = AgentChatContext()
        context.append_user_message(text)
        return await adapter.next(context=context, room=room, toolkits=[MATH], **options)

    assert await answer("hello") == "You said: hello"
    assert await answer('call add {"a": 1, "b": 2}') == 'The tool answered: {"result":3}'
    assert (await answer("call add {oops}")).startswith("These arguments are not JSON")
    assert await answer("call nothing {}") == "You said: call nothing {}"
    assert await answer("x", output_schema=SCHEMA) == {"sum": 0}


def test_a_conversation_survives_its_json_form_and_copies_are_independent() -> None:
    context = AgentChatContext(rules=["a", "b"])
    context.append_rules(["b", "c"])
    context.append_user_image("data:image/png;base64,AA==", "look")
    context.append_tool_call(call_id="1", name="add", arguments="{}")
    context.append_tool_result(call_id="1", output="3")
    again = AgentChatContext.from_json(context.to_json())
    assert (again.messages, again.rules) == (context.messages, ["a", "b", "c"])
    copy = context.copy()
    copy.messages[0]["content"].clear()
    assert context.messages[0]["content"]
