"""Receiving webhooks over real HTTP (protocol 15.1 to 15.3)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as AiohttpServer

from meshagent.api.errors import InvalidRequestError, InvalidStateError, UnavailableError
from meshagent.api.webhook.events import CallEvent, RoomEndedEvent, RoomStartedEvent
from meshagent.api.webhook.sender import WebhookRefusedError, send_webhook
from meshagent.api.webhook.server import WebhookServer
from meshagent.api.webhook.signature import EVENT_ID_HEADER, RESEND_HEADER, SIGNATURE_HEADER, signature_of

SECRET = "a webhook secret"
STARTED = {"room_name": "dèmo", "room_url": "ws://localhost/rooms/demo"}
CALL = {"room_name": "demo", "room_url": "ws://localhost/rooms/demo", "token": "T", "arguments": {}}


class Receiver(WebhookServer):
    """Keeps what it is told."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(host="127.0.0.1", port=0, **settings)
        self.events: list[Any] = []
        self.fail: Exception | None = None
        self.hold: asyncio.Event | None = None

    async def on_room_started(self, event: RoomStartedEvent) -> None:
        await self._take(event)

    async def on_room_ended(self, event: RoomEndedEvent) -> None:
        await self._take(event)

    async def on_call(self, event: CallEvent) -> None:
        await self._take(event)

    async def _take(self, event: Any) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.fail is not None:
            raise self.fail
        self.events.append(event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver(webhook_secret=SECRET) as receiver:
        yield receiver


async def post(session: aiohttp.ClientSession, url: str, body: bytes, **headers: str) -> int:
    async with session.post(url, data=body, headers=headers) as answer:
        return answer.status


async def test_signed_events_reach_their_handlers(session: aiohttp.ClientSession, receiver: Receiver) -> None:
    events: list[tuple[str, dict[str, Any]]] = [
        ("room.started", STARTED),
        ("room.ended", {"room_name": "demo"}),
        ("room.call", CALL),
    ]
    for event, data in events:
        await send_webhook(session, url=receiver.url, event=event, data=data, secret=SECRET)
    assert receiver.events == [
        RoomStartedEvent(room_name="dèmo", room_url="ws://localhost/rooms/demo"),
        RoomEndedEvent(room_name="demo"),
        CallEvent(room_name="demo", room_url="ws://localhost/rooms/demo", token="T", arguments={}),
    ]


async def test_events_without_a_handler_are_accepted(session: aiohttp.ClientSession, receiver: Receiver) -> None:
    await send_webhook(session, url=receiver.url, event="storage.file.updated", data={"path": "x"}, secret=SECRET)
    assert receiver.events == []


async def test_large_events_arrive(session: aiohttp.ClientSession, receiver: Receiver) -> None:
    data = {**CALL, "arguments": {"text": "ä" * 500_000}}
    await send_webhook(session, url=receiver.url, event="room.call", data=data, secret=SECRET)
    assert receiver.events[0].arguments == data["arguments"]


async def test_what_is_not_signed_is_refused(session: aiohttp.ClientSession, receiver: Receiver) -> None:
    for secret in (None, "another secret"):
        with pytest.raises(WebhookRefusedError, match=r"/webhook answered with status 401") as refusal:
            await send_webhook(session, url=receiver.url, event="room.started", data=STARTED, secret=secret)
        assert refusal.value.status == 401
    assert receiver.events == []


async def test_the_secret_comes_from_the_environment(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESHAGENT_WEBHOOK_SECRET", SECRET)
    async with Receiver() as receiver:
        await send_webhook(session, url=receiver.url, event="room.started", data=STARTED, secret=SECRET)
        assert len(receiver.events) == 1


async def test_unsigned_events_are_taken_where_that_is_asked_for(session: aiohttp.ClientSession) -> None:
    async with Receiver(validate_webhook_secret=False) as receiver:
        await send_webhook(session, url=receiver.url, event="room.call", data={**CALL, "arguments": "typed"})
        assert receiver.events[0].arguments == "typed"


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b'{"event": "room.call", "data": {}}', b"[" * 100_000])
async def test_malformed_bodies_are_bad_requests(session: aiohttp.ClientSession, body: bytes) -> None:
    async with Receiver(validate_webhook_secret=False) as receiver:
        assert await post(session, receiver.url, body) == 400


