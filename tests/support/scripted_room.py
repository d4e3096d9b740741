"""The room's end of the wire, as far as a service needs it to join, be dismissed and be cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer as AiohttpServer

from meshagent.api.contracts.messaging import MESSAGE
from meshagent.api.wire import envelope, names
from meshagent.api.wire.packets import Reassembler, iter_packets


@dataclass
class ScriptedRoom:
    """Answers storage requests, keeps the files that were written, and notes who came.

    Attributes:
        url: Where to join.
        tokens: The tokens of those who came, in order.
        files: Closed files by path.
        present: How many are here now.
    """

    url: str = ""
    tokens: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    present: int = 0
    _sockets: set[web.WebSocketResponse] = field(default_factory=set)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _handles: dict[str, tuple[str, bytearray]] = field(default_factory=dict)

    async def until_present(self, count: int) -> None:
        """Wait until exactly `count` participants are here."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.present == count)

    async def send_message(self, message_type: str, message: Any = None) -> None:
        """Send a messaging message to everybody."""
        header = {"from_participant_id": "someone", "type": message_type, "message": message or {}}
        for socket in list(self._sockets):
            await _send(socket, 900, MESSAGE.name, header)

    async def hang_up(self) -> None:
        """Close all connections, as a room that ends."""
        for socket in list(self._sockets):
            await socket.close(code=1000)

    async def enter(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.tokens.append(request.query["token"])
        participant = f"p{len(self.tokens)}"
        welcome = {"type": "init", "participantId": participant, "attributes": {"name": participant}}
        await _send(socket, 1, names.CONNECTED, welcome)
        await _send(socket, 2, names.ROOM_READY, {"room_name": "room", "room_url": self.url, "session_id": "s"})
        self._sockets.add(socket)
        await self._count(1)
        try:
            await self._serve(socket)
        finally:
            self._sockets.discard(socket)
            await self._count(-1)
        return socket

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        reassembler = Reassembler()
        async for packet in socket:
            message = reassembler.receive(packet.data)
            if message is not None:
                header, payload = envelope.unpack(message.data)
                answer = self._answer(message.type, header, payload)
                await _send(socket, message.id, names.RESPONSE, answer)

    def _answer(self, request: str, header: dict[str, Any], payload: bytes) -> dict[str, Any]:
        if request == "storage.open":
            handle = f"h{len(self._handles)}"
            self._handles[handle] = (header["path"], bytearray())
            return {"type": "json", "json": {"handle": handle}}
        if request == "storage.write":
            self._handles[header["handle"]][1].extend(payload)
        elif request == "storage.close":
            path, content = self._handles[header["handle"]]
            self.files[path] = bytes(content)
        else:
            return {"type": "error", "text": f"the script knows no {request}"}
        return {"type": "empty"}

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.present += change
            self._changed.notify_all()


async def _send(socket: web.WebSocketResponse, message_id: int, message_type: str, header: dict[str, Any]) -> None:
    for packet in iter_packets(message_id, message_type, envelope.pack(header)):
        await socket.send_bytes(packet)


@asynccontextmanager
async def scripted_room() -> AsyncIterator[ScriptedRoom]:
    """A room on a free port, for the length of the block."""
    room = ScriptedRoom()
    app = web.Application()
    app.router.add_get("/rooms/room", room.enter)
    server = AiohttpServer(app, host="127.0.0.1")
    await server.start_server()
    room.url = str(server.make_url("/rooms/room")).replace("http", "ws", 1)
    try:
        yield room
    finally:
        await room.hang_up()
        await server.close()
