"""Messages, presence and streams of the room client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshagent.api.contracts.content import FileBody, TextBody
from meshagent.api.errors import (
    ConnectionLostError,
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    PermissionDeniedError,
    RoomException,
)
from meshagent.api.room.client import RoomClient
from meshagent.api.room.messaging import RoomMessage
from meshagent.api.room.participants import RemoteParticipant
from meshagent.api.room.streams import MessageStreamChunk, MessageStreamReader
from tests.support.scripted_server import NO_ANSWER, ScriptedServer, memory_pair

BOB = {"id": "bob", "role": "user", "attributes": {"name": "Bob"}}


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[RoomClient, ScriptedServer]]:
    """A room client and its server, which shows it one other participant."""
    client_end, server_end = memory_pair()
    async with ScriptedServer(server_end) as server, RoomClient(protocol=client_end) as room:

        async def enable() -> None:
            await server.message("me", "messaging.enabled", {"participants": [BOB]})

        server.replies["messaging.enable"] = lambda header, payload: enable()
        yield room, server


async def until_event(source: Any, event: str) -> None:
    """Wait until a sub-client emits an event."""
    happened = asyncio.Event()
    source.on(event, lambda **_: happened.set())
    await asyncio.wait_for(happened.wait(), 5)


@pytest.mark.parametrize(
    ("message", "options", "expected"),
    [
        ("hi", {}, ("text", {"text": "hi"}, b"")),
        ("hi", {"attachment": b"x"}, ("text", {"text": "hi"}, b"x")),
        ({"a": 1}, {"type": "chat"}, ("chat", {"a": 1}, b"")),
        ({"a": 1}, {}, ("json", {"a": 1}, b"")),
        (b"bytes", {}, ("file", {}, b"bytes")),
        (TextBody(text="t"), {}, ("text", {"type": "text", "text": "t", "usage": None}, b"")),
        (
            FileBody(data=b"d", name="n", mime_type="m"),
            {},
            ("file", {"type": "file", "name": "n", "mime_type": "m", "usage": None}, b"d"),
        ),
    ],
)
async def test_send_takes_what_one_has(message: Any, options: dict[str, Any], expected: tuple[Any, ...]) -> None:
    async with joined() as (room, server):
        await room.messaging.send(message, **options)
        await room.messaging.send(message=message, to="bob", **options)
        [(header, payload)] = server.received("messaging.broadcast")
        assert (header["type"], header["message"], payload) == expected
        [(header, payload)] = server.received("messaging.send")
        assert (header["type"], header["message"], payload) == expected
        assert header["to_participant_id"] == "bob"


@pytest.mark.parametrize(
    ("message", "options"),
    [(1, {}), (b"x", {"attachment": b"y"}), (FileBody(data=b"", name="", mime_type=""), {"attachment": b"y"})],
)
async def test_send_refuses_what_it_cannot_express(message: Any, options: dict[str, Any]) -> None:
    async with joined() as (room, _):
        with pytest.raises(InvalidRequestError):
            await room.messaging.send(message, **options)


async def test_messages_may_be_given_as_one_dict() -> None:
    async with joined() as (room, server):
        await room.messaging.send_message({"to": "bob", "type": "chat", "message": {"a": 1}})
        await room.messaging.broadcast_message({"type": "chat", "message": {"a": 2}})
        assert server.received("messaging.send")[0][0]["message"] == {"a": 1}
        assert server.received("messaging.broadcast")[0][0]["message"] == {"a": 2}
        with pytest.raises(InvalidRequestError):
            await room.messaging.send_message(message={})
        with pytest.raises(InvalidRequestError):
            await room.messaging.broadcast_message(message={})


async def test_messages_arrive_as_events() -> None:
    async with joined() as (room, server):
        received: list[RoomMessage] = []
        room.messaging.on("message", lambda message: received.append(message))
        await server.message("bob", "chat", {"text": "hi"}, b"data")
        await until_event(room.messaging, "message") if not received else None
        [message] = received
        assert (message.from_participant_id, message.type, message.message, message.attachment) == (
            "bob",
            "chat",
            {"text": "hi"},
            b"data",
        )


async def test_sending_without_waiting_keeps_the_order_and_only_logs(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise NotFoundError("nobody of that name")

    async with joined() as (room, server):
        room.messaging.send_message_nowait(to="bob", type="n", message=1)
        await room.messaging.send_message(to="bob", type="n", message=2)
        assert [header["message"] for header, _ in server.received("messaging.send")] == [1, 2]
        server.replies["messaging.send"] = refuse
        room.messaging.send_message_nowait(to="x", type="n", message=3)
        with pytest.raises(NotFoundError):
            await room.messaging.send_message(to="x", type="n", message=4)
        await server.protocol.__aexit__(None, None, None)
        await room.wait_for_close()
        room.messaging.send_message_nowait(to="bob", type="n", message=5)
        await server.protocol.__aenter__()
    assert "nobody of that name" in caplog.text
    assert "a message of type 'n' was not delivered: there is no connection" in caplog.text


async def test_presence_is_followed() -> None:
    async with joined() as (room, server):
        messaging = room.messaging
        await messaging.enable()
        assert [(p.id, p.role, p.get_attribute("name")) for p in messaging.get_participants()] == [
            ("bob", "user", "Bob")
        ]
        added = asyncio.create_task(until_event(messaging, "participant_added"))
        await asyncio.sleep(0)
        await server.message("eve", "participant.enabled", {"id": "eve", "role": "agent", "attributes": {}})
        await added
        updated = asyncio.create_task(until_event(messaging, "participant_attributes_updated"))
        await asyncio.sleep(0)
        await server.message("stranger", "participant.attributes", {"attributes": {"mood": "odd"}})
        await server.message("eve", "participant.attributes", {"attributes": {"mood": "good"}})
        await updated
        assert messaging.remote_participants[1].get_attribute("mood") == "good"
        removed = asyncio.create_task(until_event(messaging, "participant_removed"))
        await asyncio.sleep(0)
        await server.message("bob", "participant.disabled", {"id": "bob"})
        await removed
        assert [participant.id for participant in messaging.remote_participants] == ["eve"]
        await messaging.disable()
        assert messaging.remote_participants == []


async def test_others_attributes_cannot_be_set() -> None:
    with pytest.raises(PermissionDeniedError):
        RemoteParticipant(id="x").set_attribute("a", 1)
    assert RemoteParticipant(id="x").role == "unknown"


async def test_start_and_stop_may_be_called_or_awaited() -> None:
    async with joined() as (room, _):
        room.messaging.start()
        await room.messaging.stop()
        room.sync.stop()
        await room.sync.start()


async def answer_stream(server: ScriptedServer, kind: str, **fields: Any) -> None:
    """Answer the client's latest attempt to open a stream."""
    [(header, _)] = await server.until_received("messaging.send")
    await server.message("bob", kind, {"stream_id": header["message"]["stream_id"], **fields})


