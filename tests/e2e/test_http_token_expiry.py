"""What a request does with a token ends with the token; a file that is being sent is sent to its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer as HttpServer

from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.testing import RoomServer, room_server
from meshagent.tools import RemoteToolkit, tool

LARGE = 24 * 1024 * 1024
"""More than the buffers between server and client hold."""

EXPIRED = "the token has expired"


@tool
async def wait_for_ever() -> str:
    """Never answers."""
    await asyncio.Event().wait()
    return ""


@asynccontextmanager
async def provider() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A model provider that sends one event of each answer, and an event that tells when its client is gone."""
    gone = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": []}\n\n')
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return response

    application = web.Application()
    application.add_routes([web.post("/v1/chat/completions", answer)])
    async with HttpServer(application, handler_cancellation=True) as server:
        yield str(server.make_url("/v1")), gone


class Guest:
    """Somebody with a token that expires in a few seconds."""

    def __init__(self, server: RoomServer, session: aiohttp.ClientSession) -> None:
        token = ParticipantToken(name="guest", project_id=server.project_id, api_key_id=server.key_id)
        token.add_room_grant(room_name="room")
        token.add_api_grant(ApiScope.agent_default())
        jwt = token.to_jwt(secret=server.secret, expiration=datetime.now(UTC) + timedelta(seconds=5))
        self.headers = {"Authorization": f"Bearer {jwt}"}
        self.url = f"{server.url}/rooms/room"
        self.session = session
        self.expired = asyncio.Event()

    async def notice_expiry(self) -> None:
        """Set `expired` when the server closes a connection of this token."""
        async with self.session.ws_connect(self.url, headers=self.headers) as connection:
            while (await connection.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
        self.expired.set()

    async def ask_model(self) -> None:
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers) as response:
            assert response.status == 200, await response.text()
            assert b"choices" in await response.content.readline()
            with pytest.raises(aiohttp.ClientError):
                await response.read()

    async def call_tool(self) -> None:
        call = {"name": "slow_wait_for_ever", "arguments": {}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
        headers = {**self.headers, "Accept": "application/json, text/event-stream"}
        async with self.session.post(f"{self.url}/mcp", json=body, headers=headers) as response:
            assert (response.status, await _error(response)) == (403, EXPIRED)

    async def upload(self) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"first part"
            await self.expired.wait()
            yield b"second part"

        url = f"{self.url}/storage/late.txt"
        async with self.session.put(url, data=body(), headers=self.headers) as response:
            assert (response.status, await _error(response)) == (403, EXPIRED)

    async def download(self) -> None:
        async with self.session.get(f"{self.url}/storage/large.bin", headers=self.headers) as response:
            assert response.status == 200
            first = await response.content.read(1)
            await self.expired.wait()
            assert len(first) + len(await response.read()) == LARGE


async def _load_mcp(server: RoomServer, session: aiohttp.ClientSession) -> None:
    """Have the server import its MCP package, which takes longer than the guest's token lasts on a slow machine."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    headers = {
        "Authorization": f"Bearer {server.token('warm')}",
        "Accept": "application/json, text/event-stream",
    }
    async with session.post(f"{server.url}/rooms/room/mcp", json=body, headers=headers) as response:
        assert response.status < 500


async def _error(response: aiohttp.ClientResponse) -> Any:
    return (await response.json())["error"]["message"]


async def test_requests_end_with_their_token(tmp_path: Path) -> None:
    async with (
        provider() as (base_url, gone),
        room_server(data_dir=tmp_path, llm={"base_url": base_url}) as server,
        server.join("host", role="agent") as host,
        aiohttp.ClientSession() as session,
        asyncio.timeout(50),
    ):
        async with host.storage.open("large.bin", overwrite=True) as file:
            await file.write(bytes(LARGE))
        await _load_mcp(server, session)
        guest = Guest(server, session)
        async with RemoteToolkit("slow", [wait_for_ever]).hosted(host), asyncio.TaskGroup() as group:
            for work in (guest.notice_expiry, guest.ask_model, guest.call_tool, guest.upload, guest.download):
                group.create_task(work())
        await gone.wait()
        assert [entry.name for entry in await host.storage.list("")] == ["large.bin"]
