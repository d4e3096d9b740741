"""A WebSocket client made of raw bytes, and a server around the shell, for tests of the edge."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType

from aiohttp import web

from meshagent.server.websocket.handler import ClientSocket
from meshagent.server.websocket.shell import WebSocket, WebSocketHandler, WebSocketLimits, WebSocketShell

KEY = base64.b64encode(bytes(range(16))).decode()


def client_frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes = b"\x11\x22\x33\x44") -> bytes:
    """A masked frame with the shortest length form."""
    length = len(payload)
    first = (0x80 if fin else 0) | opcode
    if length < 126:
        head = bytes((first, 0x80 | length))
    elif length < 65536:
        head = bytes((first, 0xFE)) + length.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + length.to_bytes(8, "big")
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def handshake(path: str = "/ws", *, without: str = "", **headers: str) -> bytes:
    """A request head; underscores in `headers` stand for dashes, and they replace the defaults."""
    fields = {
        "host": "localhost",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-key": KEY,
    }
    fields |= {name.replace("_", "-").lower(): value for name, value in headers.items()}
    fields.pop(without, None)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition that nothing announces."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.001)


class Peer:
    """The client's end of one TCP connection. Every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> Peer:
        """A TCP connection that has said nothing yet."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls))

    @classmethod
    async def join(cls, port: int, tls: ssl.SSLContext | None = None) -> Peer:
        """A connection with an accepted handshake."""
        peer = await cls.connect(port, tls)
        peer.send(handshake())
        assert (await peer.head()).startswith("HTTP/1.1 101 ")
        return peer

    def send(self, data: bytes) -> None:
        """Send raw bytes."""
        self.writer.write(data)

    async def head(self) -> str:
        """The next response head; the body stays unread."""
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode()

    async def body_until(self, end: bytes) -> bytes:
        """What comes up to and including `end`."""
        return await asyncio.wait_for(self.reader.readuntil(end), 5)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame, which must be whole and unmasked: opcode and payload."""
        async with asyncio.timeout(5):
            first, length = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8), "big")
            return first & 0x0F, await self.reader.readexactly(length)

    async def close_code(self) -> int:
        """The code of the close frame that comes next."""
        opcode, payload = await self.frame()
        assert opcode == 0x8
        return int.from_bytes(payload[:2], "big")

    async def rest(self) -> bytes:
        """Everything until the connection ends, be it cleanly or not."""
        received = bytearray()
        try:
            async with asyncio.timeout(5):
                while data := await self.reader.read(65536):
                    received += data
        except ConnectionError:
            pass
        return bytes(received)


class Recorder(WebSocketHandler):
    """A handler that notes what happens to its connection."""

    def __init__(self) -> None:
        self.socket: WebSocket
        self.messages: list[bytes] = []
        self.texts: list[str] = []
        self.losses: list[tuple[int, str]] = []
        self.writable_calls = 0
        self.takes_text = False
        self.on_message: Callable[[bytes], None] = self.messages.append
        self.on_writable: Callable[[], None] = lambda: None
        self.changed = asyncio.Event()

    def connected(self, socket: ClientSocket) -> None:
        assert isinstance(socket, WebSocket)
        self.socket = socket

    def received(self, message: bytes) -> None:
        self.on_message(message)
        self.changed.set()

    def received_text(self, text: str) -> bool:
        self.texts.append(text)
        self.changed.set()
        return self.takes_text

    def lost(self, code: int, reason: str) -> None:
        self.losses.append((code, reason))
        self.changed.set()

    def writable(self) -> None:
        self.writable_calls += 1
        self.on_writable()
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something this handler is told to make `condition` true."""
        async with asyncio.timeout(5):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_lost(self) -> tuple[int, str]:
        """Wait for the end; the code and reason that were reported once."""
        await self.until(lambda: bool(self.losses))
        assert len(self.losses) == 1
        return self.losses[0]


class ShellServer:
    """A running aiohttp server: `/ws` joins, `/plain` answers "plain"."""

    def __init__(
        self, shell: WebSocketShell, runner: web.AppRunner, port: int, joined: asyncio.Queue[Recorder]
    ) -> None:
        self.shell = shell
        self.runner = runner
        self.port = port
        self._joined = joined

    async def joined(self) -> Recorder:
        """The handler of the next connection that joined."""
        return await asyncio.wait_for(self._joined.get(), 5)

    async def join(self) -> tuple[Peer, Recorder]:
        """Both ends of a new connection."""
        peer = await Peer.join(self.port)
        return peer, await self.joined()


@asynccontextmanager
async def shell_server(
    limits: WebSocketLimits | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[ShellServer]:
    """Run a shell on an own port until the block ends."""
    shell = WebSocketShell(limits)
    joined: asyncio.Queue[Recorder] = asyncio.Queue()

    async def join(request: web.Request) -> web.StreamResponse:
        handler = Recorder()
        response = shell.upgrade(request, handler)
        if response.status == 101:
            joined.put_nowait(handler)
        return response

    async def plain(request: web.Request) -> web.Response:
        return web.Response(text="plain")

    async def stop(app: web.Application) -> None:
        await shell.close()

    app = web.Application()
    app.router.add_get("/ws", join)
    app.router.add_get("/plain", plain)
    app.on_shutdown.append(stop)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield ShellServer(shell, runner, runner.addresses[0][1], joined)
    finally:
        await runner.cleanup()
