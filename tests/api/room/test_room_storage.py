"""Files of the room client: opening in both forms, pieces of large writes, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from meshagent.api.contracts.content import FileBody
from meshagent.api.errors import AlreadyExistsError, ConnectionLostError, InvalidStateError, NotFoundError
from meshagent.api.room.client import RoomClient
from meshagent.api.room.files import WRITE_SIZE, WRITES_IN_FLIGHT, FileHandle
from meshagent.api.room.reconnect import ReconnectPolicy
from tests.support.scripted_server import NO_ANSWER, BreakableProtocol, ScriptedServer, memory_pair


def serve_handles(server: ScriptedServer) -> None:
    server.replies["storage.open"] = lambda header, payload: {"handle": "h"}


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[RoomClient, ScriptedServer]]:
    client_end, server_end = memory_pair()
    async with ScriptedServer(server_end) as server, RoomClient(protocol=client_end) as room:
        serve_handles(server)
        yield room, server


def kinds(server: ScriptedServer) -> list[str]:
    return [kind for kind, _, _ in server.requests]


async def test_a_file_is_written_in_a_block() -> None:
    async with joined() as (room, server):
        async with room.storage.open(path="example.txt", overwrite=True) as f:
            await f.write(b"content")
            await f.write("é")
        assert kinds(server) == ["storage.open", "storage.write", "storage.write", "storage.close"]
        assert server.requests[0][1] == {"path": "example.txt", "overwrite": True}
        assert [payload for _, payload in server.received("storage.write")] == [b"content", "é".encode()]


async def test_a_file_is_written_step_by_step() -> None:
    async with joined() as (room, server):
        handle = await room.storage.open(path="a")
        assert handle.id == "h"
        await room.storage.write(handle=handle, data=b"")
        await room.storage.close(handle=handle)
        assert kinds(server) == ["storage.open", "storage.write", "storage.close"]


async def test_nothing_is_sent_before_the_opening_is_used_and_then_once() -> None:
    async with joined() as (room, server):
        opening = room.storage.open(path="a")
        await room.storage.delete("b")
        assert kinds(server) == ["storage.delete"]
        first, second = await opening, await opening
        assert first is second
        async with opening as third:
            assert third is first
        await first.close()  # again, harmless
        assert kinds(server) == ["storage.delete", "storage.open", "storage.close"]
        with pytest.raises(InvalidStateError):
            await first.write(b"late")


async def test_a_block_that_raises_publishes_nothing() -> None:
    async with joined() as (room, server):
        opening = room.storage.open(path="a")

        async def fail_in_the_block() -> None:
            async with opening as f:
                await f.write(b"half")
                raise ValueError("the block's own fault")

        with pytest.raises(ValueError, match="own"):
            await fail_in_the_block()
        assert kinds(server) == ["storage.open", "storage.write"]
        f = await opening
        await f.discard()
        await f.discard()
        assert server.received("storage.close") == [({"handle": "h", "discard": True}, b"")]


async def test_a_refused_opening_is_not_repeated() -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise AlreadyExistsError("there is a file")

    async with joined() as (room, server):
        server.replies["storage.open"] = refuse
        opening = room.storage.open("a")
        with pytest.raises(AlreadyExistsError):
            await opening
        with pytest.raises(InvalidStateError):
            await opening
        assert kinds(server) == ["storage.open"]


async def test_large_data_travels_in_pieces_in_order() -> None:
    data = bytes(range(256)) * (WRITE_SIZE // 64)
    async with joined() as (room, server):
        async with room.storage.open(path="a") as f:
            await f.write(data)
        pieces = [payload for _, payload in server.received("storage.write")]
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) == WRITE_SIZE


async def test_several_pieces_are_under_way_at_once_but_not_all() -> None:
    async with joined() as (room, server):
        server.replies["storage.write"] = lambda header, payload: NO_ANSWER
        handle = await room.storage.open(path="a")
        writing = asyncio.create_task(handle.write(b"x" * WRITE_SIZE * (WRITES_IN_FLIGHT + 3)))
        await server.until_received("storage.write", WRITES_IN_FLIGHT)
        await room.storage.delete("b")
        assert len(server.received("storage.write")) == WRITES_IN_FLIGHT
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing


async def test_a_refused_piece_stops_the_write() -> None:
    def refuse(header: dict[str, Any], payload: bytes) -> object:
        raise NotFoundError("no such handle")

    async with joined() as (room, server):
        server.replies["storage.write"] = refuse
        handle = await room.storage.open(path="a")
        with pytest.raises(NotFoundError):
            await handle.write(b"x" * WRITE_SIZE * 20)


async def test_a_handle_is_not_used_on_the_next_connection() -> None:
    protocol = BreakableProtocol(lambda attempt, server: serve_handles(server))
    async with RoomClient(protocol=protocol, reconnect=ReconnectPolicy(initial_delay=0)) as room:
        handle = await room.storage.open(path="a")
        protocol.break_connection()
        room.on("reconnected", (back := asyncio.Event()).set)
        await asyncio.wait_for(back.wait(), 5)
        with pytest.raises(ConnectionLostError):
            await handle.write(b"x")
        assert protocol.server.received("storage.write") == []


async def test_a_bare_handle_has_no_methods_that_work() -> None:
    with pytest.raises(InvalidStateError):
        await FileHandle("h").write(b"x")
    async with joined() as (room, server):
        await room.storage.write(handle=FileHandle("h"), data=b"x")
        assert server.received("storage.write") == [({"handle": "h"}, b"x")]


async def test_entries_are_described() -> None:
    async with joined() as (room, server):
        server.replies["storage.stat"] = lambda header, payload: (
            {"exists": False}
            if header["path"] == "none"
            else {
                "exists": True,
                "name": "a",
                "is_folder": False,
                "created_at": "2025-09-10T12:00:00+00:00",
                "updated_at": "2025-09-10T12:00:00",
                "size": 3,
            }
        )
        assert await room.storage.stat(path="none") is None
        entry = await room.storage.stat(path="a")
        moment = datetime(2025, 9, 10, 12, tzinfo=UTC)
        assert entry is not None
        assert vars(entry) == {
            "name": "a",
            "is_folder": False,
            "created_at": moment,
            "updated_at": moment,
            "size": 3,
        }


async def test_files_are_read_moved_and_deleted() -> None:
    async with joined() as (room, server):
        server.replies["storage.download"] = lambda header, payload: FileBody(
            data=b"d", name="a", mime_type="text/plain"
        )
        server.replies["storage.download_url"] = lambda header, payload: {"url": "http://x/a"}
        assert (await room.storage.download(path="a")).data == b"d"
        assert await room.storage.download_url(path="a") == "http://x/a"
        await room.storage.move("a", "b")
        await room.storage.delete("b", recursive=True)
        assert server.requests[-2:] == [
            ("storage.move", {"source_path": "a", "destination_path": "b", "overwrite": False}, b""),
            ("storage.delete", {"path": "b", "recursive": True}, b""),
        ]


async def test_file_events_reach_handlers_with_what_they_take() -> None:
    async with joined() as (room, server):
        seen: list[object] = []
        done = asyncio.Event()
        room.storage.on("file.updated", lambda path: seen.append(path))
        room.storage.on("file.updated", lambda path, participant_id: seen.append((path, participant_id)))

        async def deleted(**values: object) -> None:
            seen.append(values)
            done.set()

        room.storage.on("file.deleted", deleted)
        await server.event("storage.file.updated", {"path": "a", "participant_id": "bob"})
        await server.event("storage.file.deleted", {"path": "a", "participant_id": None})
        await asyncio.wait_for(done.wait(), 5)
        assert seen == ["a", ("a", "bob"), {"path": "a", "participant_id": None}]
