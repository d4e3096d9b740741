"""WebSocket connections to rooms and, for servers built on aiohttp, from participants (protocol 1)."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from yarl import URL

from meshagent.api.errors import RequestTimeoutError, RoomException
from meshagent.api.transport.chan import ChanClosed
from meshagent.api.transport.protocol import ABNORMAL_CLOSURE, ClientProtocol, Protocol
from meshagent.api.version import __version__
from meshagent.api.wire.close_codes import CloseCode
from meshagent.api.wire.packets import MAX_PACKET_SIZE

__all__ = ["UpgradeRefusedError", "WebSocketClientProtocol", "WebSocketServerProtocol"]

log = logging.getLogger(__name__)

_MAX_REASON_BYTES: Final = 4096
_REASON_TIMEOUT: Final = 2.0
_CLOSE_TIMEOUT: Final = 2.0
_TRY_LATER_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class UpgradeRefusedError(RoomException, aiohttp.WSServerHandshakeError):
    """The server answered the attempt to join with an HTTP status instead of a connection.

    Attributes:
        status: That status: 401 and 403 for a token that does not open this room, 404 for an unknown room, …
        reason: The server's own words, empty if it gave none.
        retryable: Whether the same token may be accepted later.
    """

    code = "refused"  # type: ignore[assignment]  # aiohttp has a deprecated number of that name

    def __init__(self, error: aiohttp.WSServerHandshakeError, reason: str) -> None:
        place = urlsplit(str(error.request_info.real_url))
        text = f"the server refused to open {place.scheme}://{place.netloc}{place.path} (HTTP {error.status})"
        self._text = f"{text}: {reason}" if reason else text
        aiohttp.WSServerHandshakeError.__init__(
            self, error.request_info, error.history, status=error.status, message=self._text, headers=error.headers
        )
        self.reason = reason
        self.retryable = error.status in _TRY_LATER_STATUSES  # type: ignore[misc]  # known per answer here

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._text!r})"  # never the URL's query: it holds the token


class _WebSocketTransport(Protocol):
    """Reads and writes the frames of an aiohttp WebSocket, whichever end it is."""

    _socket: aiohttp.ClientWebSocketResponse | web.WebSocketResponse | None = None

    async def read_packets(self) -> int:
        socket = self._socket
        assert socket is not None
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                self.receive_packet(message.data)
            elif message.type is aiohttp.WSMsgType.TEXT:
                log.warning("ignored a text frame: messages come in binary frames")
            elif message.type is aiohttp.WSMsgType.CLOSE:
                return int(message.data or CloseCode.NORMAL)
            elif message.type is aiohttp.WSMsgType.ERROR:
                log.info("connection lost: %s", message.data)
                return ABNORMAL_CLOSURE
            else:  # CLOSING: this end closed it. CLOSED: the stream ended without a close frame
                return CloseCode.NORMAL if message.type is aiohttp.WSMsgType.CLOSING else ABNORMAL_CLOSURE

    async def send_packet(self, data: bytes) -> None:
        socket = self._socket
        if socket is None or socket.closed:
            raise BrokenPipeError("the connection is closed")
        await socket.send_bytes(data)


class WebSocketClientProtocol(ClientProtocol, _WebSocketTransport):
    """A WebSocket connection to a room. It connects when it is entered.

    Args:
        url: The room's URL, `ws`, `wss`, `http` or `https`; parameters that it has are kept.
        token: The participant token, sent as a query parameter and as a bearer token.
        heartbeat: Seconds between pings; without a pong within half of that the connection counts as lost.
        open_timeout: Seconds that connecting may take.

    Raises:
        UpgradeRefusedError: On entry, the server answered with an HTTP status.
        aiohttp.ClientConnectionError: On entry, the server cannot be reached.
        RequestTimeoutError: On entry, connecting took too long.
    """

    can_reopen = True

    def __init__(self, *, url: str, token: str, heartbeat: float = 30, open_timeout: float = 30) -> None:
        super().__init__(token=token)
        self._url = url
        self._heartbeat = heartbeat
        self._open_timeout = open_timeout
        self._session: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """The URL as it was given."""
        return self._url

    async def open_transport(self) -> None:
        refusal = _RefusalReader()
        self._session = aiohttp.ClientSession(trace_configs=[refusal.trace_config()])
        try:
            async with asyncio.timeout(self._open_timeout):
                self._socket = await self._session.ws_connect(
                    URL(self._url).update_query(token=self._token, v=__version__),
                    headers={"Authorization": f"Bearer {self._token}"},
                    heartbeat=self._heartbeat,
                    max_msg_size=MAX_PACKET_SIZE + 1024,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT),
                )
        except aiohttp.WSServerHandshakeError as error:
            raise UpgradeRefusedError(error, refusal.reason) from None
        except TimeoutError:
            raise RequestTimeoutError(f"connecting timed out after {self._open_timeout:g} seconds") from None

    def is_temporary(self, error: Exception) -> bool:
        return isinstance(error, aiohttp.ClientConnectionError) or super().is_temporary(error)

    async def close_transport(self) -> None:
        socket, session = self._socket, self._session
        self._socket = self._session = None
        try:
            if socket is not None:
                await socket.close()
        finally:
            if session is not None:
                await session.close()


class WebSocketServerProtocol(_WebSocketTransport):
    """The room's end of a WebSocket that aiohttp has accepted. It can be entered once."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        super().__init__()
        self._accepted = socket

    async def open_transport(self) -> None:
        if self._accepted.closed:
            raise ChanClosed("the connection is closed")
        self._socket = self._accepted

    async def close_transport(self) -> None:
        if self._socket is not None:
            await self._socket.close()


class _RefusalReader:
    """Keeps the body of a refusal, which aiohttp's exception lacks."""

    def __init__(self) -> None:
        self.reason = ""

    def trace_config(self) -> aiohttp.TraceConfig:
        config = aiohttp.TraceConfig()
        config.on_request_end.append(self._read_reason)
        return config

    async def _read_reason(
        self, session: aiohttp.ClientSession, context: SimpleNamespace, end: aiohttp.TraceRequestEndParams
    ) -> None:
        response: Any = end.response
        if response.status == 101:
            return
        try:
            async with asyncio.timeout(_REASON_TIMEOUT):
                body = await response.content.read(_MAX_REASON_BYTES)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.debug("cannot read why the server refused: %s", error)
            return
        self.reason = _reason_of(body.decode(errors="replace").strip())


def _reason_of(body: str) -> str:
    """The reason in the body of a refusal: the message of the error as JSON, else the text itself."""
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body