async def test_a_compact_body_with_either_hash_is_accepted(session: aiohttp.ClientSession, receiver: Receiver) -> None:
    payload = {"event": "room.ended", "data": {"room_name": "ü"}}
    compact = json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()
    for hashed in (compact, json.dumps(payload).encode()):
        assert await post(session, receiver.url, compact, **{SIGNATURE_HEADER: signature_of(hashed, SECRET)}) == 200
    assert len(receiver.events) == 2


async def test_a_failing_handler_makes_the_sender_try_again(session: aiohttp.ClientSession, receiver: Receiver) -> None:
    headers = {EVENT_ID_HEADER: "e1"}
    receiver.fail = RuntimeError("not now")
    with pytest.raises(WebhookRefusedError, match="status 500"):
        await send_webhook(
            session, url=receiver.url, event="room.started", data=STARTED, secret=SECRET, headers=headers
        )
    receiver.fail = None
    for _ in range(2):
        await send_webhook(
            session, url=receiver.url, event="room.started", data=STARTED, secret=SECRET, headers=headers
        )
    assert len(receiver.events) == 1  # the second was a repetition


async def test_an_event_that_is_sent_again_on_request_is_handled_again(
    session: aiohttp.ClientSession, receiver: Receiver
) -> None:
    send: dict[str, Any] = {"url": receiver.url, "event": "room.ended", "data": {"room_name": "demo"}, "secret": SECRET}
    for headers in ({}, {}, {RESEND_HEADER: "1"}, {RESEND_HEADER: "1"}, {RESEND_HEADER: "2"}):
        await send_webhook(session, headers={EVENT_ID_HEADER: "e1"} | headers, **send)
    assert len(receiver.events) == 3


async def test_an_event_that_is_being_handled_is_not_handled_twice(
    session: aiohttp.ClientSession, receiver: Receiver
) -> None:
    receiver.hold = asyncio.Event()
    send: dict[str, Any] = {"url": receiver.url, "event": "room.ended", "data": {"room_name": "demo"}, "secret": SECRET}
    sends = [asyncio.create_task(send_webhook(session, headers={EVENT_ID_HEADER: "e1"}, **send)) for _ in range(2)]
    done, _ = await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
    with pytest.raises(WebhookRefusedError, match="503"):
        await done.pop()
    receiver.hold.set()
    await asyncio.wait(sends)
    assert len(receiver.events) == 1


async def test_an_application_of_ones_own_gets_the_route_and_nothing_else(session: aiohttp.ClientSession) -> None:
    app = web.Application()
    receiver = Receiver(app=app, path="/hooks", validate_webhook_secret=False)
    await receiver.start()
    async with AiohttpServer(app, host="127.0.0.1") as server:
        await send_webhook(session, url=str(server.make_url("/hooks")), event="room.started", data=STARTED)
        async with session.get(server.make_url("/")) as answer:
            assert answer.status == 404
    assert len(receiver.events) == 1


async def test_it_is_alive_and_can_start_again(session: aiohttp.ClientSession) -> None:
    receiver = Receiver(validate_webhook_secret=False)
    for _ in range(2):
        async with receiver:
            with pytest.raises(InvalidStateError, match="already started"):
                await receiver.start()
            async with session.get(f"http://127.0.0.1:{receiver.port}/") as answer:
                assert (answer.status, await answer.json()) == (200, {"ok": True})


async def test_an_unreachable_receiver_is_named(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/hook"
    with pytest.raises(UnavailableError, match=f"cannot reach the webhook at {url}"):
        await send_webhook(session, url=url, event="room.started", data=STARTED)


async def test_redirects_are_not_followed(session: aiohttp.ClientSession, receiver: Receiver) -> None:
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(receiver.url)

    app = web.Application()
    app.router.add_post("/", redirect)
    async with AiohttpServer(app, host="127.0.0.1") as server:
        with pytest.raises(WebhookRefusedError, match="status 307"):
            await send_webhook(session, url=str(server.make_url("/")), event="room.call", data=CALL, secret=SECRET)
    assert receiver.events == []


def test_a_port_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHAGENT_PORT", "eighty")
    with pytest.raises(InvalidRequestError, match="MESHAGENT_PORT"):
        WebhookServer()


def test_tokens_are_not_shown() -> None:
    assert "T" not in repr(CallEvent(room_name="r", room_url="u", token="T"))
