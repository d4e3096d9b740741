"""kill -9 at any moment: every event of a room's run reaches its webhook at least once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshagent.api.accounts_client import AccountsClient
from meshagent.api.webhook.signature import EVENT_ID_HEADER
from tests.support.server import PROJECT_ID
from tests.support.server_process import ServerProcess, server_process
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver
from tests.support.wire_client import WireClient, connect

pytestmark = [pytest.mark.slow, pytest.mark.timeout(360)]

ADMIN_TOKEN = "test-admin-token"
ROUNDS = 4


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with webhook_receiver() as receiver:
        yield receiver


class Work:
    """What the server has acknowledged: sessions that began, files that were written, and files that were deleted."""

    def __init__(self) -> None:
        self.sessions: list[str] = []
        self.written: set[str] = set()
        self.deleted: set[str] = set()

    def missing_in(self, receiver: WebhookReceiver) -> set[tuple[str, str]]:
        """The events that were not delivered yet."""
        expected = {("room.started", session) for session in self.sessions}
        expected |= {("room.ended", session) for session in self.sessions}
        expected |= {("storage.file.updated", path) for path in self.written}
        expected |= {("storage.file.deleted", path) for path in self.deleted}
        return expected - {
            (event["event"], event["data"].get("path") or event["data"]["session_id"]) for event in receiver.events
        }


async def write_files(client: WireClient, work: Work, round_number: int, enough: asyncio.Event) -> None:
    """Write files, and delete every third, until the connection ends."""
    number = 0
    while True:
        number += 1
        path = f"round{round_number}/{number}.txt"
        handle = (await client.ok("storage.open", {"path": path, "overwrite": True}))["handle"]
        await client.ok("storage.write", {"handle": handle}, b"content")
        await client.ok("storage.close", {"handle": handle})
        work.written.add(path)
        if number % 3 == 0:
            await client.ok("storage.delete", {"path": path, "recursive": None})
            work.deleted.add(path)
        if number >= round_number * 6:
            enough.set()


async def run_until_killed(server: ServerProcess, work: Work, round_number: int) -> None:
    """One run of a room, which the end of the server cuts off: in the first round as soon as somebody is in it."""
    async with connect(server.url, server.token("writer")) as client:
        work.sessions.append(client.of_type("room_ready")[0].header["session_id"])
        enough = asyncio.Event()
        writing = asyncio.ensure_future(write_files(client, work, round_number, enough))
        if round_number > 0:
            waiting = asyncio.ensure_future(enough.wait())
            await asyncio.wait({writing, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            assert not writing.done(), writing
        await server.kill()
        outcome = (await asyncio.gather(writing, return_exceptions=True))[0]
        assert isinstance(outcome, (AssertionError, ConnectionError)), repr(outcome)


async def test_every_event_of_a_run_is_delivered_although_the_server_is_killed(
    tmp_path: Path, unused_tcp_port: int, receiver: WebhookReceiver
) -> None:
    work = Work()
    async with server_process(tmp_path, unused_tcp_port, MESHAGENT_ADMIN_TOKEN=ADMIN_TOKEN) as server:
        accounts = AccountsClient(server.url, ADMIN_TOKEN)
        await accounts.create_project_webhook(PROJECT_ID, "all", receiver.url(), ["*"])
        await accounts.close()
        for round_number in range(ROUNDS):
            receiver.script = [503] * (round_number % 3)  # some of it still waits when the server is killed
            await run_until_killed(server, work, round_number)
            await server.start()
        async with asyncio.timeout(60):
            while work.missing_in(receiver):
                await receiver.until_posts(len(receiver.posts) + 1)
    order = [event["data"]["session_id"] for event in receiver.events if event["event"] == "room.started"]
    assert list(dict.fromkeys(order)) == work.sessions
    by_id: dict[str, bytes] = {}
    for post in receiver.posts:
        assert by_id.setdefault(post.headers[EVENT_ID_HEADER], post.body) == post.body
    assert len(work.deleted) > ROUNDS


async def test_an_event_that_waits_for_its_receiver_survives_many_kills(
    tmp_path: Path, unused_tcp_port: int, receiver: WebhookReceiver
) -> None:
    receiver.held.clear()
    async with server_process(tmp_path, unused_tcp_port, MESHAGENT_ADMIN_TOKEN=ADMIN_TOKEN) as server:
        accounts = AccountsClient(server.url, ADMIN_TOKEN)
        await accounts.create_project_webhook(PROJECT_ID, "all", receiver.url(), ["room.started"])
        await accounts.close()
        async with connect(server.url, server.token("writer")):
            await receiver.until_posts(1)
        for count in range(2, 4):
            await server.kill()
            await server.start()
            await receiver.until_posts(count)
        receiver.held.set()
        await server.stop()
    assert len({post.headers[EVENT_ID_HEADER] for post in receiver.posts}) == 1
