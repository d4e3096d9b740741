"""The guard of unknown peers: time, size and number, before the first request is complete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from meshagent.server.gateway.limits import ConnectionGuard, HttpLimits
from tests.support.websocket_peer import Peer

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def guarded_server(limits: HttpLimits) -> AsyncIterator[int]:
    """A guarded server that answers `/`; gives its port."""
    guard = ConnectionGuard(limits)

    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application(middlewares=[guard.middleware])
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, **limits.runner_options())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.server is not None
    guard.start(runner.server)
    try:
        yield runner.addresses[0][1]
    finally:
        guard.close()
        await runner.cleanup()


@pytest.mark.parametrize("begun", [b"", b"GET / HT", REQUEST[:-2]])
async def test_a_head_that_does_not_come_whole_in_time_ends_the_connection(begun: bytes) -> None:
    async with guarded_server(HttpLimits(head_timeout=0.03)) as port, await Peer.connect(port) as peer:
        peer.send(begun)
        assert await peer.rest() == b""


async def test_dripping_bytes_buys_no_time() -> None:
    async with guarded_server(HttpLimits(head_timeout=0.03)) as port, await Peer.connect(port) as peer:
        peer.send(b"GET / HTTP/1.1\r\nX-Slow: ")

        async def drip() -> None:
            while True:
                peer.send(b"a")
                await asyncio.sleep(0.002)

        dripping = asyncio.ensure_future(drip())
        assert await peer.rest() == b""
        dripping.cancel()


async def test_after_its_first_request_a_connection_has_the_keepalive_time() -> None:
    async with guarded_server(HttpLimits(head_timeout=0.01)) as port, await Peer.connect(port) as peer:
        for _ in range(2):
            peer.send(REQUEST)
            assert (await peer.head()).startswith("HTTP/1.1 200 ")
            await asyncio.sleep(0.03)


async def test_the_oldest_of_too_many_waiting_connections_are_closed() -> None:
    limits = HttpLimits(head_timeout=0.05, max_waiting_connections=2)
    async with guarded_server(limits) as port:
        peers = [await Peer.connect(port) for _ in range(4)]
        ended = [asyncio.ensure_future(peer.rest()) for peer in peers]
        await asyncio.wait_for(asyncio.gather(*ended[:2]), 5)
        assert [done.done() for done in ended] == [True, True, False, False]
        for peer in peers:
            await peer.__aexit__(None, None, None)
        await asyncio.gather(*ended)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /?" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", id="line"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", id="header"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", id="number of headers"),
        pytest.param(b"\x16\x03\x01 not HTTP", id="not HTTP"),
    ],
)
async def test_malformed_and_oversized_heads_are_refused_without_noise(
    head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with guarded_server(HttpLimits()) as port, await Peer.connect(port) as peer:
        peer.send(head)
        assert (await peer.head()).startswith("HTTP/1.0 400 ")
    assert [record for record in caplog.records if record.name == "meshagent.server.http"] == []


async def test_a_long_token_in_the_query_passes() -> None:
    async with guarded_server(HttpLimits()) as port, await Peer.connect(port) as peer:
        peer.send(b"GET /?token=" + b"a" * 30_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await peer.head()).startswith("HTTP/1.1 200 ")
