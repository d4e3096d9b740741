"""The WebSocket shell: connections that deliver whole messages and take pre-built frames.

It knows no room. It enforces RFC 6455, bounds memory and time per connection, and keeps the path of a
message short: no task, queue or coroutine per frame. Why it is not aiohttp's own WebSocket:
docs/decisions/0002-websocket-shell.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set as AbstractSet
from typing import Final

from aiohttp import web

from meshagent.server.websocket.connection import WebSocket, WebSocketLimits
from meshagent.server.websocket.corker import Corker
from meshagent.server.websocket.expiry import ExpiryQueue
from meshagent.server.websocket.frames import server_frame
from meshagent.server.websocket.handler import WebSocketHandler
from meshagent.server.websocket.handshake import UpgradedResponse, check_handshake, switching_protocols, take_transport
from meshagent.server.websocket.heartbeat import Heartbeat
from meshagent.server.websocket.read_slices import ReadTurns

__all__ = [
    "WebSocket",
    "WebSocketHandler",
    "WebSocketLimits",
    "WebSocketShell",
    "check_handshake",
    "server_frame",
]

_READ_BUFFER_BYTES: Final = 256 * 1024


class WebSocketShell:
    """All WebSocket connections of one server: what they share, and their common end.

    Create it on the running loop; `await close()` when the server stops, before aiohttp's own
    clean-up (an `on_shutdown` hook is the place).

    Args:
        limits: Bounds of every connection.
    """

    def __init__(self, limits: WebSocketLimits | None = None) -> None:
        self.limits = limits if limits is not None else WebSocketLimits()
        self.loop = asyncio.get_running_loop()
        self.corker = Corker(self.loop)
        self.read_buffer = memoryview(bytearray(_READ_BUFFER_BYTES))
        self.read_turns = ReadTurns()
        self._heartbeat = Heartbeat(self.loop, self.limits.ping_interval, self.limits.ping_timeout)
        self._sockets: set[WebSocket] = set()
        self._expiry = ExpiryQueue(self._sockets)
        self._closing = False
        self._emptied = asyncio.Event()

    @property
    def sockets(self) -> AbstractSet[WebSocket]:
        """The connections that stand, closing ones included. Do not keep it over an await."""
        return self._sockets

    def upgrade(
        self, request: web.Request, handler: WebSocketHandler, *, expires_at: float | None = None
    ) -> web.StreamResponse:
        """Turn `request` into a connection of `handler`; the aiohttp handler returns what this returns.

        Authenticate first. A faulty handshake gives a plain HTTP refusal (400 or 426, see
        `check_handshake`), a closing shell 503; `handler` is not called then. Otherwise
        `handler.connected` has been called on return, and `received` too for messages that came
        right behind the handshake; do not touch the request's transport any more. The connection is closed at
        `expires_at`, in seconds since 1970.
        """
        refusal = check_handshake(request)
        if refusal is not None:
            return refusal
        taken = None if self._closing else take_transport(request)
        if taken is None:
            return web.Response(status=503, text="the server is shutting down")
        transport, early_bytes = taken
        socket = WebSocket(self, transport, handler, request.remote or "")
        self._sockets.add(socket)
        transport.write(switching_protocols(request))
        transport.set_protocol(socket)
        self._heartbeat.add(socket)
        socket.start(early_bytes)
        if expires_at is not None:
            self._expiry.add(socket, expires_at)
        return UpgradedResponse()

    def forget(self, socket: WebSocket) -> None:
        """A connection is gone; the socket calls it."""
        self._heartbeat.discard(socket)
        self._sockets.discard(socket)
        if not self._sockets:
            self._emptied.set()

    async def close(self, code: int = 1001, reason: str = "server shutdown") -> None:
        """Close every connection and wait until all are gone, at most about `close_timeout`.

        New handshakes are refused with 503 from the start. Cancelling leaves the remaining
        connections to their own time limit.
        """
        self._closing = True
        for socket in tuple(self._sockets):
            socket.close(code, reason)
        if self._sockets:
            self._emptied.clear()
            await self._emptied.wait()
        self.corker.close()
        self._heartbeat.close()
        self._expiry.close()
