"""The SDK in the forms that its users write, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from meshagent.api import ParticipantToken, RoomClient, RoomException, WebSocketClientProtocol
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.room.streams import MessageStreamChunk, MessageStreamReader
from tests.support.received import Received
from tests.support.server import KEY_ID, PROJECT_ID, SECRET, TestServer, serve

AT_ONCE = ReconnectPolicy(initial_delay=0.01, max_delay=0.05)


@asynccontextmanager
async def joined(server: TestServer, name: str, role: str | None = None) -> AsyncIterator[RoomClient]:
    protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token(name, role=role))
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as room:
        yield room


async def test_the_readme_runs(server: TestServer) -> None:
    token = ParticipantToken(name="alice", project_id=PROJECT_ID, api_key_id=KEY_ID)
    token.add_room_grant(room_name="my-room", role="user")
    jwt = token.to_jwt(secret=SECRET)
    protocol = WebSocketClientProtocol(url=server.room_url("my-room"), token=jwt)
    async with protocol:
        assert protocol.is_open
    async with RoomClient(protocol=protocol) as room:
        await room.messaging.send("hello everyone!")
        async with room.storage.open(path="example.txt", overwrite=True) as f:
            await f.write(b"content")
        assert (await room.storage.download(path="example.txt")).data == b"content"


async def test_a_nested_protocol_serves_a_client(server: TestServer) -> None:
    protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token())
    early = Received()
    async with protocol:
        protocol.register_handler("room.status", early)  # so that the greetings come without a handler
        async with RoomClient(protocol=protocol.__class__(url=server.room_url(), token=server.token())) as other:
            assert other.room_name == "room"
        protocol.unregister_handler("room.status", early)
        async with RoomClient(protocol=protocol) as room:
            assert room.room_name == "room"


async def test_a_wrong_token_is_refused_with_a_reason(server: TestServer) -> None:
    protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token(secret="wrong"))
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await RoomClient(protocol=protocol).__aenter__()
    assert isinstance(caught.value, RoomException)
    assert caught.value.status in (401, 403)
    assert "token" in str(caught.value)


async def test_two_participants_exchange_messages_and_a_stream(server: TestServer) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        got: asyncio.Queue[object] = asyncio.Queue()
        read: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def read_all(reader: MessageStreamReader) -> None:
            async for chunk in reader.read_chunks():
                read.put_nowait(chunk.data)

        bob.messaging.on("message", lambda message: got.put_nowait((message.type, message.message, message.attachment)))
        await bob.messaging.enable(read_all)
        await alice.messaging.enable()
        [other] = alice.messaging.remote_participants
        assert other.get_attribute("name") == "bob"
        await alice.messaging.send_message(to=other, type="chat", message={"text": "hi"}, attachment=b"file")
        assert await asyncio.wait_for(got.get(), 5) == ("chat", {"text": "hi"}, b"file")
        writer = await alice.messaging.create_stream(to=other, header={})
        await writer.write(MessageStreamChunk({}, b"chunk"))
        await writer.close()
        assert await asyncio.wait_for(read.get(), 5) == b"chunk"


async def test_a_large_file_is_stored_whole(server: TestServer) -> None:
    data = bytes(range(256)) * 12_000  # 3 MB
    async with joined(server, "alice") as room:
        room.storage.on("file.updated", (updated := asyncio.Event()).set)
        async with room.storage.open(path="folder/large.bin") as f:
            await f.write(data)
        await asyncio.wait_for(updated.wait(), 5)
        assert (await room.storage.download(path="folder/large.bin")).data == data
        [entry] = await room.storage.list(path="folder")
        assert (entry.name, entry.size) == ("large.bin", len(data))
        with pytest.raises(RoomException):
            await room.storage.open(path="folder/large.bin")


async def test_documents_converge_over_a_lost_connection(server: TestServer) -> None:
    async with joined(server, "alice") as alice, joined(server, "bob") as bob:
        mine = await alice.sync.open("notes.document")
        yours = await bob.sync.open("notes.document")
        alice.on("reconnected", (back := asyncio.Event()).set)
        cut_cable(alice)
        await alice.protocol.wait_for_close()
        arrived = asyncio.Event()
        yours.on("inserted")(lambda node: arrived.set())
        mine.root.append_child("heading", {"text": "written offline"})
        yours.root.append_child("heading", {"text": "written meanwhile"})
        await asyncio.wait_for(back.wait(), 5)
        await asyncio.wait_for(arrived.wait(), 5)
        await alice.sync.close("notes.document")
        await bob.sync.close("notes.document")
        assert mine.to_json() == yours.to_json()
        headings = [child["heading"]["text"] for child in mine.to_json()["document"]["content"]]
        assert sorted(headings) == ["written meanwhile", "written offline"]


async def test_a_restarted_server_gets_what_was_written_meanwhile(tmp_path: Path) -> None:
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        server = await first.enter_async_context(serve(tmp_path))
        alice = await second.enter_async_context(joined(server, "alice"))
        alice.on("reconnecting", (lost := asyncio.Event()).set)
        alice.on("reconnected", (back := asyncio.Event()).set)
        document = await alice.sync.open("notes.document")
        document.root.append_child("heading", {"text": "before"})
        session_id = alice.session_id
        await first.aclose()
        await asyncio.wait_for(lost.wait(), 5)
        document.root.append_child("heading", {"text": "meanwhile"})
        again = await first.enter_async_context(serve(tmp_path, port=server.port))
        await asyncio.wait_for(back.wait(), 5)
        assert alice.session_id != session_id
        await alice.sync.close("notes.document")
        async with joined(again, "bob") as bob:
            seen = (await bob.sync.open("notes.document")).to_json()["document"]["content"]
        assert [child["heading"]["text"] for child in seen] == ["before", "meanwhile"]


def cut_cable(room: RoomClient) -> None:
    """Break the client's TCP connection without a word to either side."""
    socket = room.protocol._socket  # type: ignore[attr-defined]  # the transport's own
    socket._response.connection.transport.abort()
