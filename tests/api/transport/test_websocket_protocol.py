"""WebSocket connections between the two ends, over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from meshagent.api.errors import RequestTimeoutError, RoomException
from meshagent.api.transport.websocket import UpgradeRefusedError, WebSocketClientProtocol, WebSocketServerProtocol
from meshagent.api.version import __version__
from tests.support.received import Received

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A web server with one route; yields the URL without its scheme."""
    app = web.Application()
    app.router.add_get("/rooms/r", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    [(host, port)] = runner.addresses
    try:
        yield f"{host}:{port}/rooms/r"
    finally:
        await runner.cleanup()


async def accept(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    return socket


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Sends every message back, and first the request's credentials."""
    socket = await accept(request)
    protocol = WebSocketServerProtocol(socket)
    received = Received()
    protocol.register_handler("x", received)
    async with protocol:
        token, version = request.query["token"], request.query["v"]
        await protocol.send("hello", f"{token} {version} {request.headers['Authorization']} {request.query['kept']}")
        [(message_id, message_type, data)] = await received.until(1)
        await protocol.send(message_type, data, message_id)
        await protocol.wait_for_close()
    return socket


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_messages_travel_both_ways(scheme: str) -> None:
    async with serving(echo) as place:
        protocol = WebSocketClientProtocol(url=f"{scheme}://{place}?kept=yes", token="secret")
        assert (protocol.url, protocol.token) == (f"{scheme}://{place}?kept=yes", "secret")
        received = Received()
        protocol.register_handler("*", received)
        async with protocol:
            data = b"a" * 300_000
            await protocol.send("x", data)
            [hello, answer] = await received.until(2)
            assert hello[2].decode() == f"secret {__version__} Bearer secret yes"
            assert answer == (1, "x", data)
        assert protocol.close_code == 1000


async def test_a_refusal_says_why_and_keeps_the_token_to_itself() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403, text="this token is for another room")

    async with serving(refuse) as place:
        with pytest.raises(UpgradeRefusedError) as caught:
            await WebSocketClientProtocol(url=f"ws://{place}", token="secret").__aenter__()
    error = caught.value
    assert isinstance(error, aiohttp.WSServerHandshakeError)
    assert isinstance(error, RoomException)
    assert (error.status, error.reason, error.retryable) == (403, "this token is for another room", False)
    assert "this token is for another room" in str(error)
    assert "403" in str(error)
    assert "secret" not in str(error) + repr(error)


async def test_a_busy_server_invites_a_new_try() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=503)

    async with serving(refuse) as place:
        protocol = WebSocketClientProtocol(url=f"ws://{place}", token="t")
        with pytest.raises(UpgradeRefusedError) as caught:
            await protocol.__aenter__()
    assert caught.value.retryable
    assert protocol.is_temporary(caught.value)
    assert not protocol.is_open


async def test_nobody_listening_is_a_temporary_failure() -> None:
    protocol = WebSocketClientProtocol(url="ws://127.0.0.1:1/rooms/r", token="t")
    with pytest.raises(aiohttp.ClientConnectionError) as caught:
        await protocol.__aenter__()
    assert protocol.is_temporary(caught.value)


async def test_connecting_is_bounded() -> None:
    async def stall(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response(status=503)

    async with serving(stall) as place:
        protocol = WebSocketClientProtocol(url=f"ws://{place}", token="t", open_timeout=0.01)
        with pytest.raises(RequestTimeoutError):
            await protocol.__aenter__()


async def _close_with_code(request: web.Request) -> web.WebSocketResponse:
    socket = await accept(request)
    await socket.send_str("a text frame, which nobody should send")
    await socket.close(code=1013)
    return socket


async def _drop(request: web.Request) -> web.WebSocketResponse:
    socket = await accept(request)
    assert request.transport is not None
    request.transport.close()
    return socket


async def _reset(request: web.Request) -> web.WebSocketResponse:
    socket = await accept(request)
    assert request.transport is not None
    request.transport.abort()
    return socket


@pytest.mark.parametrize(("ending", "code"), [(_close_with_code, 1013), (_drop, 1006), (_reset, 1006)])
async def test_the_way_a_connection_ended_is_known(ending: Handler, code: int) -> None:
    async with serving(ending) as place:
        protocol = WebSocketClientProtocol(url=f"ws://{place}", token="t")
        async with protocol:
            await asyncio.wait_for(protocol.wait_for_close(), 5)
            assert protocol.close_code == code
            assert not protocol.is_open


async def test_it_connects_again() -> None:
    calls: list[str] = []

    async def first_drop(request: web.Request) -> web.WebSocketResponse:
        calls.append(request.query["token"])
        return await (_drop(request) if len(calls) == 1 else echo(request))

    async with serving(first_drop) as place:
        protocol = WebSocketClientProtocol(url=f"ws://{place}?kept=1", token="t")
        received = Received()
        protocol.register_handler("*", received)
        async with protocol:
            await asyncio.wait_for(protocol.wait_for_close(), 5)
            await protocol.reopen()
            await protocol.send("x", b"again")
            assert (await received.until(2))[1][2] == b"again"
        assert len(calls) == 2
