"""Hosting services: calls, dismissal, disconnection, stopping (protocol 15.6)."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import aiohttp
import pytest

from meshagent.api.errors import AlreadyExistsError, InvalidStateError
from meshagent.api.hosting.host import ServiceHost
from meshagent.api.hosting.paths import ServicePath
from meshagent.api.webhook.sender import WebhookRefusedError, send_webhook
from tests.support.scripted_room import ScriptedRoom, scripted_room
from tests.support.websocket_peer import eventually

SECRET = "a webhook secret"


class Agent:
    """Notes its life; the class keeps all instances."""

    made: ClassVar[list[Agent]] = []

    def __init__(self) -> None:
        self.room: Any = None
        self.stopped = False
        Agent.made.append(self)

    async def start(self, *, room: Any) -> None:
        self.room = room

    async def stop(self) -> None:
        self.stopped = True


@pytest.fixture(autouse=True)
def no_agents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Agent, "made", [])
    monkeypatch.delenv("MESHAGENT_WEBHOOK_SECRET", raising=False)


@pytest.fixture
async def room() -> AsyncIterator[ScriptedRoom]:
    async with scripted_room() as room:
        yield room


def service_host(**settings: Any) -> ServiceHost:
    host = ServiceHost(host="127.0.0.1", port=0, **settings)
    host.path("/chat")(Agent)
    return host


async def call(
    host: ServiceHost, room: ScriptedRoom, *, path: str = "/chat", secret: str | None = None, arguments: Any = None
) -> None:
    data = {"room_name": "room", "room_url": room.url, "token": "T", "arguments": arguments or {}}
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{host.port}{path}"
        await send_webhook(session, url=url, event="room.call", data=data, secret=secret)


async def until_idle(host: ServiceHost) -> None:
    await eventually(lambda: not host.running_calls)


async def test_a_call_brings_an_instance_into_the_room_until_it_is_dismissed(room: ScriptedRoom) -> None:
    async with service_host() as host:
        await call(host, room)
        await room.until_present(1)
        assert room.tokens == ["T"]
        await room.send_message("chat", {"text": "dismiss"})
        await room.send_message("dismiss")
        await room.send_message("dismiss")
        await room.until_present(0)
        await until_idle(host)
        assert [agent.stopped for agent in Agent.made] == [True]
        assert Agent.made[0].room.room_name == "room"


async def test_several_calls_run_side_by_side_with_an_instance_each(room: ScriptedRoom) -> None:
    async with service_host() as host:
        await call(host, room)
        await call(host, room, arguments="a text that its user typed")
        await eventually(lambda: len(Agent.made) == 2)
        assert (room.present, host.running_calls) == (2, 2)


async def test_a_call_ends_with_its_connection(room: ScriptedRoom) -> None:
    async with service_host() as host:
        await call(host, room)
        await room.until_present(1)
        await room.hang_up()
        await until_idle(host)
        assert Agent.made[0].stopped
        assert len(room.tokens) == 1  # it did not come back


async def test_stopping_the_host_ends_running_calls(room: ScriptedRoom) -> None:
    async with service_host() as host:
        await call(host, room)
        await room.until_present(1)
        await eventually(lambda: bool(Agent.made))
    assert Agent.made[0].stopped
    assert host.running_calls == 0
    await room.until_present(0)


async def test_a_service_that_does_not_stop_is_cut_off(room: ScriptedRoom, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(Agent):
        async def stop(self) -> None:
            await asyncio.Event().wait()

    host = service_host(stop_grace=0.05)
    host.add_path(path="/stubborn", cls=Stubborn)
    async with host:
        await call(host, room, path="/stubborn")
        await room.until_present(1)
        await eventually(lambda: bool(Agent.made))
    assert host.running_calls == 0
    assert "did not stop within" in caplog.text


async def test_a_service_that_fails_to_start_leaves_the_room(
    room: ScriptedRoom, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Agent):
        async def start(self, *, room: Any) -> None:
            raise RuntimeError("no model")

    host = service_host()
    host.add_path(path="/broken", cls=Broken)
    async with host:
        await call(host, room, path="/broken")
        await until_idle(host)
        await room.until_present(0)
    assert "call of /broken in room room failed" in caplog.text


async def test_a_room_that_cannot_be_joined_is_logged(
    room: ScriptedRoom, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    room.url = f"ws://127.0.0.1:{unused_tcp_port}/rooms/room"
    async with service_host() as host:
        await call(host, room)  # accepted nevertheless: an answer says nothing about joining
        await until_idle(host)
    assert "call of /chat in room room failed" in caplog.text
    assert Agent.made == []


async def test_liveness_and_wrong_ways_to_call() -> None:
    async with service_host() as host, aiohttp.ClientSession(f"http://127.0.0.1:{host.port}") as session:
        async with session.get("/") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})
        async with session.get("/chat", headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as answer:
            assert answer.status == 405
        async with session.post("/unknown") as answer:
            assert answer.status == 404


async def test_calls_beyond_the_limit_are_refused(room: ScriptedRoom) -> None:
    async with service_host(max_calls=1) as host:
        await call(host, room)
        with pytest.raises(WebhookRefusedError, match="503"):
            await call(host, room)


async def test_with_a_secret_calls_must_be_signed(room: ScriptedRoom) -> None:
    async with service_host(webhook_secret=SECRET) as host:
        for wrong in (None, "another"):
            with pytest.raises(WebhookRefusedError, match="401"):
                await call(host, room, secret=wrong)
        await call(host, room, secret=SECRET)
        await room.until_present(1)


async def test_an_empty_secret_stands_for_the_environments(room: ScriptedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHAGENT_WEBHOOK_SECRET", SECRET)
    async with service_host(webhook_secret="") as host:
        with pytest.raises(WebhookRefusedError, match="401"):
            await call(host, room)
        await call(host, room, secret=SECRET)
    async with service_host() as host:
        await call(host, room)  # the variable alone does not switch the check on


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHAGENT_HOST", "127.0.0.9")
    monkeypatch.setenv("MESHAGENT_PORT", "7777")
    host = ServiceHost()
    assert (host.host, host.port, host.webhook_secret) == ("127.0.0.9", 7777, None)
    monkeypatch.delenv("MESHAGENT_HOST")
    monkeypatch.delenv("MESHAGENT_PORT")
    assert (ServiceHost().host, ServiceHost().port) == ("0.0.0.0", 8081)


async def test_paths() -> None:
    host = service_host()
    assert host.path("later")(Agent) is Agent
    assert [(path.path, path.cls) for path in host.paths] == [("/chat", Agent), ("/later", Agent)]
    assert isinstance(host.paths[0], ServicePath)
    with pytest.raises(AlreadyExistsError, match="path /later is already in use"):
        host.add_path(path="/later", cls=Agent)
    async with host:
        assert host.port != 0
        with pytest.raises(InvalidStateError, match="before the service host is started"):
            host.add_path(path="/too-late", cls=Agent)
        with pytest.raises(InvalidStateError, match="already started"):
            await host.start()
    await host.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGABRT])
async def test_run_ends_with_a_signal_and_puts_handlers_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    host = service_host()
    running = asyncio.create_task(host.run())
    await eventually(lambda: host.port != 0)
    await eventually(lambda: signal.getsignal(number) is not before)
    os.kill(os.getpid(), number)
    await running
    assert signal.getsignal(number) is before


async def test_run_works_off_the_main_thread() -> None:
    host = service_host()
    started = threading.Event()
    ended: list[BaseException] = []

    async def run() -> None:
        task = asyncio.create_task(host.run())
        await eventually(lambda: host.port != 0)
        started.set()
        task.cancel()
        await asyncio.wait([task])
        ended.append(asyncio.CancelledError() if task.cancelled() else RuntimeError("it ended by itself"))

    await asyncio.to_thread(asyncio.run, run())
    assert started.is_set()
    assert isinstance(ended[0], asyncio.CancelledError)
