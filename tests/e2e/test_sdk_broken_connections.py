"""Connections that break again and again while documents are edited: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from meshagent.api import RoomClient, WebSocketClientProtocol
from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.room.reconnect import ReconnectPolicy
from tests.support.server import TestServer

WRITERS = 3
EDITS = 40
IMPATIENT = ReconnectPolicy(initial_delay=0.001, max_delay=0.01)


def cut_cable(room: RoomClient) -> None:
    """Break the client's TCP connection, if it has one right now."""
    socket = room.protocol._socket  # type: ignore[attr-defined]  # the transport's own
    connection = socket._response.connection if socket is not None else None
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def headings(document: RuntimeDocument) -> list[str]:
    return [child["heading"]["text"] for child in document.to_json()["document"]["content"]]


async def write(room: RoomClient, name: str, chance: random.Random) -> None:
    """Edit with pauses, and cut the own connection now and then, also in the middle of reconnecting."""
    document = room.sync.get_open_documents()["notes.document"]
    for number in range(EDITS):
        position = chance.randint(0, len(document.root.get_children()))
        document.root.insert_child_at(position, "heading", {"text": f"{name} {number}"})
        if chance.random() < 0.2:
            cut_cable(room)
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.005]))


@pytest.mark.parametrize("seed", range(4))
async def test_every_edit_arrives_exactly_once(server: TestServer, seed: int) -> None:
    async with AsyncExitStack() as stack:
        rooms = []
        for number in range(WRITERS):
            protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token(f"writer {number}"))
            room = await stack.enter_async_context(RoomClient(protocol=protocol, reconnect=IMPATIENT))
            await room.sync.open("notes.document")
            rooms.append(room)
        documents = [room.sync.get_open_documents()["notes.document"] for room in rooms]
        await asyncio.gather(
            *(write(room, str(number), random.Random(seed * 100 + number)) for number, room in enumerate(rooms))
        )
        for room in rooms:
            await room.sync.close("notes.document")
        protocol = WebSocketClientProtocol(url=server.room_url(), token=server.token("reader"))
        reader = await stack.enter_async_context(RoomClient(protocol=protocol))
        stored = headings(await reader.sync.open("notes.document"))
        assert Counter(stored) == Counter(f"{writer} {n}" for writer in range(WRITERS) for n in range(EDITS))
        assert all(set(headings(document)) <= set(stored) for document in documents)
