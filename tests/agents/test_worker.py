"""Agents that work on queues, in a real room."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshagent.agents import AgentChatContext, Worker
from meshagent.agents.llm.scripted import Reply, ScriptedAdapter, say
from meshagent.api import RoomClient
from meshagent.api.room.queues import LeasedMessage
from meshagent.llm.model import ModelRequest
from meshagent.llm.scripted import plain_text
from meshagent.tools import Toolkit
from tests.support.chatting import joined, working
from tests.support.server import TestServer, serve


class Collector(Worker):
    """Collects its messages; `gate` holds the work up, `fail` makes it fail so often."""

    def __init__(self, *, fail: int = 0, is_open: bool = True, **options: Any) -> None:
        super().__init__(queue="jobs", name="collector", llm_adapter=ScriptedAdapter(), retry_delay=0.001, **options)
        self.done: list[Any] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        self.changed = asyncio.Event()
        self._fail = fail
        if is_open:
            self.gate.set()

    async def process_message(self, *, chat_context: AgentChatContext, message: Any, toolkits: list[Toolkit]) -> Any:
        self.begun.set()
        await self.gate.wait()
        if self._fail > 0:
            self._fail -= 1
            raise ValueError("not today")
        self.done.append(message)
        self.changed.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()


async def sizes(room: RoomClient) -> dict[str, int]:
    return {queue.name: queue.size for queue in await room.queues.list()}


async def test_a_worker_takes_messages_in_order(server: TestServer) -> None:
    collector = Collector()
    async with joined(server, "alice") as alice:
        await alice.queues.send("jobs", {"n": 1})
        async with working(server, collector):
            await alice.queues.send("jobs", {"n": 2})
            await alice.queues.send("jobs", "three")
            await collector.until(lambda: len(collector.done) == 3)
    assert collector.done == [{"n": 1}, {"n": 2}, "three"]


async def test_by_default_a_model_works(server: TestServer) -> None:
    asked = asyncio.Event()

    def script(request: ModelRequest) -> Reply:
        asked.set()
        return say("Done.")

    adapter = ScriptedAdapter(script)
    worker = Worker(queue="jobs", llm_adapter=adapter, rules=["work hard"])
    async with working(server, worker), joined(server, "alice") as alice:
        await alice.queues.send("jobs", {"do": "this"})
        await asyncio.wait_for(asked.wait(), 5)
    [request] = adapter.model.requests
    assert plain_text(request.messages[-1]["content"]) == '{"do":"this"}'
    assert request.instructions == "work hard"


async def test_work_that_fails_is_tried_again_and_then_set_aside(server: TestServer) -> None:
    collector = Collector(fail=2 + 3)
    async with working(server, collector), joined(server, "alice") as alice:
        await alice.queues.send("jobs", "fails five times")
        failed = await asyncio.wait_for(alice.queues.receive("jobs.failed"), 5)
        assert failed == {"message": "fails five times", "error": "not today"}
        await alice.queues.send("jobs", "fails twice")
        await collector.until(lambda: collector.done == ["fails twice"])


async def test_a_worker_that_stops_finishes_or_puts_back(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        patient = Collector(is_open=False, stop_grace=5)
        await alice.queues.send("jobs", "finished")
        async with working(server, patient):
            await asyncio.wait_for(patient.begun.wait(), 5)
            asyncio.get_running_loop().call_later(0.01, patient.gate.set)
        assert patient.done == ["finished"]
        hasty = Collector(is_open=False, stop_grace=0)
        await alice.queues.send("jobs", "put back")
        async with working(server, hasty):
            await asyncio.wait_for(hasty.begun.wait(), 5)
        assert hasty.done == []
        assert await alice.queues.receive("jobs", wait=False) == "put back"


async def test_a_message_that_comes_after_the_stop_is_put_back(server: TestServer) -> None:
    collector = Collector()
    async with joined(server, "alice") as alice, joined(server, "host", role="agent") as host:
        await collector.start(room=host)
        await collector.stop()  # its request to receive is still with the room
        await alice.queues.send("jobs", "late")
        assert await asyncio.wait_for(alice.queues.receive("jobs"), 5) == "late"
        assert collector.done == []


async def test_no_job_is_lost_in_a_restart_of_the_server(tmp_path: Path) -> None:
    collector = Collector(is_open=False)
    async with serve(tmp_path / "data") as server:
        port = server.port
        client = joined(server, "host", role="agent")
        host = await client.__aenter__()
        await collector.start(room=host)
        async with joined(server, "alice") as alice:
            for number in range(3):
                await alice.queues.send("jobs", number)
            await asyncio.wait_for(collector.begun.wait(), 5)
    collector.gate.set()  # the job in hand is finished while there is no server
    async with serve(tmp_path / "data", port=port) as server, joined(server, "alice") as alice:
        await alice.queues.send("jobs", 3)
        await collector.until(lambda: len(collector.done) == 4)
        assert collector.done == [0, 1, 2, 3]
        await collector.stop()
        await client.__aexit__(None, None, None)


async def test_a_job_outlives_its_room(tmp_path: Path) -> None:
    """The last person leaves, and the room ends with a job in hand."""
    collector = Collector(is_open=False, stop_grace=0)
    async with serve(tmp_path / "data", idle_grace=0.01) as server:
        async with joined(server, "alice") as alice:
            client = joined(server, "host", role="agent")
            host = await client.__aenter__()
            await collector.start(room=host)
            await alice.queues.send("jobs", "kept")
            await asyncio.wait_for(collector.begun.wait(), 5)
        await asyncio.wait_for(host.wait_for_close(), 5)
        await collector.stop()
        await client.__aexit__(None, None, None)
        collector.gate.set()
        async with joined(server, "alice"), working(server, collector):
            await collector.until(lambda: collector.done == ["kept"])


async def test_several_messages_are_worked_on_at_a_time(server: TestServer) -> None:
    both = asyncio.Barrier(2)

    class Pair(Collector):
        async def process_message(
            self, *, chat_context: AgentChatContext, message: Any, toolkits: list[Toolkit]
        ) -> Any:
            await both.wait()
            await super().process_message(chat_context=chat_context, message=message, toolkits=toolkits)

    pair = Pair(concurrency=2)
    async with working(server, pair), joined(server, "alice") as alice:
        for number in range(4):
            await alice.queues.send("jobs", number)
        await pair.until(lambda: sorted(pair.done) == [0, 1, 2, 3])
        assert await sizes(alice) == {"jobs": 0}


async def test_a_lease_is_extended_while_its_message_is_processed(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    extended: list[float] = []
    enough = asyncio.Event()
    extend = LeasedMessage.extend

    async def counted(leased: LeasedMessage, seconds: float) -> None:
        await extend(leased, seconds)
        extended.append(seconds)
        if len(extended) == 2:
            enough.set()

    monkeypatch.setattr(LeasedMessage, "extend", counted)
    slow = Collector(is_open=False, lease=3)
    async with joined(server, "alice") as alice, working(server, slow):
        await alice.queues.send("jobs", "long")
        await asyncio.wait_for(enough.wait(), 30)
        slow.gate.set()
        await slow.until(lambda: slow.done == ["long"])
    assert extended[:2] == [3, 3]


async def test_a_job_whose_worker_dies_each_time_is_given_up(server: TestServer) -> None:
    async with joined(server, "alice") as alice:
        await alice.queues.send("jobs", "poison")
        for _ in range(2):
            leased = await alice.queues.receive("jobs", lease=60)
            assert leased is not None
            await leased.release()
        async with working(server, Collector(max_deliveries=2)):
            assert await asyncio.wait_for(alice.queues.receive("jobs.dead"), 5) == "poison"
