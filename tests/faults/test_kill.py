"""kill -9 in the middle of work: everything that was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from pathlib import Path

import aiohttp
import pytest

from meshagent.api.errors import RoomException
from tests.support.documents import Copy
from tests.support.server_process import ServerProcess, server_process
from tests.support.wire_client import WireClient, connect

ROUNDS = 20


class Writer:
    """Edits a document, writes files and sends queue messages, and remembers what was acknowledged."""

    def __init__(self) -> None:
        self.copy: Copy | None = None
        self.next = 0
        self.edits: set[float] = set()
        self.files: dict[str, bytes] = {}
        self.messages: list[int] = []
        self.goal = 0
        self.goal_reached = asyncio.Event()

    async def work(self, client: WireClient) -> None:
        """Work until the connection breaks."""
        _, state = await client.open_document("log.document")
        if self.copy is None:
            self.copy = Copy(state)
        else:
            self.copy.doc.apply_update(state)
            whole = base64.b64encode(self.copy.doc.get_update())
            await client.ok("room.sync", {"path": "log.document"}, whole)
        await asyncio.gather(self._edit(client), self._write_files(client), self._send(client))

    async def _edit(self, client: WireClient) -> None:
        assert self.copy is not None
        while True:
            number, self.next = self.next, self.next + 1
            update = self.copy.append("heading", **{"$id": f"e{number}", "text": str(number)})
            await client.ok("room.sync", {"path": "log.document"}, base64.b64encode(update))
            self.edits.add(number)
            if len(self.edits) >= self.goal:
                self.goal_reached.set()

    async def _write_files(self, client: WireClient) -> None:
        while True:
            number, self.next = self.next, self.next + 1
            path, content = f"files/{number % 7}.bin", str(number).encode() * 500
            handle = (await client.ok("storage.open", {"path": path, "overwrite": True}))["handle"]
            await client.ok("storage.write", {"handle": handle}, content)
            await client.ok("storage.close", {"handle": handle})
            self.files[path] = content

    async def _send(self, client: WireClient) -> None:
        while True:
            number, self.next = self.next, self.next + 1
            await client.ok("queues.send", {"name": "jobs", "message": number})
            self.messages.append(number)


async def check(server: ServerProcess, writer: Writer) -> None:
    """Everything acknowledged is there, in order, and once."""
    async with connect(server.url, server.token("checker")) as client:
        _, state = await client.open_document("log.document")
        copy = Copy(state)
        texts = [float(attributes["text"]) for attributes in copy.attributes]
        assert writer.edits <= set(texts)
        assert len(texts) == len(set(texts)), "an edit is there twice"
        for path, content in writer.files.items():
            found = (await client.request("storage.download", {"path": path})).payload
            # A newer write may have been stored before its acknowledgement was lost.
            assert found == content or int(found[: len(found) // 500] or b"-1") > int(content[: len(content) // 500])
        sizes = {queue["name"]: queue["size"] for queue in (await client.ok("queues.list"))["queues"]}
        assert sizes.get("jobs", 0) >= len(writer.messages)


@pytest.mark.timeout(240)
async def test_what_was_acknowledged_survives_twenty_kills(tmp_path: Path, unused_tcp_port: int) -> None:
    writer = Writer()
    async with server_process(tmp_path, unused_tcp_port) as server:
        for round_number in range(ROUNDS):
            with contextlib.suppress(AssertionError, aiohttp.ClientError, ConnectionError, RoomException):
                async with connect(server.url, server.token("writer")) as client:
                    writer.goal = len(writer.edits) + 3 + round_number * 2
                    writer.goal_reached.clear()
                    working = asyncio.ensure_future(writer.work(client))
                    reached = asyncio.ensure_future(writer.goal_reached.wait())
                    await asyncio.wait((working, reached), return_when=asyncio.FIRST_COMPLETED)
                    await server.kill()
                    await asyncio.gather(working, return_exceptions=True)
                    reached.cancel()
            await server.kill()
            await server.start()
            await check(server, writer)
        async with connect(server.url, server.token("reader")) as client:
            received = []
            while (answer := await client.request("queues.receive", {"name": "jobs", "wait": False})).header[
                "type"
            ] != "empty":
                received.append(answer.header["json"])
        assert set(writer.messages) <= set(received)
        assert len(received) == len(set(received)), "a message came twice"
        assert len(writer.edits) > ROUNDS
