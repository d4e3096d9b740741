"""What may be stored can be read: a participant that reads gets everything, and one that does not stops nobody."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.test_wire_documents import deploy_schema
from tests.support.documents import Copy
from tests.support.server import TestServer, serve
from tests.support.websocket_peer import eventually
from tests.support.wire_client import WireClient, join

BOUND = 64 * 1024
PACKET = 65536
MUCH = 24 * 1024 * 1024
"""More than the sockets of both sides buffer."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    """A server that keeps little for participants that read slowly."""
    limits = {"max_buffered_bytes": BOUND, "max_pending_bytes": 4 * BOUND, "drain_timeout": 20}
    async with serve(tmp_path, limits=limits) as server:
        yield server


async def messages(client: WireClient, count: int) -> list[int]:
    """The numbers of the next `count` bulk messages."""
    return [(await client.message("bulk")).header["message"]["n"] for _ in range(count)]


async def test_a_message_larger_than_the_bound_reaches_a_participant_that_reads(server: TestServer) -> None:
    async with join(server, "sender") as sender, join(server, "reader") as reader:
        sender.packet_bytes = PACKET
        await reader.ok("messaging.enable")
        for number in range(3):
            await sender.ok("messaging.broadcast", {"type": "bulk", "message": {"n": number}}, bytes(40 * BOUND))
        assert await messages(reader, 3) == [0, 1, 2]


async def test_a_sender_waits_for_a_reader_that_pauses_and_nothing_is_lost_or_reordered(server: TestServer) -> None:
    async with join(server, "sender") as sender, join(server, "slow") as slow, join(server, "fast") as fast:
        sender.packet_bytes = PACKET
        await slow.ok("messaging.enable")
        await fast.ok("messaging.enable")
        slow.stop_reading()
        count = MUCH // 500_000
        ids = [
            await sender.send("messaging.broadcast", {"type": "bulk", "message": {"n": number}}, bytes(500_000))
            for number in range(10)
        ]
        sending = asyncio.create_task(_send_bulk(sender, range(10, count)))
        assert await messages(fast, 10) == list(range(10)), "others wait for nobody"
        slow.read_on()
        assert await messages(slow, count) == list(range(count))
        for message_id in ids + await sending:
            assert (await sender.answer(message_id)).header["type"] == "empty"


async def _send_bulk(sender: WireClient, numbers: range) -> list[int]:
    return [
        await sender.send("messaging.broadcast", {"type": "bulk", "message": {"n": number}}, bytes(500_000))
        for number in numbers
    ]


async def test_a_participant_that_does_not_read_is_cut_off_and_its_sender_is_told(tmp_path: Path) -> None:
    limits = {"max_buffered_bytes": BOUND, "drain_timeout": 2}
    async with serve(tmp_path, limits=limits) as server, join(server, "sender") as sender:
        sender.packet_bytes = PACKET
        async with join(server, "watcher") as watcher, join(server, "stalled") as stalled:
            await watcher.ok("developer.watch")
            await stalled.ok("messaging.enable")
            stalled.stop_reading()
            while True:
                answer = await sender.request("messaging.broadcast", {"type": "bulk", "message": {}}, bytes(500_000))
                if answer.header["type"] == "error":
                    break
            assert f"not delivered to 'stalled' ({stalled.participant_id})" in answer.header["text"]
            stalled.read_on()
            left = await watcher.expect("developer.log", lambda m: m.header["type"] == "room.participant_left")
            assert left.header["data"]["code"] == 1013
            assert "too slow" in left.header["data"]["reason"]
        await sender.ok("messaging.broadcast", {"type": "bulk", "message": {}})


async def test_a_document_larger_than_the_bound_opens(server: TestServer) -> None:
    async with join(server) as alice, join(server, "bob") as bob:
        await deploy_schema(alice)
        _, empty = await alice.open_document("large.page")
        copy = Copy(empty)
        with copy.doc.transaction():
            for number in range(12_000):
                copy.append("item", **{"$id": f"{number}-{'i' * 100}", "n": number})
        text = copy.doc.get_update()
        await alice.ok("room.sync", {"path": "large.page"}, base64.b64encode(text))
        for _ in range(3):
            await bob.send("room.connect", {"path": "large.page", "create": False})
        for _ in range(3):
            state = await bob.expect("room.sync")
            assert len(state.payload) > 10 * BOUND


async def test_a_queue_message_larger_than_the_bound_is_received(server: TestServer) -> None:
    text = "x" * (20 * BOUND)
    async with join(server) as alice:
        for _ in range(3):
            await alice.ok("queues.send", {"name": "jobs", "create": True, "message": {"text": text}})
        ids = [await alice.send("queues.receive", {"name": "jobs", "create": False, "wait": False}) for _ in range(3)]
        for message_id in ids:
            answer = await alice.answer(message_id)
            assert answer.header["type"] != "error", answer.header


async def test_many_downloads_at_once_are_paced_to_their_reader(server: TestServer) -> None:
    content = bytes(range(256)) * 128
    async with join(server) as alice:
        for number in range(4):
            handle = await alice.ok("storage.open", {"path": f"{number}.bin", "overwrite": True})
            await alice.ok("storage.write", {"handle": handle["handle"]}, content)
            await alice.ok("storage.close", {"handle": handle["handle"]})
        ids = [await alice.send("storage.download", {"path": f"{number % 4}.bin"}) for number in range(100)]
        ids += [await alice.send("storage.exists", {"path": "0.bin"})]
        for message_id in ids[:-1]:
            assert (await alice.answer(message_id)).payload == content
        assert (await alice.answer(ids[-1])).header["json"] == {"exists": True}


async def test_presence_and_toolkit_lists_larger_than_the_bound_arrive(server: TestServer) -> None:
    async with join(server) as alice, join(server, "bob") as bob:
        await bob.send("set_attributes", {"about": "x" * (8 * BOUND)})
        await bob.ok("messaging.enable")
        tools = {f"tool_{n}": {"description": "y" * BOUND, "input_schema": {"type": "object"}} for n in range(8)}
        await bob.ok("agent.register_toolkit", {"name": "large", "public": True, "tools": tools})
        await alice.ok("messaging.enable")
        listed = await alice.message("messaging.enabled")
        assert len(listed.header["message"]["participants"][0]["attributes"]["about"]) == 8 * BOUND
        for _ in range(3):
            toolkits = await alice.ok("agent.list_toolkits")
            assert len(toolkits["tools"]["large"]["tools"]) == 8


async def test_answers_that_are_not_read_stop_the_requests_and_at_last_the_connection(tmp_path: Path) -> None:
    limits = {"max_buffered_bytes": BOUND, "max_pending_bytes": 4 * BOUND, "drain_timeout": 0.2}
    async with serve(tmp_path, limits=limits) as server, join(server) as alice, join(server, "greedy") as greedy:
        tools = {f"tool_{n}": {"description": "y" * BOUND, "input_schema": {"type": "object"}} for n in range(8)}
        await alice.ok("agent.register_toolkit", {"name": "large", "public": True, "tools": tools})
        room = server.started.rooms.directory.rooms[0].room
        connection = next(c for c in room.connections.values() if c.participant.name == "greedy")
        greedy.stop_reading()
        asking = asyncio.create_task(_ask(greedy, 200))
        try:
            await eventually(lambda: connection.participant.id not in room.connections)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        assert alice.closed is False
        await alice.settle()


async def _ask(client: WireClient, count: int) -> None:
    for _ in range(count):
        await client.send("agent.list_toolkits", {})
