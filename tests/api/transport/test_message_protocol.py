"""The message layer: entry, order, handlers, early messages, limits."""

from __future__ import annotations

import asyncio

import pytest

from meshagent.api.errors import ConnectionLostError, InvalidStateError
from meshagent.api.transport import _handlers, protocol
from meshagent.api.transport.chan import ChanClosed, ChanFull
from meshagent.api.transport.memory import MemoryClientProtocol, MemoryServerProtocol
from meshagent.api.transport.protocol import ClientProtocol, Message, Protocol, compute_packets
from tests.support.received import Received
from tests.support.scripted_server import BreakableProtocol, memory_pair


async def test_a_large_message_crosses_a_memory_pair_unchanged() -> None:
    client, server = memory_pair()
    data = bytes(range(256)) * 391  # 100,096 bytes
    received = Received()
    server.register_handler("hello", received)
    async with server, client:
        assert client.token == "token"
        assert await client.send("hello", data, 2) == 2
        assert await received.until(1) == [(2, "hello", data)]
    assert compute_packets(data) == 2


async def test_ids_start_at_one_and_text_goes_as_utf8() -> None:
    client, server = memory_pair()
    received = Received()
    server.register_handler("*", received)
    async with server, client:
        assert await client.send("a", "é") == 1
        assert client.send_nowait("b", b"") == 2
        assert await received.until(2) == [(1, "a", "é".encode()), (2, "b", b"")]


async def test_both_ends_see_the_end() -> None:
    client, server = memory_pair()
    assert not client.is_open
    async with server:
        async with client:
            assert client.is_open
        assert not client.is_open
        await asyncio.wait_for(server.wait_for_close(), 5)
        with pytest.raises(ChanClosed):
            await server.send("late", b"")
    with pytest.raises(ChanClosed):
        client.send_nowait("late", b"")


async def test_nested_entry_opens_and_closes_once() -> None:
    client = BreakableProtocol()
    async with client:
        async with client:
            assert client.attempts == 1
        assert client.is_open
    assert not client.is_open


async def test_sequential_entry_starts_afresh() -> None:
    client = BreakableProtocol()
    for attempt in (1, 2):
        async with client:
            assert client.attempts == attempt
            assert await client.send("a", b"") == 1


async def test_a_failed_entry_can_be_repeated() -> None:
    def connect(attempt: int, server: object) -> None:
        if attempt == 1:
            raise ConnectionRefusedError("nobody listens")

    client = BreakableProtocol(connect)
    with pytest.raises(ConnectionRefusedError):
        await client.__aenter__()
    assert not client.is_open
    async with client:
        assert client.is_open


async def test_what_cannot_be_reopened_says_so() -> None:
    client, server = memory_pair()
    async with server, client:
        with pytest.raises(ConnectionLostError):
            await client.reopen()
    with pytest.raises(ConnectionLostError):
        await BreakableProtocol().reopen()


async def test_what_was_sent_before_leaving_arrives() -> None:
    client, server = memory_pair()
    received = Received()
    server.register_handler("*", received)
    async with server:
        async with client:
            for number in range(200):
                await client.send("n", str(number))
        await received.until(200)
    assert [int(data) for _, _, data in received.messages] == list(range(200))


async def test_early_messages_wait_for_their_handler() -> None:
    client, server = memory_pair()
    marker, received = Received(), Received()
    client.register_handler("marker", marker)
    async with server, client:
        for number in range(_handlers.MAX_BACKLOG + 5):
            await server.send("early", str(number))
        await server.send("marker", b"")
        await marker.until(1)
        client.register_handler("early", received)
        await server.send("early", b"later")
        messages = await received.until(_handlers.MAX_BACKLOG + 1)
    assert [data for _, _, data in messages] == [*(str(n).encode() for n in range(_handlers.MAX_BACKLOG)), b"later"]


