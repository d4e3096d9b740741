"""What happens when the connection is lost: which ends invite a new try, and what is as before after it."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.errors import ConnectionLostError, PermissionDeniedError, RequestTimeoutError
from meshagent.api.room.client import RoomClient
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.transport.chan import ChanClosed
from tests.support.scripted_server import NO_ANSWER, BreakableProtocol, ScriptedServer

AT_ONCE = ReconnectPolicy(initial_delay=0)


class Events:
    """Records a room's connection events."""

    def __init__(self, room: RoomClient) -> None:
        self.seen: list[str] = []
        self._changed = asyncio.Event()
        for name in ("reconnecting", "reconnected", "disconnected"):
            room.on(name, lambda name=name: self._add(name))

    def _add(self, name: str) -> None:
        self.seen.append(name)
        self._changed.set()

    async def until(self, name: str) -> None:
        async with asyncio.timeout(5):
            while name not in self.seen:
                self._changed.clear()
                await self._changed.wait()


@pytest.mark.parametrize("code", [1001, 1006, 1011, 1012, 1013])
async def test_the_client_comes_back_after_ends_that_may_pass(code: int) -> None:
    protocol = BreakableProtocol()
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        events = Events(room)
        protocol.break_connection(code)
        await events.until("reconnected")
        assert events.seen == ["reconnecting", "reconnected"]
        assert room.local_participant.id == "me2"
        await room.storage.delete("a")
        assert protocol.server.received("storage.delete")


@pytest.mark.parametrize("code", [1000, 1008])
async def test_the_client_stays_away_after_final_ends(code: int) -> None:
    protocol = BreakableProtocol()
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        events = Events(room)
        protocol.break_connection(code)
        await room.wait_for_close()
        await events.until("disconnected")
        assert protocol.attempts == 1
        with pytest.raises(ChanClosed):
            await room.local_participant.set_attribute("mood", "lonely")
        with pytest.raises(ConnectionLostError):
            await room.storage.delete("a")


async def test_reconnecting_can_be_switched_off() -> None:
    protocol = BreakableProtocol()
    async with RoomClient(protocol=protocol, auto_reconnect=False) as room:
        protocol.break_connection()
        await room.wait_for_close()
        assert protocol.attempts == 1


async def test_tries_are_repeated_until_one_works() -> None:
    def connect(attempt: int, server: ScriptedServer) -> None:
        if attempt in (2, 3):
            raise ConnectionRefusedError("nobody listens")

    protocol = BreakableProtocol(connect)
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        events = Events(room)
        protocol.break_connection()
        await events.until("reconnected")
        assert protocol.attempts == 4


async def test_a_refusal_ends_the_tries() -> None:
    def connect(attempt: int, server: ScriptedServer) -> None:
        if attempt > 1:
            raise PermissionDeniedError("the token has expired")

    protocol = BreakableProtocol(connect)
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        protocol.break_connection()
        await room.wait_for_close()
        assert protocol.attempts == 2


async def test_tries_end_at_their_limit() -> None:
    def connect(attempt: int, server: ScriptedServer) -> None:
        if attempt > 1:
            raise ConnectionRefusedError("nobody listens")

    protocol = BreakableProtocol(connect)
    policy = ReconnectPolicy(initial_delay=0, max_attempts=3)
    async with RoomClient(protocol=protocol, reconnect=policy) as room:
        protocol.break_connection()
        await room.wait_for_close()
        assert protocol.attempts == 4


async def test_requests_under_way_fail_and_are_not_repeated() -> None:
    protocol = BreakableProtocol()
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        events = Events(room)
        protocol.server.replies["queues.send"] = lambda header, payload: NO_ANSWER
        sending = asyncio.create_task(room.queues.send("jobs", "work"))
        await protocol.server.until_received("queues.send")
        protocol.break_connection()
        with pytest.raises(ConnectionLostError):
            await sending
        await events.until("reconnected")
        assert protocol.server.received("queues.send") == []


async def test_new_requests_wait_for_the_connection() -> None:
    gate = asyncio.Event()
    protocol = BreakableProtocol()
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        room.on("reconnecting", gate.set)
        protocol.break_connection()
        await gate.wait()
        await room.queues.send("jobs", "work")
        assert len(protocol.servers) == 2
        assert len(protocol.server.received("queues.send")) == 1


async def test_new_requests_do_not_wait_for_ever() -> None:
    def connect(attempt: int, server: ScriptedServer) -> None:
        server.greets = attempt == 1

    protocol = BreakableProtocol(connect)
    policy = ReconnectPolicy(initial_delay=0, request_timeout=0.01)
    async with RoomClient(protocol=protocol, reconnect=policy) as room:
        room.on("reconnecting", (gate := asyncio.Event()).set)
        protocol.break_connection()
        await gate.wait()
        with pytest.raises(RequestTimeoutError):
            await room.queues.send("jobs", "work")


async def test_attributes_messaging_and_the_watch_are_as_before() -> None:
    protocol = BreakableProtocol()
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        events = Events(room)
        await room.local_participant.set_attribute("mood", "good")
        await room.messaging.enable()
        await room.developer.enable()
        protocol.break_connection()
        await protocol.wait_for_close()
        await room.local_participant.set_attribute("mood", "better")
        await events.until("reconnected")
        assert [kind for kind, _, _ in protocol.server.requests] == [
            "set_attributes",
            "messaging.enable",
            "developer.watch",
        ]
        assert protocol.server.received("set_attributes") == [({"mood": "better"}, b"")]
        assert room.local_participant.get_attribute("mood") == "better"


async def test_presence_after_reconnecting_tells_the_difference() -> None:
    lists = iter([["bob", "carol"], ["carol", "dave"]])

    def connect(attempt: int, server: ScriptedServer) -> None:
        present = [{"id": name, "role": "user", "attributes": {"name": name}} for name in next(lists)]

        async def enable() -> None:
            await server.message("me", "messaging.enabled", {"participants": present})

        server.replies["messaging.enable"] = lambda header, payload: enable()

    protocol = BreakableProtocol(connect)
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        await room.messaging.enable()
        assert [participant.id for participant in room.messaging.remote_participants] == ["bob", "carol"]
        changes: list[tuple[str, str]] = []
        room.messaging.on("participant_added", lambda participant: changes.append(("+", participant.id)))
        room.messaging.on("participant_removed", lambda participant: changes.append(("-", participant.id)))
        events = Events(room)
        protocol.break_connection()
        await events.until("reconnected")
        assert changes == [("-", "bob"), ("+", "dave")]


async def test_leaving_while_reconnecting_ends_everything() -> None:
    before = asyncio.all_tasks()

    def connect(attempt: int, server: ScriptedServer) -> None:
        server.greets = attempt == 1

    protocol = BreakableProtocol(connect)
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        room.on("reconnecting", (gate := asyncio.Event()).set)
        protocol.break_connection()
        await gate.wait()
    assert not protocol.is_open
    assert asyncio.all_tasks() == before


def test_waits_grow_to_a_limit() -> None:
    policy = ReconnectPolicy(jitter=0, max_attempts=8)
    assert list(policy.delays()) == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    shortened = list(ReconnectPolicy(jitter=0.5, max_attempts=50).delays())
    assert all(0.1 <= delay <= 10 for delay in shortened)
    assert len(set(shortened)) > 10
