"""The server's own HTTP client, against real servers on the loopback interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as AiohttpServer

from meshagent.api.errors import LimitExceededError, RequestTimeoutError, UnavailableError
from meshagent.server.config import OutgoingSettings
from meshagent.server.outgoing.client import HttpStatusError, OutgoingClient, parse_retry_after
from meshagent.server.outgoing.policy import OutgoingRefusedError
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


def client(**settings: Any) -> OutgoingClient:
    return OutgoingClient(OutgoingSettings(**settings))


@asynccontextmanager
async def site(handler: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    async with AiohttpServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/"))


async def test_a_post_arrives_as_it_is(receiver: WebhookReceiver) -> None:
    async with client() as http:
        await http.post(receiver.url(), b"\x00body", {"X-Test": "1"})
    assert (receiver.posts[0].body, receiver.posts[0].headers["X-Test"]) == (b"\x00body", "1")


async def test_a_large_post_arrives(receiver: WebhookReceiver) -> None:
    body = bytes(range(256)) * 8 * 1024
    async with client() as http:
        await http.post(receiver.url(), body, {"Content-Type": "application/json"})
    headers = receiver.posts[0].headers
    assert receiver.posts[0].body == body
    assert (headers["Content-Length"], headers["Content-Type"]) == (str(len(body)), "application/json")


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_other_statuses_than_2xx_are_failures(receiver: WebhookReceiver, status: int) -> None:
    receiver.script = [status]
    async with client() as http:
        with pytest.raises(HttpStatusError, match=f"{receiver.url()} answered with status {status}") as failure:
            await http.post(receiver.url(), b"", {})
    assert failure.value.status == status
    assert len(receiver.posts) == 1  # the redirect was not followed


async def test_silence_ends(receiver: WebhookReceiver) -> None:
    receiver.held.clear()
    async with client(timeout=0.05) as http:
        with pytest.raises(RequestTimeoutError, match=r"within 0\.05 seconds"):
            await http.post(receiver.url(), b"", {})
    receiver.held.set()


async def test_an_address_where_nobody_listens(unused_tcp_port: int) -> None:
    async with client() as http:
        with pytest.raises(UnavailableError, match="cannot reach"):
            await http.post(f"http://127.0.0.1:{unused_tcp_port}/", b"", {})


async def test_a_name_is_judged_by_the_addresses_that_it_stands_for(receiver: WebhookReceiver) -> None:
    url = receiver.url().replace("127.0.0.1", "localhost")
    async with client(allow_private_addresses=False) as http:
        with pytest.raises(OutgoingRefusedError, match="private"):
            await http.post(url, b"", {})
    assert receiver.posts == []
    async with client() as http:
        await http.post(url, b"", {})
    assert len(receiver.posts) == 1


async def test_a_name_that_nobody_has() -> None:
    async with client() as http:
        with pytest.raises(UnavailableError, match="cannot reach"):
            await http.post("http://no-such-host.invalid/", b"", {})


async def test_it_works_only_while_it_is_open(receiver: WebhookReceiver) -> None:
    with pytest.raises(UnavailableError, match="starting or stopping"):
        await client().post(receiver.url(), b"", {})


async def read(http: OutgoingClient, url: str, max_bytes: int = 1000) -> tuple[str, bytes]:
    async with http.get(url, max_bytes=max_bytes) as download:
        return download.mime_type, b"".join([chunk async for chunk in download.chunks])


async def test_downloads_follow_redirects_and_are_bounded() -> None:
    async def handler(request: web.Request) -> web.Response:
        hops = int(request.match_info["path"])
        if hops:
            raise web.HTTPFound(f"/{hops - 1}")
        return web.Response(text="content", content_type="text/plain")

    async with site(handler) as base, client() as http:
        assert await read(http, base + "5") == ("text/plain", b"content")
        with pytest.raises(UnavailableError, match="redirects more than"):
            await read(http, base + "6")
        with pytest.raises(LimitExceededError):
            await read(http, base + "0", max_bytes=6)


async def test_a_redirect_does_not_lead_past_the_policy(receiver: WebhookReceiver) -> None:
    async def handler(request: web.Request) -> web.Response:
        raise web.HTTPFound(receiver.url().replace("127.0.0.1", "localhost"))

    async with site(handler) as base, client(deny=("localhost",)) as http:
        with pytest.raises(OutgoingRefusedError):
            await read(http, base)
    assert receiver.posts == []


async def test_a_check_wants_success(receiver: WebhookReceiver) -> None:
    receiver.script = [200, 503]
    async with client() as http:
        await http.check(receiver.url())
        with pytest.raises(HttpStatusError):
            await http.check(receiver.url())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thursday, 01-Jan-70 00:02:00 GMT", 20.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("\u0661", None),
        ("9" * 400, 999_999_999_999.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, now=100.0) == seconds


async def test_a_refusal_tells_when_to_try_again(receiver: WebhookReceiver) -> None:
    receiver.script, receiver.headers = [429], {"Retry-After": "7"}
    async with client() as http:
        with pytest.raises(HttpStatusError) as failure:
            await http.post(receiver.url(), b"", {})
    assert failure.value.retry_after == 7.0
