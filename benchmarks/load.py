"""A light WebSocket client for generating load: it builds frames before the clock starts and reads only what it must.

The client masks its frames with the key 0, as RFC 6455 permits, so that a frame can be built once and sent as it is;
the server unmasks it like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

OPCODE_BINARY: Final = 0x2
OPCODE_CLOSE: Final = 0x8
OPCODE_PING: Final = 0x9
OPCODE_PONG: Final = 0xA

Sink = Callable[[bytes], None]


def client_frame(payload: bytes, opcode: int = OPCODE_BINARY) -> bytes:
    """One masked frame (with the key 0) as a client sends it."""
    size = len(payload)
    first = 0x80 | opcode
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8, "big")
    return b"".join((head, b"\0\0\0\0", payload))


class FrameReader:
    """Cuts what a server sends into payloads; feed it bytes as they come.

    Raises:
        ConnectionError: The server closed the connection, or sent a frame that is no whole binary message.
    """

    def __init__(self, pong: Callable[[bytes], None] | None = None) -> None:
        self._rest = b""
        self._pong = pong

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads of the binary frames that `data` completes."""
        if self._rest:
            data = self._rest + data
        payloads: list[bytes] = []
        position, end = 0, len(data)
        while end - position >= 2:
            size, start = data[position + 1], position + 2
            if size == 126:
                size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if end < start + size:
                break
            payload = data[start : start + size]
            if data[position] == 0x80 | OPCODE_BINARY:
                payloads.append(payload)
            else:
                self._control(data[position] & 0x0F, payload)
            position = start + size
        self._rest = data[position:]
        return payloads

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == OPCODE_PING:
            if self._pong is not None:
                self._pong(payload)
        elif opcode == OPCODE_CLOSE:
            raise ConnectionError(f"closed by the server with code {int.from_bytes(payload[:2], 'big')}")
        elif opcode != OPCODE_PONG:
            raise ConnectionError(f"unexpected frame with opcode {opcode}")


class Connection(asyncio.Protocol):
    """A WebSocket connection. What arrives goes to `sink` as raw bytes; until one is set, frames wait in a queue."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._head: bytearray | None = bytearray()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._reader = FrameReader(self._pong)
        self._transport: asyncio.Transport | None = None
        self.sink: Sink = self._keep
        self.failure: Exception | None = None

    @classmethod
    async def open(cls, port: int, target: str) -> Connection:
        """Connect to `target` (path and query) on the loopback interface.

        Raises:
            ConnectionError: The server did not accept the upgrade.
        """
        request = (
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(request), "127.0.0.1", port)
        try:
            await connection._opened
        except ConnectionError:
            connection.close()
            raise
        return connection

    def send(self, frames: bytes) -> None:
        """Write frames that are already built."""
        assert self._transport is not None
        self._transport.write(frames)

    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        assert self._transport is not None
        return self._transport.get_write_buffer_size()

    async def receive(self) -> bytes:
        """The next payload, as long as no other sink is set."""
        payload = await self._inbox.get()
        if payload is None:
            raise ConnectionError("the connection ended") from self.failure
        return payload

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self.sink(data)
            return
        self._head += data
        head, end, rest = bytes(self._head).partition(b"\r\n\r\n")
        if not end:
            return
        self._head = None
        if head.split(b" ", 2)[1] != b"101":
            self._opened.set_exception(ConnectionError(head.split(b"\r\n")[0].decode()))
            return
        self._opened.set_result(None)
        if rest:
            self.sink(rest)

    def connection_lost(self, exc: Exception | None) -> None:
        self.failure = exc
        self._inbox.put_nowait(None)
        if not self._opened.done():
            self._opened.set_exception(ConnectionError("closed before the upgrade"))

    def _keep(self, data: bytes) -> None:
        try:
            for payload in self._reader.feed(data):
                self._inbox.put_nowait(payload)
        except ConnectionError as error:
            self.failure = error
            self._inbox.put_nowait(None)

    def _pong(self, payload: bytes) -> None:
        self.send(client_frame(payload, OPCODE_PONG))


class Tally:
    """Bytes that arrived on several connections together, and a wait for a given total; use it as their sink.

    For receivers whose messages all have the same size on the wire: counting costs the generator almost nothing.
    """

    __slots__ = ("_reached", "_wanted", "received")

    def __init__(self) -> None:
        self.received = 0
        self._wanted = float("inf")
        self._reached = asyncio.Event()

    def __call__(self, data: bytes) -> None:
        self.received += len(data)
        if self.received >= self._wanted:
            self._wanted = float("inf")
            self._reached.set()

    async def reach(self, total: float) -> None:
        """Wait until `received` is at least `total`."""
        if self.received < total:
            self._reached.clear()
            self._wanted = total
            await self._reached.wait()

    async def quiet(self, seconds: float = 0.2) -> None:
        """Wait until nothing has arrived for `seconds`."""
        before = -1
        while self.received != before:
            before = self.received
            await asyncio.sleep(seconds)


class Recorder:
    """A sink that keeps the bytes, to be read when the clock has stopped."""

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def __call__(self, data: bytes) -> None:
        self.chunks.append(data)
