"""Limits for clients that have not authenticated yet: bytes, time and connections.

aiohttp bounds the size of a request's head; it does not bound how long a new connection may take to
send one other than by the keep-alive time, which reverse proxies want long. The guard here does.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

_SWEEPS_PER_TIMEOUT: Final = 10
_MAX_SWEEP_INTERVAL: Final = 1.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of plain HTTP, before and between requests. Bytes and seconds."""

    head_timeout: float = 10.0
    """Longest a new connection may take until its first request head is complete."""
    keepalive_timeout: float = 75.0
    """Longest until the next head is complete; above what reverse proxies keep idle connections for."""
    max_waiting_connections: int = 1000
    """Most connections that have not sent a whole head yet; the oldest are closed first."""
    max_request_line_bytes: int = 32 * 1024
    """A participant token travels in the query, and tokens with many scopes are long."""
    max_header_bytes: int = 16 * 1024
    """Longest single header."""
    max_headers: int = 100
    """Most headers of one request."""
    lingering_time: float = 5.0
    """Longest time to read the rest of a body that no handler has read."""

    def runner_options(self) -> Mapping[str, Any]:
        """Keyword arguments for `aiohttp.web.AppRunner`."""
        return {
            "keepalive_timeout": self.keepalive_timeout,
            "max_line_size": self.max_request_line_bytes,
            "max_field_size": self.max_header_bytes,
            "max_headers": self.max_headers,
            "lingering_time": self.lingering_time,
            "auto_decompress": False,  # routes unpack what they want, within their bounds (`gateway.bodies`)
            "logger": HttpLogger(logging.getLogger("meshagent.server.http")),
        }


class HttpLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs malformed requests at debug level without a traceback, since anybody can fill the disk with them."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **kwargs: Any) -> None:
        """Log a failed request: a malformed one at debug level, everything else as an error."""
        if isinstance(exc_info, HttpProcessingError):
            self.debug("malformed request refused: %s", type(exc_info).__name__)
        else:
            super().exception(msg, *args, exc_info=exc_info, **kwargs)


def _name_task(request: web.Request) -> None:
    """Name the task that serves a request after its route, for the loop watch and for debugging."""
    task = asyncio.current_task()
    resource = request.match_info.route.resource
    if task is not None:
        task.set_name(f"{request.method} {resource.canonical if resource is not None else 'unknown'}")


class ConnectionGuard:
    """Closes connections that take too long to send their first request head, and the oldest beyond the limit.

    Put `middleware` first in the application, `start` it with `AppRunner.server` once the runner is
    set up, `close` it when the server stops. One shared timer; a connection costs a dictionary
    entry. Times are exact to a tenth of `head_timeout`, at most a second.
    """

    def __init__(self, limits: HttpLimits | None = None) -> None:
        self._limits = limits if limits is not None else HttpLimits()
        # Deadline of each HTTP connection, in order of arrival; infinite after its first request.
        self._deadlines: dict[object, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def middleware(self) -> Middleware:
        """Notes that a connection has sent a whole head."""

        @web.middleware
        async def note_first_head(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._deadlines[request.protocol] = math.inf
            _name_task(request)
            return await handler(request)

        return note_first_head

    def start(self, server: web.Server) -> None:
        """Begin to watch the connections of `server`. Call it on the running loop."""
        self._schedule(server)

    def close(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deadlines.clear()

    def _schedule(self, server: web.Server) -> None:
        interval = min(_MAX_SWEEP_INTERVAL, self._limits.head_timeout / _SWEEPS_PER_TIMEOUT)
        self._timer = asyncio.get_running_loop().call_later(interval, self._sweep, server)

    def _sweep(self, server: web.Server) -> None:
        now = asyncio.get_running_loop().time()
        known = self._deadlines
        self._deadlines = {
            connection: known.get(connection, now + self._limits.head_timeout) for connection in server.connections
        }
        waiting = [connection for connection in server.connections if self._deadlines[connection] < math.inf]
        surplus = len(waiting) - self._limits.max_waiting_connections
        for position, connection in enumerate(waiting):
            if position < surplus or self._deadlines[connection] <= now:
                connection.force_close()
        self._schedule(server)