async def test_lifecycle_messages_are_there_for_every_new_client() -> None:
    client, server = memory_pair()
    first, second = Received(), Received()
    async with server, client:
        for _ in range(100):
            await server.send("noise", b"")
        await server.send("room_ready", b"r")
        for handler in (first, second):
            client.register_handler("room_ready", handler)
            assert [data for _, _, data in await handler.until(1)] == [b"r"]
            client.unregister_handler("room_ready", handler)


async def test_one_handler_per_type() -> None:
    client, _ = memory_pair()
    handler = Received()
    client.register_handler("a", handler)
    with pytest.raises(InvalidStateError):
        client.register_handler("a", Received())
    with pytest.raises(InvalidStateError):
        client.unregister_handler("a", Received())
    client.unregister_handler("a", handler)
    client.register_handler("a", Received())


async def test_a_waiting_handler_keeps_its_order_and_stops_nobody_else() -> None:
    client, server = memory_pair()
    release, done = asyncio.Event(), asyncio.Event()
    order: list[bytes] = []
    others = Received()

    async def slow(protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        if data == b"1":
            await release.wait()
        order.append(data)
        if data == b"broken":
            raise ValueError("a handler's own fault")
        if data == b"3":
            done.set()

    client.register_handler("slow", slow)
    client.register_handler("other", others)
    async with server, client:
        for data in (b"1", b"broken", b"3"):
            await server.send("slow", data)
        await server.send("other", b"")
        await others.until(1)
        assert order == []
        release.set()
        await asyncio.wait_for(done.wait(), 5)
    assert order == [b"1", b"broken", b"3"]


async def test_a_handler_far_behind_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_handlers, "MAX_WAITING", 3)
    client, server = memory_pair()

    async def stuck(protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        await asyncio.Event().wait()

    client.register_handler("x", stuck)
    async with server, client:
        for _ in range(5):
            await server.send("x", b"")
        await asyncio.wait_for(client.wait_for_close(), 5)
        assert client.close_code == 1008


class StalledProtocol(ClientProtocol):
    """Sends nothing before it is released."""

    def __init__(self) -> None:
        super().__init__(token="t")
        self.release = asyncio.Event()
        self.packets: list[bytes] = []

    async def send_packet(self, data: bytes) -> None:
        await self.release.wait()
        self.packets.append(data)


async def test_sending_waits_while_too_much_is_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_OUTGOING_BYTES", 100)
    stalled = StalledProtocol()
    async with stalled:
        await stalled.send("a", b"1" * 60)
        with pytest.raises(ChanFull):
            stalled.send_nowait("b", b"2" * 60)
        waiting = [asyncio.create_task(stalled.send("c", data * 60)) for data in (b"3", b"4", b"5")]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        waiting[1].cancel()
        stalled.release.set()
        await waiting[0]
        await waiting[2]
    assert [packet[12:13] for packet in stalled.packets[1::2]] == [b"1", b"3", b"5"]


async def test_waiting_senders_fail_when_the_connection_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_OUTGOING_BYTES", 10)
    stalled = StalledProtocol()
    async with stalled:
        await stalled.send("a", b"1" * 60)
        waiting = asyncio.create_task(stalled.send("b", b"2" * 60))
        await asyncio.sleep(0)
        stalled.release.set()
        stalled.close()
        with pytest.raises(ChanClosed):
            await waiting


async def test_a_message_that_is_too_large_reaches_its_handler_without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_INCOMING_MESSAGE", 10)
    client, server = memory_pair()
    received = Received()
    client.register_handler("big", received)
    async with server, client:
        await server.send("big", b"x" * 11)
        assert [data for _, _, data in await received.until(1)] == [b""]


async def test_messages_are_values() -> None:
    message = Message(id=1, type="t", data=b"d")
    assert (message.id, message.type, message.data) == (1, "t", b"d")


def test_memory_ends_are_protocols() -> None:
    assert issubclass(MemoryClientProtocol, ClientProtocol)
    assert issubclass(MemoryServerProtocol, Protocol)
