"""`room.messaging` on a fake core: presence, messages and streams, and what a lost connection does to them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshagent.api.errors import ConnectionLostError, InvalidRequestError, NotFoundError, RoomException
from meshagent.api.room.messaging import MessagingClient
from meshagent.api.room.streams import MAX_UNREAD_CHUNKS, MessageStreamChunk, MessageStreamReader
from tests.support.fake_core import FakeCore


def entry(participant_id: str, **attributes: Any) -> dict[str, Any]:
    return {"id": participant_id, "role": "user", "attributes": attributes}


def message(core: FakeCore, sender: str, kind: str, content: Any, data: bytes = b"") -> None:
    core.deliver("messaging.send", {"from_participant_id": sender, "type": kind, "message": content}, data)


class Recorder:
    """The names of a client's events, with the ids that they are about."""

    def __init__(self, messaging: MessagingClient) -> None:
        self.seen: list[str] = []
        for event in ("participant_added", "participant_removed", "participant_attributes_updated"):
            messaging.on(event, lambda participant, event=event: self.seen.append(f"{event} {participant.id}"))
        messaging.on("messaging_enabled", lambda: self.seen.append("messaging_enabled"))


async def enabled(core: FakeCore, *present: str, **options: Any) -> MessagingClient:
    messaging = MessagingClient(room=core)
    core.answers["messaging.enable"] = lambda header, payload: message(
        core, "", "messaging.enabled", {"participants": [entry(participant) for participant in present]}
    )
    await messaging.enable(**options)
    return messaging


# -- presence


async def test_who_is_here_when_messaging_is_enabled_is_not_announced_one_by_one() -> None:
    core = FakeCore()
    messaging = MessagingClient(room=core)
    recorder = Recorder(messaging)
    core.answers["messaging.enable"] = lambda header, payload: message(
        core, "", "messaging.enabled", {"participants": [entry("bob", name="Bob")]}
    )
    await messaging.enable()
    assert recorder.seen == ["messaging_enabled"]
    [bob] = messaging.remote_participants
    assert (bob.id, bob.role, bob.get_attribute("name")) == ("bob", "user", "Bob")


async def test_presence_follows_the_room() -> None:
    core = FakeCore()
    messaging = await enabled(core, "bob")
    recorder = Recorder(messaging)
    message(core, "", "participant.enabled", entry("carol"))
    message(core, "carol", "participant.attributes", {"attributes": {"mood": "good"}})
    message(core, "stranger", "participant.attributes", {"attributes": {}})
    message(core, "", "participant.disabled", {"id": "bob"})
    message(core, "", "participant.disabled", {"id": "bob"})
    assert recorder.seen == [
        "participant_added carol",
        "participant_attributes_updated carol",
        "participant_removed bob",
    ]
    assert [participant.get_attribute("mood") for participant in messaging.get_participants()] == ["good"]
    await messaging.disable()
    assert messaging.remote_participants == []


async def test_presence_is_compared_after_reconnecting() -> None:
    core = FakeCore()
    messaging = await enabled(core, "bob", "carol")
    recorder = Recorder(messaging)
    [_, carol] = messaging.remote_participants
    core.lose_connection()
    core.answers["messaging.enable"] = lambda header, payload: message(
        core, "", "messaging.enabled", {"participants": [entry("carol", mood="new"), entry("dave")]}
    )
    await core.reconnect()
    assert recorder.seen == ["participant_removed bob", "participant_added dave", "messaging_enabled"]
    assert messaging.remote_participants[0] is carol
    assert carol.get_attribute("mood") == "new"


async def test_messaging_that_was_never_enabled_stays_off_after_reconnecting() -> None:
    core = FakeCore()
    MessagingClient(room=core)
    await core.reconnect()
    assert core.requests == []


# -- messages


async def test_messages_are_events() -> None:
    core = FakeCore()
    messaging = MessagingClient(room=core)
    seen: list[Any] = []
    messaging.on("message", lambda message: seen.append(message))
    message(core, "bob", "greeting", {"text": "hi"}, b"bytes")
    [received] = seen
    assert (received.from_participant_id, received.type) == ("bob", "greeting")
    assert (received.message, received.attachment) == ({"text": "hi"}, b"bytes")


