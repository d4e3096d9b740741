"""An ASGI application behind an aiohttp handler: one request at a time, whole body in, response as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from aiohttp import web

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

__all__ = ["AsgiApp", "serve_asgi"]


async def serve_asgi(
    app: AsgiApp, request: web.Request, body: bytes, *, extensions: dict[str, Any]
) -> web.StreamResponse:
    """Let `app` answer a request.

    Args:
        app: The application.
        request: The request; its body was read already.
        body: That body.
        extensions: Members added to the scope, for the application's own use.
    """
    exchange = _Exchange(request, body)
    await app({**_scope(request), **extensions}, exchange.receive, exchange.send)
    if exchange.response is None:
        raise web.HTTPInternalServerError(text="the application gave no response")
    return exchange.response


def _scope(request: web.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": f"{request.version.major}.{request.version.minor}",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.rel_url.raw_path.encode(),
        "root_path": "",
        "query_string": request.query_string.encode(),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": None,
        "server": None,
    }


class _Exchange:
    """Both directions of one request."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.response: web.StreamResponse | None = None
        self._request = request
        self._body: bytes | None = body

    async def receive(self) -> Message:
        """The body, and then nothing for as long as the request lasts."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.Event().wait()
        raise AssertionError("waits for ever")

    async def send(self, message: Message) -> None:
        """The start of the response, then its body in pieces."""
        if message["type"] == "http.response.start":
            response = self.response = web.StreamResponse(status=message["status"])
            for name, value in message.get("headers", ()):
                response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
            await response.prepare(self._request)
        elif message["type"] == "http.response.body" and self.response is not None:
            if message.get("body"):
                await self.response.write(message["body"])
            if not message.get("more_body", False):
                await self.response.write_eof()
