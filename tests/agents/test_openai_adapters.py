"""The adapters for OpenAI-compatible APIs, with the real client, against a scripted model behind HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from meshagent.agents.llm import AgentChatContext, LLMEvent, ScriptedModel, TextDelta, TextFinished, UsageReported
from meshagent.agents.llm.openai_adapter import OpenAIAdapter, OpenAICompletionsAdapter, OpenAIResponsesAdapter
from meshagent.agents.llm.openai_requests import completions_request, is_strict, responses_request
from meshagent.api.errors import (
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RoomException,
    UnavailableError,
)
from meshagent.api.room.client import RoomClient
from meshagent.llm.model import ModelRequest, ToolDefinition
from meshagent.llm.openai_replies import read_completions_request, read_responses_request
from meshagent.llm.scripted import Fail, Script, call, say
from meshagent.llm.scripted_http import ScriptedEndpoint
from meshagent.tools import Toolkit, tool
from tests.support.scripted_server import ScriptedServer, memory_pair

BOTH = pytest.mark.parametrize("kind", [OpenAIResponsesAdapter, OpenAICompletionsAdapter])


@pytest.fixture
async def room() -> AsyncIterator[RoomClient]:
    client, end = memory_pair()
    async with ScriptedServer(end), RoomClient(protocol=client) as room:
        yield room


@asynccontextmanager
async def endpoint(script: Script) -> AsyncIterator[tuple[str, ScriptedModel]]:
    model = ScriptedModel(script)
    app = web.Application()
    app.add_routes(ScriptedEndpoint(model).routes("/v1"))
    async with TestServer(app) as server:
        yield str(server.make_url("/v1")), model


@tool
async def add(a: int, b: int = 0) -> int:
    """Adds."""
    return a + b


MATH = Toolkit(name="math", tools=[add])


@BOTH
async def test_text_streams_through_the_real_client(kind: type[OpenAIAdapter], room: RoomClient) -> None:
    async with endpoint([say("hello to you")]) as (url, model):
        context = AgentChatContext(rules=["be kind"])
        context.append_user_message("hello")
        events: list[LLMEvent] = []
        adapter = kind("m", base_url=url)
        assert await adapter.next(context=context, room=room, event_handler=events.append) == "hello to you"
    deltas = [event.delta for event in events if isinstance(event, TextDelta)]
    assert deltas == ["hello ", "to ", "you"]
    assert TextFinished("hello to you") in events
    assert any(isinstance(event, UsageReported) and event.output_tokens == 3 for event in events)
    assert (model.requests[0].model, model.requests[0].instructions) == ("m", "be kind")


@BOTH
async def test_tools_travel_there_and_back(kind: type[OpenAIAdapter], room: RoomClient) -> None:
    script = [say("let me see", ("add", {"a": 1, "b": 2}), ("add", {"a": 5})), say("3 and 5")]
    async with endpoint(script) as (url, model):
        context = AgentChatContext()
        context.append_user_message("sums?")
        assert await kind(base_url=url).next(context=context, room=room, toolkits=[MATH]) == "3 and 5"
    first, second = model.requests
    assert (first.tools[0].name, first.tools[0].schema) == ("add", add.input_schema)
    kinds = [message.get("type") or message["role"] for message in second.messages]
    calls = ["function_call"] * 2 + ["function_call_output"] * 2
    assert kinds == ["user", "assistant", *calls]
    assert [message["output"] for message in second.messages[4:]] == ['{"result":3}', '{"result":5}']
    assert second.messages[2]["call_id"] == second.messages[4]["call_id"]


@BOTH
async def test_a_structured_answer_has_its_schema_sent(kind: type[OpenAIAdapter], room: RoomClient) -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["n"],
        "properties": {"n": {"type": "integer"}},
    }
    async with endpoint([say('{"n": 7}')]) as (url, model):
        answer = await kind(base_url=url).next(context=AgentChatContext(), room=room, output_schema=schema)
    assert answer == {"n": 7}
    assert model.requests[0].output_schema == schema


@BOTH
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequestError),
        (401, PermissionDeniedError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (429, UnavailableError),
        (500, UnavailableError),
    ],
)
async def test_refusals_become_the_rooms_errors(
    kind: type[OpenAIAdapter], status: int, error: type[RoomException], room: RoomClient
) -> None:
    async with endpoint([Fail("because", status=status)]) as (url, _):
        with pytest.raises(error, match="because"):
            await kind(base_url=url, max_retries=0).next(context=AgentChatContext(), room=room)


@BOTH
async def test_a_provider_that_is_not_there_is_unavailable(kind: type[OpenAIAdapter], room: RoomClient) -> None:
    with pytest.raises(UnavailableError) as caught:
        await kind(base_url="http://127.0.0.1:9/v1", max_retries=0).next(context=AgentChatContext(), room=room)
    assert caught.value.retryable


async def test_without_a_base_url_the_rooms_proxy_is_asked_with_the_participant_token() -> None:
    seen: list[tuple[str | None, str | None]] = []
    model = ScriptedModel([say("from the proxy")])
    scripted = ScriptedEndpoint(model)

    async def proxy(request: web.Request) -> web.StreamResponse:
        seen.append((request.headers.get("Authorization"), request.headers.get("Meshagent-Session")))
        return await scripted.answer(request, request.match_info["path"], await request.json())

    app = web.Application()
    app.add_routes([web.post("/rooms/my-room/v1/{path:.+}", proxy)])
    client, end = memory_pair()
    wire = ScriptedServer(end)
    wire.greets = False
    async with TestServer(app) as server, wire:
        url = str(server.make_url("/rooms/my-room")).replace("http", "ws", 1)
        await wire.event("connected", {"type": "init", "participantId": "me", "attributes": {}})
        await wire.event("room_ready", {"room_name": "my-room", "room_url": url, "session_id": "s1"})
        async with RoomClient(protocol=client) as room:
            adapter = OpenAIResponsesAdapter()
            assert await adapter.next(context=AgentChatContext(), room=room) == "from the proxy"
    assert seen == [("Bearer token", "s1")]
    assert model.requests[0].model == "default"


def test_the_default_model_comes_from_the_environment_or_depends_on_who_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_MODEL", raising=False)
    assert OpenAIResponsesAdapter().default_model() == "default"
    assert OpenAIResponsesAdapter(base_url="http://x/v1").default_model() == "gpt-5"
    monkeypatch.setenv("OPENAI_MODEL", "mine")
    assert OpenAIResponsesAdapter().default_model() == "mine"
    assert OpenAIResponsesAdapter("yours").default_model() == "yours"


CONVERSATION: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "image_url", "url": "data:,x"}]},
    {"role": "assistant", "content": "I see"},
    {"type": "function_call", "call_id": "1", "name": "add", "arguments": "{}"},
    {"type": "function_call", "call_id": "2", "name": "add", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "1", "output": "a"},
    {"type": "function_call_output", "call_id": "2", "output": "b"},
    {"role": "assistant", "content": "done"},
]
REQUEST = ModelRequest(
    model="m", instructions="be kind", messages=CONVERSATION, tools=[ToolDefinition("add", "Adds.", {"type": "object"})]
)


def test_chat_completions_group_calls_with_what_was_said() -> None:
    messages = completions_request(REQUEST)["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool", "tool", "assistant"]
    assert [entry["id"] for entry in messages[2]["tool_calls"]] == ["1", "2"]
    assert messages[1]["content"][1] == {"type": "image_url", "image_url": {"url": "data:,x"}}


@pytest.mark.parametrize(
    ("write", "read"),
    [(completions_request, read_completions_request), (responses_request, read_responses_request)],
)
def test_what_one_side_writes_the_other_reads(write: Any, read: Any) -> None:
    again = read(write(REQUEST))
    assert (again.model, again.instructions, list(again.tools)) == ("m", "be kind", list(REQUEST.tools))
    assert list(again.messages[1:]) == CONVERSATION[1:]
    with pytest.raises(InvalidRequestError):
        read({"model": "m"})


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "string"}, True),
        ({"type": "object", "additionalProperties": False, "required": ["a"], "properties": {"a": {}}}, True),
        ({"type": "object", "required": ["a"], "properties": {"a": {}}}, False),
        ({"type": "object", "additionalProperties": False, "required": [], "properties": {"a": {}}}, False),
        ({"type": "array", "items": {"type": "object", "properties": {}}}, False),
        (
            {
                "type": "object",
                "additionalProperties": False,
                "required": ["properties"],
                "properties": {"properties": {"type": "object"}},
            },
            False,
        ),
    ],
)
def test_only_closed_schemas_are_enforced_by_the_provider(schema: dict[str, Any], strict: bool) -> None:
    assert is_strict(schema) is strict


async def test_unknown_paths_of_the_scripted_endpoint_are_not_found(room: RoomClient) -> None:
    async with endpoint([call("x")]) as (url, _):
        import openai

        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            assert [model.id async for model in client.models.list()] == ["scripted"]
            embedded = await client.embeddings.create(model="m", input=["ab", "ba"], encoding_format="float")
            assert embedded.data[0].embedding == embedded.data[1].embedding
            with pytest.raises(openai.NotFoundError):
                await client.moderations.create(input="x")
