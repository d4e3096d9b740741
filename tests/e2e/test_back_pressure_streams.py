"""What a client asked for by a stream, a search or many downloads is paced to its reading, and never cuts it off."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from meshagent.server.rooms.connection import Connection
from meshagent.server.websocket.shell import WebSocket
from tests.e2e.test_wire_documents import deploy_schema
from tests.support.chatting import joined
from tests.support.dataset_client import ipc, upload
from tests.support.documents import Copy
from tests.support.invoke_client import CLOSE, OPEN, Stream
from tests.support.server import TestServer, serve
from tests.support.websocket_peer import eventually
from tests.support.wire_client import Received, WireClient, join

TOOLKIT = {"name": "feed", "public": True, "tools": {"read": {"input_spec": {"types": ["json"], "stream": True}}}}
BOUND = 64 * 1024
MUCH = 24 * 1024 * 1024
"""More than the sockets of both sides buffer."""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[TestServer]:
    """A server that keeps little for participants that read slowly."""
    limits = {"max_buffered_bytes": BOUND, "max_pending_bytes": 4 * BOUND, "drain_timeout": 20}
    async with serve(tmp_path, limits=limits) as server:
        yield server


async def large_document(client: WireClient, path: str) -> int:
    """Store a document; the bytes of its state on the wire."""
    await deploy_schema(client)
    _, empty = await client.open_document(path)
    copy = Copy(empty)
    update = copy.append("item", **{"$id": "i" * (40 * BOUND), "n": 1})
    await client.ok("room.sync", {"path": path}, base64.b64encode(update))
    return len(base64.b64encode(copy.doc.get_update()))


async def test_states_of_documents_opened_by_streams_wait_for_a_reader_that_pauses(server: TestServer) -> None:
    async with join(server) as alice, join(server, "bob") as bob:
        size = await large_document(alice, "large.page")
        bob.stop_reading()
        streams = []
        for number in range(MUCH // size + 1):
            stream = await Stream.open(bob, "sync", "open", f"call-{number}")
            start = {"type": "binary", "headers": {"kind": "start", "path": "large.page", "create": False}}
            await bob.send("room.tool_call_request_chunk", {"tool_call_id": stream.call_id, "chunk": start})
            streams.append(stream)
        await alice.settle()
        bob.read_on()
        for stream in streams:
            chunk, payload = await stream.next()
            assert chunk["headers"]["kind"] == "state"
            assert len(payload) >= size


async def send_items(host: WireClient, call: Received, count: int) -> None:
    await host.send("room.tool_call_response", OPEN, message_id=call.id)
    for number in range(count):
        item = {"tool_call_id": call.header["tool_call_id"], "chunk": {"type": "binary", "headers": {"n": number}}}
        await host.send("room.tool_call_response_chunk", item, bytes(500_000), message_id=call.id)
    close = {"tool_call_id": call.header["tool_call_id"], "chunk": CLOSE}
    await host.send("room.tool_call_response_chunk", close, message_id=call.id)


async def test_a_host_waits_for_a_caller_that_pauses_and_nothing_is_lost_or_reordered(server: TestServer) -> None:
    async with join(server, "host") as host, join(server, "caller") as caller:
        host.packet_bytes = 65536
        await host.ok("room.register_toolkit", TOOLKIT)
        connection = next(c for c in connections(server).values() if c.participant.name == "host")
        stream = await Stream.open(caller, "feed", "read", "mine")
        call = await host.expect("room.tool_call.feed")
        caller.stop_reading()
        count = MUCH // 500_000
        sending = asyncio.create_task(send_items(host, call, count))
        socket = connection.socket
        assert isinstance(socket, WebSocket)
        await eventually(lambda: socket.reading_paused)
        caller.read_on()
        await stream.opened()
        for number in range(count):
            chunk, payload = await stream.next()
            assert (chunk["headers"], len(payload)) == ({"n": number}, 500_000)
        await stream.closed()
        await sending
        await host.settle()


async def test_a_caller_that_does_not_read_is_cut_off_and_its_host_goes_on(tmp_path: Path) -> None:
    limits = {"max_buffered_bytes": BOUND, "drain_timeout": 0.5}
    async with (
        serve(tmp_path, limits=limits) as server,
        join(server, "host") as host,
        join(server, "watcher") as watcher,
    ):
        host.packet_bytes = 65536
        await watcher.ok("developer.watch")
        await host.ok("room.register_toolkit", TOOLKIT)
        async with join(server, "stalled") as stalled:
            await Stream.open(stalled, "feed", "read", "mine")
            call = await host.expect("room.tool_call.feed")
            stalled.stop_reading()
            await send_items(host, call, MUCH // 500_000)
            await host.settle()
            left = await watcher.expect("developer.log", lambda m: m.header["type"] == "room.participant_left")
            assert "the hosts of its streams waited" in left.header["data"]["reason"]
            stalled.read_on()


def connections(server: TestServer) -> Mapping[str, Connection]:
    return server.started.rooms.directory.rooms[0].room.connections


async def test_a_search_of_200000_rows_arrives_whole(loaded_engines: None, server: TestServer) -> None:
    rows = pa.table({"id": pa.array(range(200_000), pa.int64())})
    async with join(server) as alice, joined(server, "bob") as bob:
        await upload(alice, "create_table", data=ipc(rows.schema), name="numbers", mode="create", metadata=None)
        await upload(alice, "insert", rows, table="numbers")
        found = await bob.database.search(table="numbers")
        assert len(found) == 200_000
        assert {row["id"] for row in found} == set(range(200_000))


async def test_300_downloads_at_once_all_arrive(server: TestServer) -> None:
    content = bytes(range(256)) * 128
    async with joined(server, "alice") as alice:
        handle = await alice.storage.open(path="a.bin", overwrite=True)
        await alice.storage.write(handle=handle, data=content)
        await alice.storage.close(handle=handle)
        files = await asyncio.gather(*(alice.storage.download("a.bin") for _ in range(300)))
        assert all(file.data == content for file in files)
