"""What a participant makes the server keep is bounded in bytes."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text

from meshagent.server.kernel.byte_budget import STEP, ByteBudget
from meshagent.server.rooms.attributes import MAX_ATTRIBUTE_BYTES
from meshagent.server.rooms.connection import Connection
from meshagent.server.services.agents.registry import MAX_REGISTRATION_BYTES
from tests.support.server import TestServer, serve
from tests.support.websocket_peer import eventually
from tests.support.wire_client import WireClient, join

KIB = 1024
TOOLKIT = {"name": "kit", "public": True, "tools": {"t": {"description": "x" * 60 * KIB, "input_schema": {}}}}


async def test_attributes_are_bounded_in_bytes_and_replacing_them_is_not_counted(tmp_path: Path) -> None:
    async with serve(tmp_path) as server, join(server) as alice, join(server, "bob") as bob:
        alice.packet_bytes = 65536
        await bob.ok("messaging.enable")
        await alice.ok("messaging.enable")
        for number in range(4):
            await alice.send("set_attributes", {"about": "x" * (MAX_ATTRIBUTE_BYTES // 3), "n": number})
        await alice.send("set_attributes", {"large": "y" * MAX_ATTRIBUTE_BYTES})
        await alice.settle()
        await bob.settle()
        [room] = [entry.room for entry in server.started.rooms.directory.rooms]
        attributes = next(p for p in room.state.participants.values() if p.name == "alice").attributes
        assert attributes["n"] == 3
        assert "large" not in attributes


async def test_registrations_are_bounded_in_bytes(tmp_path: Path) -> None:
    async with serve(tmp_path) as server, join(server, "host", role="agent") as host:
        host.packet_bytes = 65536
        tools = {"a": {"description": "x" * (MAX_REGISTRATION_BYTES // 3), "input_schema": {"type": "object"}}}
        for number in range(2):
            await host.ok("agent.register_toolkit", {"name": f"kit {number}", "public": True, "tools": tools})
        refused = {"name": "one too many", "public": True, "tools": tools}
        assert "bytes at most" in await host.error("agent.register_toolkit", refused)


@pytest.mark.parametrize(
    ("limit", "room"), [("max_presence_bytes_per_room", "room"), ("max_presence_bytes", "another room")]
)
async def test_what_participants_say_of_themselves_is_bounded_together(tmp_path: Path, limit: str, room: str) -> None:
    async with serve(tmp_path, limits={limit: 100 * KIB}) as server, join(server, "bob", room=room) as bob:
        bob.packet_bytes = 65536
        async with join(server) as alice:
            alice.packet_bytes = 65536
            await alice.send("set_attributes", {"about": "x" * 50 * KIB})
            await alice.settle()
            assert "attributes and registrations" in await bob.error("agent.register_toolkit", TOOLKIT)
            await bob.send("set_attributes", {"about": "x" * 60 * KIB})
            await bob.settle()
            await bob.ok("agent.register_toolkit", {**TOOLKIT, "tools": {}})
        await eventually(lambda: _connections(server) == 1)
        await bob.ok("agent.register_toolkit", {**TOOLKIT, "name": "now there is room"})


def _connections(server: TestServer) -> int:
    return sum(len(entry.room.connections) for entry in server.started.rooms.directory.rooms)


def _connection(server: TestServer, name: str) -> Connection:
    [room] = [entry.room for entry in server.started.rooms.directory.rooms]
    [found] = [connection for connection in room.connections.values() if connection.participant.name == name]
    return found


def waiting(server: TestServer) -> ByteBudget:
    """What the participants of the one room have waiting."""
    [room] = [entry.room for entry in server.started.rooms.directory.rooms]
    return room.state.waiting


async def begin(client: WireClient, message_id: int, packets: int) -> None:
    """Send the first packets of a message that is a packet longer."""
    header = message_id.to_bytes(8, "big") + bytes(4) + (packets + 1).to_bytes(4, "big")
    await client.socket.send_bytes(header + b"storage.write")
    for index in range(1, packets + 1):
        await client.socket.send_bytes(message_id.to_bytes(8, "big") + index.to_bytes(4, "big") + bytes(STEP))


@pytest.mark.parametrize("limit", ["max_waiting_bytes_per_room", "max_waiting_bytes"])
async def test_unfinished_messages_are_bounded_together_and_small_ones_go_on(tmp_path: Path, limit: str) -> None:
    async with serve(tmp_path, limits={limit: 10 * STEP}) as server, join(server, "bob") as bob:
        async with join(server) as alice:
            await begin(alice, 1000, 9)
            await eventually(lambda: waiting(server).used == 9 * STEP)
            await begin(bob, 1001, 2)
            answer = await bob.answer(1001)
            assert answer.header["code"] == 1008
            assert "requests and answers wait" in answer.header["text"]
            await bob.ok("storage.exists", {"path": ""})
            await alice.ok("storage.exists", {"path": ""})  # gives the unfinished message up
            assert waiting(server).used == 0
            await begin(alice, 1002, 9)
            await eventually(lambda: waiting(server).used == 9 * STEP)
        await eventually(lambda: waiting(server).used == 0)
        bob.packet_bytes = 65536
        handle = await bob.ok("storage.open", {"path": "a.bin", "overwrite": True})
        await bob.ok("storage.write", {"handle": handle["handle"]}, bytes(5 * STEP))


async def test_answers_that_are_not_read_are_bounded_together(tmp_path: Path) -> None:
    limits = {"max_waiting_bytes_per_room": 10 * STEP, "max_buffered_bytes": STEP, "drain_timeout": 30}
    async with serve(tmp_path, limits=limits) as server, join(server, "greedy") as greedy:
        greedy.packet_bytes = 65536
        handle = await greedy.ok("storage.open", {"path": "a.bin", "overwrite": True})
        await greedy.ok("storage.write", {"handle": handle["handle"]}, bytes(5 * STEP))
        await greedy.ok("storage.close", {"handle": handle["handle"]})
        greedy.stop_reading()
        ids = []
        while not waiting(server).is_exceeded:
            ids.append(await greedy.send("storage.download", {"path": "a.bin"}))
            async with join(server, "bob") as bob:  # the server answers everybody meanwhile
                await bob.ok("storage.exists", {"path": ""})
        backlog = _connection(server, "greedy")._backlog
        assert backlog is not None
        answered = len(backlog._items)
        ids += [await greedy.send("storage.download", {"path": "a.bin"}) for _ in range(3)]
        await eventually(lambda: len(backlog._items) >= answered + 3)
        greedy.read_on()
        answers = [(await greedy.answer(message_id)).header for message_id in ids]
        refused = [header for header in answers if header["type"] == "error"]
        assert refused
        assert all(header["code"] == 1008 for header in refused)
        await eventually(lambda: waiting(server).used == 0)
        assert (await greedy.request("storage.download", {"path": "a.bin"})).header["type"] != "error"


async def test_document_updates_that_come_early_are_bounded_together(tmp_path: Path) -> None:
    async with serve(tmp_path, limits={"max_waiting_bytes_per_room": 3000}) as server, join(server) as alice:
        for path in ("a.document", "b.document"):
            await alice.open_document(path)
        doc: Doc[Any] = Doc()
        text = doc.get("text", type=Text)
        updates = []
        for _ in range(6):
            before = doc.get_state()
            text += "x" * 1000
            updates.append(base64.b64encode(doc.get_update(before)))
        for update in updates[1:4]:
            await alice.ok("room.sync", {"path": "a.document"}, update)
        assert waiting(server).used > 3000
        assert "too many updates wait" in await alice.error("room.sync", {"path": "b.document"}, updates[4])
        await alice.ok("room.sync", {"path": "b.document"}, updates[0])
        await alice.ok("room.sync", {"path": "a.document"}, updates[0])
        assert waiting(server).used == 0
        await alice.ok("room.sync", {"path": "b.document"}, updates[4])
        assert waiting(server).used > 1000
        await alice.ok("room.disconnect", {"path": "b.document"})
        await eventually(lambda: waiting(server).used == 0)