async def test_a_stream_is_written() -> None:
    async with joined() as (room, server):
        await room.messaging.enable()
        [bob] = room.messaging.remote_participants
        opening = asyncio.create_task(room.messaging.create_stream(to=bob, header={"name": "f"}))
        await answer_stream(server, "stream.accept")
        writer = await opening
        await writer.write(MessageStreamChunk({"n": 1}, b"data"))
        await writer.close()
        await writer.close()
        with pytest.raises(InvalidStateError):
            await writer.write(MessageStreamChunk({}))
        sent = [(header["type"], header["message"], data) for header, data in server.received("messaging.send")]
        stream_id = sent[0][1]["stream_id"]
        assert sent == [
            ("stream.open", {"stream_id": stream_id, "header": {"name": "f"}}, b""),
            ("stream.chunk", {"stream_id": stream_id, "header": {"n": 1}}, b"data"),
            ("stream.close", {"stream_id": stream_id}, b""),
        ]


async def test_a_stream_is_refused_in_the_peers_words() -> None:
    async with joined() as (room, server):
        await room.messaging.enable()
        [bob] = room.messaging.remote_participants
        opening = asyncio.create_task(room.messaging.create_stream(to=bob, header={}))
        await answer_stream(server, "stream.reject", error="no thanks")
        with pytest.raises(RoomException, match="no thanks"):
            await opening