async def test_a_failed_message_without_waiting_is_logged() -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise NotFoundError("no participant 'bob'")

    core = FakeCore()
    core.answers["messaging.send"] = refuse
    MessagingClient(room=core).send_message_nowait(to="bob", type="n", message=1)
    await core.settle()
    assert core.failures == ["a message of type 'n' was not delivered: no participant 'bob'"]


async def test_a_broadcast_needs_a_type() -> None:
    with pytest.raises(InvalidRequestError):
        await MessagingClient(room=FakeCore()).broadcast_message(message={})


# -- streams


async def test_a_stream_is_opened_written_and_closed() -> None:
    core = FakeCore()
    messaging = await enabled(core, "bob")
    [bob] = messaging.remote_participants
    core.answers["messaging.send"] = lambda header, payload: (
        message(core, "bob", "stream.accept", header["message"]) if header["type"] == "stream.open" else None
    )
    writer = await messaging.create_stream(to=bob, header={"name": "x"})
    await writer.write(MessageStreamChunk({"n": 1}, b"one"))
    await writer.close()
    await writer.close()
    kinds = [(header["type"], payload) for header, payload in core.received("messaging.send")]
    assert kinds == [("stream.open", b""), ("stream.chunk", b"one"), ("stream.close", b"")]
    with pytest.raises(RoomException, match="closed"):
        await writer.write(MessageStreamChunk({}))


@pytest.mark.parametrize(
    ("end", "error"),
    [("rejected", RoomException), ("left", NotFoundError), ("lost", ConnectionLostError)],
)
async def test_an_opening_fails_with_its_peer_or_the_connection(end: str, error: type[RoomException]) -> None:
    core = FakeCore()
    messaging = await enabled(core, "bob", "carol")
    bob = messaging.remote_participants[0]
    opening = asyncio.create_task(messaging.create_stream(to=bob, header={}))
    await core.settle()
    [(header, _)] = core.received("messaging.send")
    answer = {"stream_id": header["message"]["stream_id"], "error": "not now"}
    message(core, "carol", "stream.accept", answer)  # from another participant: ignored
    await core.settle()
    assert not opening.done()
    match end:
        case "rejected":
            message(core, "bob", "stream.reject", answer)
        case "left":
            message(core, "", "participant.disabled", {"id": "bob"})
        case _:
            core.lose_connection()
    with pytest.raises(error):
        await opening


async def test_a_reader_gets_the_chunks_and_knows_that_they_are_all() -> None:
    core = FakeCore()
    readers: list[MessageStreamReader] = []
    await enabled(core, "bob", on_stream_accept=readers.append)
    message(core, "bob", "stream.open", {"stream_id": "s", "header": {"name": "x"}})
    await core.settle()
    message(core, "bob", "stream.chunk", {"stream_id": "s", "header": {"n": 1}}, b"one")
    message(core, "bob", "stream.close", {"stream_id": "s"})
    message(core, "bob", "stream.chunk", {"stream_id": "s", "header": {}}, b"late")
    [reader] = readers
    assert [(chunk.header, chunk.data) async for chunk in reader.read_chunks()] == [({"n": 1}, b"one")]
    assert reader.is_complete
    assert reader.header["header"] == {"name": "x"}
    assert [header["type"] for header, _ in core.received("messaging.send")] == ["stream.accept"]


@pytest.mark.parametrize("end", ["left", "lost", "overflow"])
async def test_a_stream_that_is_cut_off_is_not_complete(end: str) -> None:
    core = FakeCore()
    readers: list[MessageStreamReader] = []
    await enabled(core, "bob", on_stream_accept=readers.append)
    message(core, "bob", "stream.open", {"stream_id": "s", "header": {}})
    await core.settle()
    match end:
        case "left":
            message(core, "", "participant.disabled", {"id": "bob"})
        case "lost":
            core.lose_connection()
        case _:
            for _ in range(MAX_UNREAD_CHUNKS + 1):
                message(core, "bob", "stream.chunk", {"stream_id": "s", "header": {}})
    [reader] = readers
    chunks = [chunk async for chunk in reader.read_chunks()]
    assert len(chunks) == (MAX_UNREAD_CHUNKS if end == "overflow" else 0)
    assert not reader.is_complete
