"""Fetching: limits of size, time, redirects and addresses; pages as text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from meshagent.api.contracts.content import TextBody
from meshagent.api.errors import (
    InvalidRequestError,
    LimitExceededError,
    PermissionDeniedError,
    RequestTimeoutError,
    RoomException,
    UnavailableError,
)
from meshagent.tools import Fetcher, WebToolkit
from meshagent.tools.fetching import Address, is_public
from meshagent.tools.web import html_to_text
from tests.support.tool_contexts import context

PAGE = """<html><head><title>The  page</title><script>secret()</script><style>p {}</style></head>
<body><h1>Hello</h1><p>a &amp; b<br>c <a href="https://example.com/x">there</a></p>
<script>more()</script><ul><li>one</li><li>two</li></ul></body></html>"""


async def silent(request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


def redirect(target: str) -> Any:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": target})

    return answer


@pytest.fixture
async def site() -> AsyncIterator[str]:
    app = web.Application()

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 5000, content_type="application/octet-stream")

    app.add_routes(
        [
            web.get("/page", page),
            web.get("/files/large.bin", large),
            web.get("/silent", silent),
            web.get("/loop", redirect("/loop")),
            web.get("/moved", redirect("/page")),
            web.get("/inside", redirect("http://127.0.0.2:1/secret")),
            web.get("/local-file", redirect("file:///etc/passwd")),
        ]
    )
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


def only_this_machine(address: Address) -> bool:
    return address == ip_address("127.0.0.1")


FETCHER = Fetcher(max_bytes=4000, timeout=5, max_redirects=2, allows=only_this_machine)


async def test_it_fetches_and_follows(site: str) -> None:
    fetched = await FETCHER.fetch(f"{site}/moved")
    assert (fetched.url, fetched.mime_type, fetched.text) == (f"{site}/page", "text/html", PAGE)
    assert fetched.name == "page"


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/files/large.bin", LimitExceededError),
        ("/loop", LimitExceededError),
        ("/inside", PermissionDeniedError),
        ("/local-file", InvalidRequestError),
        ("/missing", RoomException),
    ],
)
async def test_it_keeps_its_limits(site: str, path: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await FETCHER.fetch(site + path)


async def test_it_does_not_wait_for_ever(site: str) -> None:
    with pytest.raises(RequestTimeoutError):
        await Fetcher(timeout=0.02, allows=only_this_machine).fetch(f"{site}/silent")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"])
async def test_by_default_nothing_private_is_reached(site: str, host: str) -> None:
    port = site.rpartition(":")[2]
    with pytest.raises(PermissionDeniedError):
        await Fetcher().fetch(f"http://{host}:{port}/page")


@pytest.mark.parametrize("url", ["page", "ftp://127.0.0.1/x", "http://", "http://[oops/"])
async def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        await FETCHER.fetch(url)


async def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(UnavailableError):
        await FETCHER.fetch("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("10.0.0.1", False),
        ("224.0.0.1", False),
        ("100.64.0.1", False),
        ("2001:4860:4860::8888", True),
        ("fd00::1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:7f00:1::", False),
    ],
)
def test_addresses_that_embed_others_are_judged_by_those(address: str, public: bool) -> None:
    assert is_public(ip_address(address)) is public


def test_a_page_becomes_text() -> None:
    text = html_to_text(PAGE)
    assert text.startswith("The page\n")
    assert "a & b\nc there (https://example.com/x)" in text
    assert "one\n\ntwo" in text
    assert "secret" not in text
    assert "more()" not in text


async def test_the_web_toolkit_reads_pages_and_cuts_long_ones(site: str) -> None:
    toolkit = WebToolkit(fetcher=Fetcher(allows=only_this_machine), max_characters=20)
    answer = await toolkit.execute(context=context(), name="fetch_url", arguments={"url": f"{site}/page"})
    assert isinstance(answer, TextBody)
    assert answer.text.startswith("The page")
    assert "[truncated:" in answer.text
    with pytest.raises(InvalidRequestError, match="is not text"):
        await toolkit.execute(context=context(), name="fetch_url", arguments={"url": f"{site}/files/large.bin"})
