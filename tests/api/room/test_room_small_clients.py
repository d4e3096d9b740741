"""The smaller sub-clients: developer log, LiveKit, queues; and how handlers are called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshagent.api.contracts.content import EmptyBody, FileBody, TextBody
from meshagent.api.errors import InvalidRequestError, RoomException, UnavailableError
from meshagent.api.room._tasks import OwnedTasks
from meshagent.api.room.client import RoomClient
from meshagent.api.room.descriptions import AgentDescription, RequiredSchema, RequiredToolkit, Requirement
from meshagent.api.room.events import EventSource
from tests.support.scripted_server import ScriptedServer, memory_pair


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[RoomClient, ScriptedServer]]:
    client_end, server_end = memory_pair()
    async with ScriptedServer(server_end) as server, RoomClient(protocol=client_end) as room:
        yield room, server


async def test_the_log_is_written_and_watched(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise UnavailableError("the log is full")

    async with joined() as (room, server):
        seen: list[tuple[str, object]] = []
        both = asyncio.Event()

        def on_log(type: str, data: dict[str, Any]) -> None:
            seen.append((type, data))
            if len(seen) == 2:
                both.set()

        room.developer.on("log", on_log)
        await room.developer.log("step", {"n": 1})
        room.developer.log_nowait(type="step", data={"n": 2})
        await room.developer.enable()
        await server.event("developer.log", {"type": "t", "data": {"a": 1}})
        await server.event("developer.log", {})
        await asyncio.wait_for(both.wait(), 5)
        assert seen == [("t", {"a": 1}), ("unknown", {})]
        server.replies["developer.log"] = refuse
        room.developer.log_nowait(type="step", data={"n": 3})
        await room.developer.disable()
        assert [header["data"] for header, _ in server.received("developer.log")] == [{"n": 1}, {"n": 2}, {"n": 3}]
        room.protocol.close()
        room.developer.log_nowait(type="step", data={"n": 4})
    assert "the log is full" in caplog.text
    assert "'step' was not logged" in caplog.text


async def test_livekit_says_where_to_join() -> None:
    async with joined() as (room, server):
        server.replies["livekit.connect"] = lambda header, payload: {"url": "wss://l", "token": "t"}
        info = await room.livekit.get_connection_info(breakout_room="b")
        assert (info.url, info.token) == ("wss://l", "t")
        assert server.received("livekit.connect") == [({"breakout_room": "b"}, b"")]


async def test_queues_return_messages_as_they_were_sent() -> None:
    answers = iter([TextBody(text="work"), EmptyBody(), FileBody(data=b"", name="", mime_type="")])
    async with joined() as (room, server):
        server.replies["queues.receive"] = lambda header, payload: next(answers)
        assert await room.queues.receive(name="jobs", wait=False) == "work"
        assert await room.queues.receive("jobs") is None
        with pytest.raises(RoomException):
            await room.queues.receive("jobs")
        await room.queues.open("jobs")
        await room.queues.send("jobs", {"a": [1, None]}, create=False)
        await room.queues.drain("jobs")
        await room.queues.close("jobs")
        assert [(kind, header) for kind, header, _ in server.requests if kind != "queues.receive"] == [
            ("queues.open", {"name": "jobs"}),
            ("queues.send", {"name": "jobs", "message": {"a": [1, None]}, "create": False}),
            ("queues.drain", {"name": "jobs"}),
            ("queues.close", {"name": "jobs"}),
        ]


async def test_agents_are_listed_and_called() -> None:
    adder = AgentDescription(
        "adder",
        description="adds",
        requires=[RequiredToolkit(name="ui"), RequiredSchema(name="thread")],
        labels=["math"],
    )
    async with joined() as (room, server):
        server.replies["agent.list_agents"] = lambda header, payload: {"agents": [adder.to_json(), {"name": "bare"}]}
        listed, bare = await room.agents.list_agents()
        assert listed.to_json() == adder.to_json()
        assert (bare.name, bare.requires, bare.labels) == ("bare", [], [])
        await room.agents.make_call(name="bot", url="http://x", arguments={"a": 1})
        assert server.received("agent.call") == [({"name": "bot", "url": "http://x", "arguments": {"a": 1}}, b"")]
        server.replies["agent.ask"] = lambda header, payload: {"answer": [header["agent"], header["requires"]]}
        answer = await room.agents.ask(agentName="adder", requires=[RequiredToolkit(name="ui", tools=["a"])])
        assert answer.json == ["adder", [{"toolkit": "ui", "tools": ["a"]}]]
        with pytest.raises(InvalidRequestError):
            await room.agents.ask(arguments={})


def test_requirements_name_something() -> None:
    with pytest.raises(InvalidRequestError):
        Requirement.from_json({"name": "x"})


class Recorder:
    """Handlers of many signatures; `calls` says what they got."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def all(self, **values: Any) -> None:
        self.calls.append(values)

    def some(self, b: int) -> None:
        self.calls.append(b)

    def other_name(self, event: int) -> None:
        self.calls.append(event)

    def with_default(self, a: int, c: int = 7) -> None:
        self.calls.append((a, c))

    def nothing(self) -> None:
        self.calls.append("nothing")


async def test_handlers_get_what_they_take() -> None:
    source, recorder = EventSource(OwnedTasks()), Recorder()
    for handler in (recorder.all, recorder.some, recorder.other_name, recorder.with_default, recorder.nothing):
        source.on("e", handler)
    source.emit("e", a=1, b=2)
    assert recorder.calls == [{"a": 1, "b": 2}, 2, 1, (1, 7), "nothing"]


async def test_a_handler_may_remove_itself_and_builtins_work() -> None:
    source, seen = EventSource(OwnedTasks()), []

    def once(a: int) -> None:
        seen.append(a)
        source.off("e", once)

    source.on("e", once)
    source.on("e", seen.append)
    source.emit("e", a=1)
    source.emit("e", a=2)
    assert seen == [1, 1, 2]


async def test_coroutine_handlers_start_in_order_and_end_with_their_owner() -> None:
    tasks = OwnedTasks()
    source, started = EventSource(tasks), []

    async def handler(n: int) -> None:
        started.append(n)
        await asyncio.Event().wait()

    source.on("e", handler)
    for n in range(3):
        source.emit("e", n=n)
    await asyncio.sleep(0)
    assert started == [0, 1, 2]
    await tasks.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_failures_of_owned_tasks_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("its own fault")

    tasks = OwnedTasks()
    task = tasks.start(fail(), "some work")
    await asyncio.wait([task])
    await tasks.close()
    assert "some work failed" in caplog.text
