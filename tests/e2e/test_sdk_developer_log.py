"""The room's log through the SDK: entries of participants, and those that the server writes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from meshagent.api import RoomClient, RoomException
from meshagent.api.accounts_client import AccountsClient
from meshagent.tools import RemoteToolkit, tool
from tests.support.chatting import joined
from tests.support.server import PROJECT_ID, TestServer
from tests.support.webhook_receiver import webhook_receiver


class Watcher:
    """Keeps the entries of a room's log."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self._changed = asyncio.Event()

    def note(self, type: str, data: dict[str, Any]) -> None:
        self.entries.append((type, data))
        self._changed.set()

    async def entry(self, entry_type: str, **members: Any) -> dict[str, Any]:
        """The first entry of that type with these members; waits for it."""
        async with asyncio.timeout(10):
            while True:
                for found, data in self.entries:
                    if found == entry_type and members.items() <= data.items():
                        return data
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def watching(room: RoomClient) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    room.developer.on("log", watcher.note)
    await room.developer.enable()
    yield watcher


async def test_every_watcher_sees_what_anyone_writes_until_it_stops(server: TestServer) -> None:
    async with (
        joined(server, "alice") as alice,
        joined(server, "bob") as bob,
        joined(server, "carol") as carol,
        watching(alice) as first,
        watching(bob) as second,
    ):
        await carol.developer.log("step", {"n": 1, "text": "é"})
        carol.developer.log_nowait("step", {"n": 2})
        for watcher in (first, second):
            assert await watcher.entry("step", n=1) == {"n": 1, "text": "é"}
            await watcher.entry("step", n=2)
        await bob.developer.disable()
        await alice.developer.log("step", {"n": 3})
        await first.entry("step", n=3)
        await bob.developer.log("last", {})  # answered after everything that bob could have been sent
        assert all(data.get("n") != 3 for _, data in second.entries)


@tool
async def half(number: int) -> dict[str, float]:
    """Half of an even number."""
    if number % 2:
        raise RoomException("that is odd")
    return {"half": number / 2}


async def test_the_server_writes_who_comes_and_goes_and_which_calls_ran_or_failed(server: TestServer) -> None:
    async with joined(server, "alice") as alice, watching(alice) as log:
        async with joined(server, "host", role="tool") as host, RemoteToolkit("numbers", [half]).hosted(host):
            host_id = host.local_participant.id
            who = {"participant_id": host_id, "name": "host", "role": "tool"}
            assert await log.entry("room.participant_joined", name="host") == who
            await alice.agents.invoke_tool(toolkit="numbers", tool="half", arguments={"number": 4})
            called = await log.entry("tool.call", error=None)
            assert (called["name"], called["caller_id"], called["host_id"]) == (
                "numbers.half",
                alice.local_participant.id,
                host_id,
            )
            assert called["duration"] >= 0
            with pytest.raises(RoomException, match="odd"):
                await alice.agents.invoke_tool(toolkit="numbers", tool="half", arguments={"number": 3})
            await log.entry("tool.call", error="that is odd")
        left = await log.entry("room.participant_left", name="host")
        assert left["participant_id"] == host_id


async def test_the_server_writes_its_own_failures(server: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with joined(server, "alice") as alice, watching(alice) as log:
        [room] = server.started.rooms.directory.rooms

        def fail(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(room.services.queues._store, "sizes", fail)
        with pytest.raises(RoomException, match="inside the server"):
            await alice.queues.list()
        assert (await log.entry("room.error"))["error"] == "ZeroDivisionError"


async def test_the_server_writes_what_became_of_webhooks(server: TestServer) -> None:
    async with (
        webhook_receiver() as receiver,
        AccountsClient(base_url=server.url, token="test-admin-token") as admin,
        joined(server, "alice") as alice,
        watching(alice) as log,
    ):
        receiver.script = [410]
        await admin.create_project_webhook(
            PROJECT_ID, "files", receiver.url() + "?key=secret", ["storage.file.updated"]
        )
        for name in ("refused.txt", "taken.txt"):
            handle = await alice.storage.open(path=name)
            await alice.storage.close(handle=handle)
        failed = await log.entry("webhook.failed", event="storage.file.updated")
        assert (failed["status"], failed["attempts"], failed["url"]) == (410, 1, receiver.url())
        delivered = await log.entry("webhook.delivered", event="storage.file.updated")
        assert delivered["error"] is None


async def test_the_server_writes_calls_of_services(server: TestServer) -> None:
    async with webhook_receiver() as receiver, joined(server, "alice") as alice, watching(alice) as log:
        await alice.agents.make_call(name="guest", url=receiver.url("/guest"), arguments={"a": 1})
        called = await log.entry("agent.call", name="guest")
        assert (called["url"], called["caller_id"]) == (receiver.url("/guest"), alice.local_participant.id)
