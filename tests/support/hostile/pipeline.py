"""A client that keeps many requests on the way, and sees that each gets exactly one answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import quote

import aiohttp

from meshagent.api.wire import envelope
from meshagent.api.wire.packets import Reassembler, iter_packets
from tests.support.hostile.requests import MAY_WAIT, encoded
from tests.support.server_process import ServerProcess

_IN_FLIGHT: Final = 64
_SERVER_FAULTS: Final = ("failed inside the server", "the table engine failed", "see the server log")


class Pipeline:
    """One connection.

    Attributes:
        succeeded: How many requests were answered without an error, by message type.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._pending: dict[int, tuple[str, bytes]] = {}
        self._free = asyncio.Semaphore(_IN_FLIGHT)
        self._answered = asyncio.Event()
        self._last_id = 0
        self.succeeded: Counter[str] = Counter()

    async def send(self, message_type: str, header: Any, payload: bytes = b"") -> None:
        """Send a request, once few enough are on the way."""
        text = encoded(header)
        may_wait = message_type in MAY_WAIT
        if not may_wait:
            await self._within_a_minute(self._free.acquire())
        self._last_id += 1
        self._pending[self._last_id] = (message_type, text)
        data = len(text).to_bytes(8, "big") + text + payload
        for packet in iter_packets(self._last_id, message_type, data):
            await self._socket.send_bytes(packet)

    async def settle(self) -> None:
        """Wait until everything is answered but what may wait for somebody else."""
        while any(kind not in MAY_WAIT for kind, _ in self._pending.values()):
            self._answered.clear()
            await self._within_a_minute(self._answered.wait())

    async def _within_a_minute(self, waiting: Awaitable[Any]) -> None:
        try:
            await asyncio.wait_for(waiting, 60)
        except TimeoutError:
            left = [(kind, text[:300]) for kind, text in self._pending.values() if kind not in MAY_WAIT]
            raise AssertionError(f"not answered within a minute: {left[:9]}") from None

    async def read(self) -> None:
        """Take the answers until the connection ends."""
        reassembler = Reassembler()
        async for frame in self._socket:
            message = reassembler.receive(frame.data)
            if message is not None and message.type == "__response__":
                self._take_answer(message.id, message.data)

    def _take_answer(self, message_id: int, data: bytes) -> None:
        assert message_id in self._pending, "a request was answered twice"
        kind, text = self._pending.pop(message_id)
        header, _ = envelope.unpack(data)
        is_fault = any(part in str(header.get("text")) for part in _SERVER_FAULTS)
        assert not is_fault, f"{header['text']} {text[:300]!r}"
        if header["type"] != "error":
            self.succeeded[kind] += 1
        if kind not in MAY_WAIT:
            self._free.release()
        self._answered.set()


@asynccontextmanager
async def pipeline(server: ServerProcess, room: str = "hostile") -> AsyncIterator[Pipeline]:
    """A connection to `room`, whose requests are all answered at the end of the block."""
    url = f"{server.url}/rooms/{quote(room)}"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, params={"token": server.token("mallory", room)}, max_msg_size=0) as socket,
    ):
        client = Pipeline(socket)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(client.read())
            yield client
            await client.settle()
            reading.cancel()
