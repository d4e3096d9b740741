"""How calls travel between the server and an engine process: messages in packets over a stream socket.

A packet is its length, the number of its message, and whether it is the message's last, then bytes. Long messages go
in several packets, so that short ones get in between. A message is MessagePack of one of the structs below.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import msgspec

from meshagent.api.errors import InvalidRequestError
from meshagent.server.engines.errors import SentError
from meshagent.server.stores.disk import Durability
from meshagent.server.stores.tables.settings import DatabaseLimits, MaintenanceSettings

__all__ = [
    "PACKET_BYTES",
    "Answer",
    "Call",
    "Cancel",
    "CloseRoom",
    "End",
    "Failure",
    "FromEngine",
    "LogEntry",
    "Notice",
    "PacketSocket",
    "Ping",
    "Pong",
    "Start",
    "ToEngine",
    "encoded",
]

PACKET_BYTES = 256 * 1024
_HEAD = struct.Struct("!II?")
_BUFFER_BYTES = 1024 * 1024


class _Message(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """A message; its class name travels as its first item."""


class Start(_Message, frozen=True):
    """The first message to a process: what it serves, and its bounds."""

    root: str
    durability: Durability
    limits: DatabaseLimits
    maintenance: MaintenanceSettings
    memory_bytes: int
    log_level: int


class Call(_Message, frozen=True):
    """Call a method of a room's `RoomTableStore`; answered by `Answer` or `Failure`."""

    number: int
    room: str
    method: str
    arguments: msgspec.Raw


class Notice(_Message, frozen=True):
    """A call without an answer."""

    room: str
    method: str
    arguments: msgspec.Raw


class Cancel(_Message, frozen=True):
    """Nobody waits for a call any more."""

    number: int


class CloseRoom(_Message, frozen=True):
    """Finish the writes of a room and let go of it; answered by `Answer`."""

    number: int
    room: str


class End(_Message, frozen=True):
    """Close all rooms, and end."""


class Ping(_Message, frozen=True):
    """Asks for a `Pong`."""


class Answer(_Message, frozen=True):
    """The result of a call."""

    number: int
    result: msgspec.Raw


class Failure(_Message, frozen=True):
    """A call failed."""

    number: int
    error: SentError


class Pong(_Message, frozen=True):
    """The process takes messages.

    Attributes:
        running: The calls that are being worked on, and not only wait for others, and for how many seconds.
        in_use: Whether it holds an open query, stream or upload of somebody.
    """

    running: dict[int, float]
    in_use: bool


class LogEntry(_Message, frozen=True):
    """What the process has to say to the operator."""

    level: int
    logger: str
    text: str


ToEngine = Start | Call | Notice | Cancel | CloseRoom | End | Ping
FromEngine = Answer | Failure | Pong | LogEntry


class PacketSocket(asyncio.Protocol):
    """One end of the socket.

    Args:
        received: Called with each message.
        lost: Called once, when the other end is gone.
    """

    def __init__(self, received: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._parts: dict[int, list[bytes]] = {}
        self._number = 0
        self._paused = False
        self._outgoing: list[bytes | memoryview] = []
        self._outgoing_bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def is_free(self) -> bool:
        """Whether a message would be taken at once."""
        return not self._paused and not self._waiting

    def send_now(self, message: msgspec.Struct) -> None:
        """Send a short message without waiting; nothing happens when the other end is gone."""
        self._write(_encode(message), last=True)

    async def send(self, message: msgspec.Struct) -> None:
        """Send a message, no faster than the other end reads; messages of other senders may get in between."""
        data = memoryview(_encode(message))
        self._number = number = self._number % 0xFFFFFFFF + 1
        for start in range(0, len(data), PACKET_BYTES):
            await self._free()
            self._write(data[start : start + PACKET_BYTES], last=start + PACKET_BYTES >= len(data), number=number)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.abort()

    def flush(self) -> None:
        """Hand to the system what was sent in this turn of the loop.

        In one piece: the other side then handles the calls of one turn in one turn too, and inserts among them share
        a commit.
        """
        outgoing, self._outgoing, self._outgoing_bytes = self._outgoing, [], 0
        if outgoing and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(outgoing))

    def _write(self, data: bytes | memoryview, *, last: bool, number: int = 0) -> None:
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self.flush)
        self._outgoing += (_HEAD.pack(len(data), number, last), data)
        self._outgoing_bytes += len(data)
        if self._outgoing_bytes > PACKET_BYTES:
            self.flush()

    async def _free(self) -> None:
        while self._paused:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    # --- asyncio.Protocol ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_BUFFER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.resume_writing()
        self._lost()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        position = 0
        while len(buffer) - position >= _HEAD.size:
            length, number, last = _HEAD.unpack_from(buffer, position)
            end = position + _HEAD.size + length
            if len(buffer) < end:
                break
            part = bytes(memoryview(buffer)[position + _HEAD.size : end])
            position = end
            self._take(number, part, last)
        del buffer[:position]

    def _take(self, number: int, part: bytes, last: bool) -> None:
        if number in self._parts:
            self._parts[number].append(part)
        elif not last:
            self._parts[number] = [part]
        if last:
            parts = self._parts.pop(number, None)
            self._received(part if parts is None else b"".join(parts))


_encoder = msgspec.msgpack.Encoder()


def _encode(message: msgspec.Struct) -> bytes:
    return _encoder.encode(message)


def encoded(value: Any) -> msgspec.Raw:
    """Arguments or a result, as they travel.

    Raises:
        InvalidRequestError: There is a whole number in it that does not fit 64 bits, such as a limit of 10^30.
    """
    try:
        return msgspec.Raw(_encoder.encode(value))
    except OverflowError:
        raise InvalidRequestError("a whole number in the request does not fit 64 bits") from None
