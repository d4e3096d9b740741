"""The opening handshake (RFC 6455 section 4.2) and taking the connection over from aiohttp.

aiohttp reads the HTTP request and runs the handler that decides who may enter. From the moment the
handshake is accepted the transport belongs to our protocol: aiohttp's connection object and handler
task end with the response and are freed, which is most of what an idle connection would cost.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = "13"
_KEY_BYTES: Final = 16


class UpgradedResponse(web.StreamResponse):
    """What a handler returns after the takeover: aiohttp logs it as status 101 and writes nothing."""

    def __init__(self) -> None:
        super().__init__(status=101)
        self.force_close()  # "no next request here": ends aiohttp's task for this connection

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write nothing: the 101 response has left, and the transport is not aiohttp's any more."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing, for the same reason."""


class _PendingBytes:
    """Stands in as aiohttp's payload parser to be handed what came right behind the request head."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """aiohttp says good-bye; nothing is held."""


def check_handshake(request: web.BaseRequest) -> web.Response | None:
    """The refusal to send if `request` is not a valid WebSocket handshake, None if it is.

    Refusals are plain HTTP: 426 for another WebSocket version, 400 for everything else. Extensions
    and subprotocols may be offered; none is ever selected.
    """
    headers = request.headers
    if request.method != hdrs.METH_GET or request.version != HttpVersion11:
        return _refuse("a WebSocket handshake is a GET request of HTTP/1.1")
    if request.body_exists:
        return _refuse("a WebSocket handshake has no body")
    if not _has_token(headers.getall(hdrs.UPGRADE, ()), "websocket"):
        return _refuse("this address speaks WebSocket: the header 'Upgrade: websocket' is missing")
    if not _has_token(headers.getall(hdrs.CONNECTION, ()), "upgrade"):
        return _refuse("the header 'Connection: Upgrade' is missing")
    if headers.getall(hdrs.SEC_WEBSOCKET_VERSION, ()) != [_VERSION]:
        return web.Response(
            status=426,
            text=f"only WebSocket version {_VERSION} is spoken here",
            headers={hdrs.SEC_WEBSOCKET_VERSION: _VERSION, hdrs.UPGRADE: "websocket"},
        )
    keys = headers.getall(hdrs.SEC_WEBSOCKET_KEY, ())
    if len(keys) != 1 or not _is_key(keys[0]):
        return _refuse("the header 'Sec-WebSocket-Key' must be one base64 value of 16 bytes")
    return None


def switching_protocols(request: web.BaseRequest) -> bytes:
    """The 101 response that accepts the handshake in `request`, which `check_handshake` passed."""
    key = request.headers[hdrs.SEC_WEBSOCKET_KEY].strip().encode()
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def take_transport(request: web.Request) -> tuple[asyncio.Transport, bytes] | None:
    """Detach the connection of `request` from aiohttp: its transport and the bytes already read.

    None if the peer has gone. Afterwards the handler must return an `UpgradedResponse` without
    using the request's transport; the server must not run with aiohttp's `handler_cancellation`.
    """
    http = request.protocol
    transport = http.transport
    if transport is None or transport.is_closing():
        return None
    pending = _PendingBytes()
    # The way aiohttp's own WebSocket gets the bytes behind the head; also lets a paused transport read.
    http.set_parser(pending)  # type: ignore[arg-type]  # declared for its own reader, uses these two methods
    # For aiohttp the connection ends here. Without a transport it closes nothing, but it cancels its
    # keep-alive timer, leaves its server's list (so its shutdown does not wait) and ends its task.
    http.transport = None
    http.connection_lost(None)
    return transport, pending.data


def _refuse(why: str) -> web.Response:
    return web.Response(status=400, text=why)


def _has_token(values: list[str] | tuple[()], wanted: str) -> bool:
    return any(token.strip().lower() == wanted for value in values for token in value.split(","))


def _is_key(value: str) -> bool:
    try:
        return len(base64.b64decode(value.strip(), validate=True)) == _KEY_BYTES
    except (binascii.Error, ValueError):
        return False
