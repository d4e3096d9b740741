"""A client that speaks the wire and nothing else: what the spec says, byte by byte, without the SDK's comfort.

It sends packets of 1024 bytes as clients of the 0.5 generation do, keeps everything that it received in
order, and answers nothing by itself.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Reassembler, iter_packets
from tests.support.server import TestServer

CLIENT_PACKET_BYTES = 1024


@dataclass(frozen=True)
class Received:
    """One message as it came."""

    id: int
    type: str
    header: dict[str, Any]
    payload: bytes


@dataclass
class WireClient:
    """One participant on a bare socket."""

    socket: aiohttp.ClientWebSocketResponse
    log: list[Received] = field(default_factory=list)
    _next_id: int = 0
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _untaken: dict[str, list[Received]] = field(default_factory=dict)
    closed: bool = False
    packet_bytes: int = CLIENT_PACKET_BYTES
    _reading: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._reading.set()

    def stop_reading(self) -> None:
        """Leave what comes in the socket, after at most one more message."""
        self._reading.clear()

    def read_on(self) -> None:
        """Undo `stop_reading`."""
        self._reading.set()

    async def send(
        self, message_type: str, header: dict[str, Any], payload: bytes = b"", *, message_id: int | None = None
    ) -> int:
        """Send one message and return its id; ids start at 0, as in JavaScript."""
        if message_id is None:
            message_id = self._next_id
            self._next_id += 1
        data = envelope.pack({**header, "__meshagent__": {"v": 1, "otel": {}}}, payload)
        for packet in iter_packets(message_id, message_type, data, self.packet_bytes):
            await self.socket.send_bytes(packet)
        return message_id

    async def request(self, message_type: str, header: dict[str, Any] | None = None, payload: bytes = b"") -> Received:
        """Send a request and wait for its answer."""
        message_id = await self.send(message_type, header or {}, payload)
        return await self.answer(message_id)

    async def answer(self, message_id: int) -> Received:
        """The answer to the request of that id."""
        return await self.expect("__response__", lambda message: message.id == message_id)

    async def ok(self, message_type: str, header: dict[str, Any] | None = None, payload: bytes = b"") -> Any:
        """Send a request that must succeed; the JSON of its answer, None for empty."""
        answer = await self.request(message_type, header, payload)
        assert answer.header["type"] != "error", answer.header
        return answer.header.get("json")

    async def error(self, message_type: str, header: dict[str, Any] | None = None, payload: bytes = b"") -> str:
        """Send a request that must fail; the text of the failure."""
        answer = await self.request(message_type, header, payload)
        assert answer.header["type"] == "error", answer.header
        return str(answer.header["text"])

    async def expect(self, message_type: str, matches: Any = lambda _: True) -> Received:
        """The first message of a type, not taken before, for which `matches` holds; waits for it."""
        async with asyncio.timeout(20):
            while True:
                untaken = self._untaken.get(message_type, [])
                for index, message in enumerate(untaken):
                    if matches(message):
                        return untaken.pop(index)
                if self.closed:
                    raise AssertionError(f"the connection ended before a {message_type} came")
                async with self._arrived:
                    await self._arrived.wait()

    def of_type(self, message_type: str) -> list[Received]:
        """All messages of a type so far."""
        return [message for message in self.log if message.type == message_type]

    async def message(self, kind: str) -> Received:
        """The next `messaging.send` event whose own type is `kind`."""
        return await self.expect("messaging.send", lambda message: message.header["type"] == kind)

    async def settle(self) -> None:
        """Wait until the server has handled all that was sent and this client has seen what came of it."""
        await self.ok("storage.exists", {"path": ""})

    async def open_document(self, path: str, *, create: bool = True) -> tuple[dict[str, Any], bytes]:
        """Connect to a document; its schema, and its state as a Yjs update."""
        schema = (await self.ok("room.connect", {"path": path, "create": create}))["schema"]
        event = await self.expect("room.sync", lambda message: message.header["path"] == path)
        return schema, base64.b64decode(event.payload, validate=True)

    @property
    def participant_id(self) -> str:
        return str(self.of_type("connected")[0].header["participantId"])

    async def _read(self) -> None:
        reassembler = Reassembler()
        async for frame in self.socket:
            await self._reading.wait()
            assert frame.type is aiohttp.WSMsgType.BINARY, "the server must send binary frames only"
            message = reassembler.receive(frame.data)
            if message is not None:
                header, payload = envelope.unpack(message.data)
                received = Received(message.id, message.type, header, payload)
                self.log.append(received)
                self._untaken.setdefault(received.type, []).append(received)
                async with self._arrived:
                    self._arrived.notify_all()
        assert reassembler.dropped == 0, "the server sent packets that fit no message"
        self.closed = True
        async with self._arrived:
            self._arrived.notify_all()


@asynccontextmanager
async def connect(url: str, token: str, *, room: str = "room") -> AsyncIterator[WireClient]:
    """A participant in a room of the server at `url`, ready."""
    room_url = f"{url}/rooms/{quote(room, safe='')}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(room_url, params={"token": token, "v": "0.5.18"}) as socket,
    ):
        client = WireClient(socket)
        reading = asyncio.create_task(client._read())
        try:
            await client.expect("room_ready")
            yield client
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def join(
    server: TestServer,
    name: str = "alice",
    *,
    room: str = "room",
    role: str | None = None,
    token: str | None = None,
) -> AsyncIterator[WireClient]:
    """A participant in a room of a test's server, ready."""
    jwt = token if token is not None else server.token(name, room=room, role=role)
    async with connect(server.url, jwt, room=room) as client:
        yield client
