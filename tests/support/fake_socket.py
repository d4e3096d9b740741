"""A client's socket that keeps what is written to it, for rooms without a network."""

from __future__ import annotations

import asyncio

from meshagent.api import jsontext
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Message, Reassembler
from meshagent.server.rooms.connection import Connection
from meshagent.server.websocket.handler import ClientSocket


class FakeSocket(ClientSocket):
    """Tells its handler of its end as the real one does: in a later turn of the loop.

    Attributes:
        closed: Code and reason of a close frame, if one was sent.
        dropped: Whether the connection was cut without one.
    """

    buffered = 0
    congested = False
    taken = 0
    sent_bytes = 0
    acknowledged = None

    def __init__(self, handler: Connection) -> None:
        self.frames = b""
        self.closed: tuple[int, str] | None = None
        self.dropped = False
        self.is_reading = True
        self.emptied = asyncio.Event()
        self.emptied.set()
        self._handler = handler

    @classmethod
    def joined(cls, handler: object) -> FakeSocket:
        """A socket whose handshake was accepted just now, with `handler` as its handler."""
        assert isinstance(handler, Connection)
        socket = cls(handler)
        handler.connected(socket)
        return socket

    def write(self, frames: bytes) -> None:
        self.frames += frames

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.closed is None and not self.dropped:
            self.closed = (code, reason)
            asyncio.get_running_loop().call_soon(self._handler.lost, code, reason)

    def drop(self, code: int = 1006, reason: str = "dropped by the server") -> None:
        if self.closed is None and not self.dropped:
            self.dropped = True
            asyncio.get_running_loop().call_soon(self._handler.lost, code, reason)

    async def drained(self) -> bool:
        await self.emptied.wait()
        return True

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def messages(self) -> list[Message]:
        """What was written, as messages."""
        reassembler = Reassembler(1_000_000)
        found = [reassembler.receive(packet) for packet in _payloads(self.frames)]
        return [message for message in found if message is not None]

    def headers(self) -> list[tuple[str, object]]:
        """Type and JSON header of each message."""
        return [(message.type, jsontext.loads(envelope.split(message.data)[0])) for message in self.messages()]


def _payloads(frames: bytes) -> list[bytes]:
    """The payloads of unmasked, unfragmented WebSocket frames (RFC 6455 section 5.2)."""
    found = []
    while frames:
        size, head = frames[1], 2
        if size == 126:
            size, head = int.from_bytes(frames[2:4], "big"), 4
        elif size == 127:
            size, head = int.from_bytes(frames[2:10], "big"), 10
        found.append(frames[head : head + size])
        frames = frames[head + size :]
    return found
