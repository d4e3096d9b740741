"""The room client against a scripted server: joining, requests, events, leaving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshagent.api.contracts import storage
from meshagent.api.contracts.content import FileBody, TextBody
from meshagent.api.errors import (
    ConnectionLostError,
    InvalidStateError,
    PermissionDeniedError,
    RoomException,
)
from meshagent.api.room.client import RoomClient
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import Protocol
from tests.support.scripted_server import NO_ANSWER, BreakableProtocol, ScriptedServer, memory_pair


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[RoomClient, ScriptedServer]]:
    """A room client and the server that it is connected to."""
    client_end, server_end = memory_pair()
    async with ScriptedServer(server_end) as server, RoomClient(protocol=client_end) as room:
        yield room, server


async def test_the_room_is_known_after_joining() -> None:
    async with joined() as (room, _):
        assert (room.room_name, room.session_id) == ("my-room", "s1")
        assert room.room_url == "ws://x/rooms/my-room"
        assert room.local_participant.id == "me"
        assert room.local_participant.get_attribute("name") == "alice"


async def test_the_room_is_unknown_before_joining() -> None:
    room = RoomClient(protocol=memory_pair()[0])
    for read in (lambda: room.room_name, lambda: room.session_id, lambda: room.local_participant):
        with pytest.raises(RoomException):
            read()
    with pytest.raises(InvalidStateError):
        await room.storage.exists(path="a")


@pytest.mark.parametrize("ready_first", [True, False])
async def test_either_order_of_the_greetings_works(ready_first: bool) -> None:
    client_end, server_end = memory_pair()
    server = ScriptedServer(server_end)
    server.greets = False
    greetings: list[tuple[str, dict[str, Any]]] = [
        ("connected", {"type": "init", "participantId": "p", "attributes": {"name": "a"}}),
        ("room_ready", {"room_name": "r", "room_url": "u", "session_id": "s"}),
    ]
    async with server:
        for name, header in reversed(greetings) if ready_first else greetings:
            await server.event(name, header)
        async with RoomClient(protocol=client_end) as room:
            assert room.room_name == "r"


async def test_joining_fails_when_the_connection_ends_first() -> None:
    client_end, server_end = memory_pair()
    server = ScriptedServer(server_end)
    server.greets = False
    async with server:
        joining = asyncio.create_task(RoomClient(protocol=client_end).__aenter__())
        await asyncio.sleep(0)
        server.protocol._output.close()  # type: ignore[attr-defined]  # the end of the memory transport
        with pytest.raises(ConnectionLostError):
            await joining


async def test_requests_are_answered_by_id_in_any_order() -> None:
    release = asyncio.Event()

    async def slow(header: dict[str, Any], payload: bytes) -> object:
        await release.wait()
        return {"exists": header["path"] == "a"}

    async with joined() as (room, server):
        server.replies["storage.exists"] = slow
        first = asyncio.create_task(room.storage.exists(path="a"))
        await server.until_received("storage.exists")
        release.set()
        assert await room.storage.exists(path="b") is False
        assert await first is True


async def test_refusals_raise_the_class_of_their_code() -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise PermissionDeniedError("not for you")

    async with joined() as (room, server):
        server.replies["storage.delete"] = refuse
        with pytest.raises(PermissionDeniedError, match="not for you"):
            await room.storage.delete("a")


async def test_an_answer_of_the_wrong_kind_raises() -> None:
    async with joined() as (room, server):
        server.replies["storage.exists"] = lambda header, payload: TextBody(text="yes")
        with pytest.raises(RoomException, match="text"):
            await room.storage.exists(path="a")


async def test_raw_requests_return_contents() -> None:
    async with joined() as (room, server):
        server.replies["echo"] = lambda header, payload: FileBody(data=payload, name="n", mime_type="m")
        answer = await room.send_request("echo", {"a": 1}, b"bytes")
        assert isinstance(answer, FileBody)
        assert answer.data == b"bytes"
        assert server.received("echo") == [({"a": 1}, b"bytes")]


async def test_pending_requests_fail_when_the_connection_ends() -> None:
    async with joined() as (room, server):
        server.replies["queues.receive"] = lambda header, payload: NO_ANSWER
        waiting = asyncio.create_task(room.queues.receive("jobs"))
        await server.until_received("queues.receive")
        await server.protocol.__aexit__(None, None, None)
        with pytest.raises(ConnectionLostError):
            await waiting
        await room.wait_for_close()
        with pytest.raises(ConnectionLostError):
            await room.queues.receive("jobs")
        await server.protocol.__aenter__()  # so that the fixture can leave it


async def test_leaving_fails_pending_requests_and_frees_the_protocol() -> None:
    client_end, server_end = memory_pair()
    async with ScriptedServer(server_end) as server:
        server.replies["queues.receive"] = lambda header, payload: NO_ANSWER
        async with client_end:
            async with RoomClient(protocol=client_end) as first:
                waiting = asyncio.create_task(first.queues.receive("jobs"))
                await server.until_received("queues.receive")
            with pytest.raises(ConnectionLostError):
                await waiting
            async with RoomClient(protocol=client_end) as second:  # learns of the room what the first did
                assert second.room_name == "my-room"


async def test_one_client_at_a_time_on_a_connection() -> None:
    async with joined() as (room, server):
        other = RoomClient(protocol=room.protocol)
        with pytest.raises(InvalidStateError):
            await other.__aenter__()
        with pytest.raises(InvalidStateError):
            await room.__aenter__()
        await room.storage.delete("a")  # the first works on
        assert server.received("storage.delete")


async def test_a_client_can_join_again() -> None:
    protocol = BreakableProtocol()
    room = RoomClient(protocol=protocol)
    for attempt in (1, 2):
        async with room:
            assert room.local_participant.id == f"me{attempt}"
            await room.storage.delete("a")
        with pytest.raises(ConnectionLostError):
            await room.storage.delete("a")


async def test_a_cancelled_request_leaves_nothing_behind() -> None:
    async with joined() as (room, server):
        server.replies["queues.receive"] = lambda header, payload: NO_ANSWER
        waiting = asyncio.create_task(room.queues.receive("jobs"))
        await server.until_received("queues.receive")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await server.until_received("queues.cancel_receive")
        await room.storage.delete("a")  # its answer comes after the one to the cancellation
        assert room._connection._requests._pending == {}


async def test_typed_calls_decode_their_results() -> None:
    async with joined() as (room, server):
        server.replies["storage.list"] = lambda header, payload: {
            "files": [{"name": "a", "is_folder": False, "created_at": "t", "updated_at": "t", "new_key": 1}]
        }
        result = await room.call(storage.LIST, storage.PathRequest(path=""))
        assert [file.name for file in result.files] == ["a"]


async def test_attributes_are_set_at_once_and_sent() -> None:
    async with joined() as (room, server):
        await room.local_participant.set_attribute("mood", "good")
        assert room.local_participant.get_attribute("mood") == "good"
        assert await server.until_received("set_attributes") == [({"mood": "good"}, b"")]


async def test_status_is_an_event_and_handlers_are_isolated() -> None:
    async with joined() as (room, server):
        seen: list[object] = []
        arrived = asyncio.Event()

        def broken(**_: object) -> None:
            raise ValueError("a handler's own fault")

        async def waits_for_a_request(status: str) -> None:
            seen.append((status, await room.storage.exists(path="a")))
            arrived.set()

        server.replies["storage.exists"] = lambda header, payload: {"exists": True}
        room.on("room.status", broken)
        room.on("room.status", lambda status, message: seen.append((status, message)))
        room.on("room.status", waits_for_a_request)
        await server.event("room.status", {"status": "starting", "message": "soon"})
        await asyncio.wait_for(arrived.wait(), 5)
        assert seen == [("starting", "soon"), ("starting", True)]
        room.off("room.status", waits_for_a_request)
        room.off("room.status", waits_for_a_request)  # twice is harmless


async def test_a_hosted_tool_may_call_the_room_from_its_handler() -> None:
    async with joined() as (room, server):
        done = asyncio.Event()

        async def tool(protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
            assert await room.storage.exists(path="a")
            done.set()

        server.replies["storage.exists"] = lambda header, payload: {"exists": True}
        room.protocol.register_handler("agent.tool_call.kit", tool)
        await server.event("agent.tool_call.kit", {"name": "t"})
        await asyncio.wait_for(done.wait(), 5)


async def test_no_task_outlives_the_client() -> None:
    before = asyncio.all_tasks()
    async with joined() as (room, server):
        room.on("room.status", lambda **_: asyncio.Event().wait())
        await server.event("room.status", {})
        await room.storage.delete("a")
    assert asyncio.all_tasks() == before


async def test_sending_on_a_closed_connection_fails_at_once() -> None:
    async with joined() as (room, _):
        room.protocol.close()
        with pytest.raises(ChanClosed):
            await room.protocol.send("x", b"")


@pytest.mark.parametrize("turns", range(1, 12))
async def test_leaving_disconnects_even_when_it_is_cancelled(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    client_end, server_end = memory_pair()
    closed: list[str] = []
    close_transport = client_end.close_transport

    async def noted_close() -> None:
        closed.append("closed")
        await close_transport()

    monkeypatch.setattr(client_end, "close_transport", noted_close)
    async with ScriptedServer(server_end):
        room = RoomClient(protocol=client_end)
        await room.__aenter__()
        leaving = asyncio.create_task(room.__aexit__(None, None, None))
        for _ in range(turns):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
        assert closed == ["closed"]