@pytest.mark.parametrize("end", ["peer leaves", "connection ends", "server refuses"])
async def test_an_unanswered_opening_fails(end: str) -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise NotFoundError("the participant was not found")

    async with joined() as (room, server):
        await room.messaging.enable()
        [bob] = room.messaging.remote_participants
        if end == "server refuses":
            server.replies["messaging.send"] = refuse
        opening = asyncio.create_task(room.messaging.create_stream(to=bob, header={}))
        await server.until_received("messaging.send")
        if end == "peer leaves":
            await server.message("bob", "participant.disabled", {"id": "bob"})
        if end == "connection ends":
            room.protocol.close()
        with pytest.raises(ConnectionLostError if end == "connection ends" else NotFoundError):
            await opening


async def accepted_reader(room: RoomClient, server: ScriptedServer) -> MessageStreamReader:
    """The client's reader of a stream that bob opens."""
    readers: list[MessageStreamReader] = []
    await room.messaging.enable(readers.append)
    await server.message("bob", "stream.open", {"stream_id": "s", "header": {"name": "f"}})
    [(header, _)] = await server.until_received("messaging.send")
    assert (header["type"], header["to_participant_id"]) == ("stream.accept", "bob")
    return readers[0]


async def test_a_stream_is_read_to_its_end() -> None:
    async with joined() as (room, server):
        reader = await accepted_reader(room, server)
        assert reader.header == {"stream_id": "s", "header": {"name": "f"}}
        await server.message("bob", "stream.chunk", {"stream_id": "s", "header": {"n": 1}}, b"one")
        await server.message("bob", "stream.chunk", {"stream_id": "s", "header": {"n": 2}}, b"two")
        await server.message("bob", "stream.close", {"stream_id": "s"})
        chunks = [(chunk.header, chunk.data) async for chunk in reader.read_chunks()]
        assert chunks == [({"n": 1}, b"one"), ({"n": 2}, b"two")]
        assert reader.is_complete


@pytest.mark.parametrize("end", ["peer leaves", "connection ends"])
async def test_readers_end_with_their_writer_or_the_connection(end: str) -> None:
    async with joined() as (room, server):
        reader = await accepted_reader(room, server)
        if end == "peer leaves":
            await server.message("bob", "participant.disabled", {"id": "bob"})
        else:
            room.protocol.close()
        assert [chunk async for chunk in reader.read_chunks()] == []
        assert not reader.is_complete


async def test_an_acceptor_may_read_the_stream_itself() -> None:
    async with joined() as (room, server):
        chunks: list[bytes | None] = []
        done = asyncio.Event()

        async def read_all(reader: MessageStreamReader) -> None:
            chunks.extend([chunk.data async for chunk in reader.read_chunks()])
            done.set()

        await room.messaging.enable(read_all)
        await server.message("bob", "stream.open", {"stream_id": "s", "header": {}})
        [(header, _)] = await server.until_received("messaging.send")
        assert header["type"] == "stream.accept"
        await server.message("bob", "stream.chunk", {"stream_id": "s", "header": {}}, b"one")
        await server.message("bob", "stream.close", {"stream_id": "s"})
        await asyncio.wait_for(done.wait(), 5)
        assert chunks == [b"one"]
        await room.storage.delete("a")  # whatever was sent before it has arrived
        assert len(server.received("messaging.send")) == 1


async def _raise(reader: MessageStreamReader) -> None:
    raise ValueError("not now")


@pytest.mark.parametrize(
    ("acceptor", "opener", "error"),
    [
        (None, "bob", "not accepted"),
        (_raise, "bob", "not now"),
        (_raise, "stranger", "has not enabled messaging"),
    ],
)
async def test_streams_are_rejected_with_a_reason(acceptor: Any, opener: str, error: str) -> None:
    async with joined() as (room, server):
        await room.messaging.enable(on_stream_accept=acceptor)
        await server.message(opener, "stream.open", {"stream_id": "s", "header": {}})
        [(header, _)] = await server.until_received("messaging.send")
        assert (header["type"], header["to_participant_id"]) == ("stream.reject", opener)
        assert error in header["message"]["error"]


async def test_a_failed_enabling_raises() -> None:
    async with joined() as (room, server):
        server.replies["messaging.enable"] = lambda header, payload: NO_ANSWER
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await room.messaging.enable()
