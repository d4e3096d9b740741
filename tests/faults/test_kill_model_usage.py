"""kill -9 while models are used: what was answered is counted."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from meshagent.api.accounts_client import AccountsClient
from tests.support.server import PROJECT_ID
from tests.support.server_process import ServerProcess, server_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

KILLS = 5
ADMIN_TOKEN = "an administrator's token"
TOKENS = 7


async def provide(request: web.Request) -> web.StreamResponse:
    """Answer with a usage, every other request as a stream."""
    usage = {"input_tokens": TOKENS, "output_tokens": TOKENS}
    if not (await request.json()).get("stream"):
        return web.json_response({"usage": usage})
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    last: dict[str, Any] = {"type": "response.completed", "response": {"usage": usage}}
    await response.write(b'data: {"type": "response.output_text.delta", "delta": "x"}\n\n')
    await response.write(b"data: " + web.json_response(last).text.encode() + b"\n\n")  # type: ignore[union-attr]  # a response of JSON has text
    return response


class Asked:
    """How many requests were made, and how many answered to their end."""

    def __init__(self) -> None:
        self.made = 0
        self.answered = 0


async def ask_on(server: ServerProcess, asked: Asked) -> None:
    """Ask until the connection ends."""
    headers = {"Authorization": f"Bearer {server.token('bot')}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            asked.made += 1
            body = {"model": "big", "stream": asked.made % 2 == 0}
            async with session.post(f"{server.url}/rooms/room/v1/responses", json=body) as answer:
                assert answer.status == 200
                content = await answer.content.read()
            if body["stream"]:
                assert b"response.completed" in content
            asked.answered += 1


async def test_the_use_of_every_answered_request_survives(tmp_path: Path, unused_tcp_port: int) -> None:
    asked, chance = Asked(), random.Random(3)
    application = web.Application()
    application.add_routes([web.post("/v1/responses", provide)])
    async with (
        TestServer(application) as provider,
        server_process(
            tmp_path,
            unused_tcp_port,
            MESHAGENT_ADMIN_TOKEN=ADMIN_TOKEN,
            MESHAGENT_SERVER_LLM_BASE_URL=str(provider.make_url("/v1")),
            MESHAGENT_SERVER_LLM_PROJECT_BUDGET_TOKENS_PER_DAY="1000000000",
        ) as server,
    ):
        for _ in range(KILLS):
            asking = [asyncio.ensure_future(ask_on(server, asked)) for _ in range(4)]
            await asyncio.wait(asking, timeout=chance.uniform(0.2, 0.6))
            await server.kill()
            for outcome in await asyncio.gather(*asking, return_exceptions=True):
                assert isinstance(outcome, aiohttp.ClientError), repr(outcome)
            await server.start()
            async with AccountsClient(server.url, ADMIN_TOKEN) as admin:
                usage = (await admin.get_model_usage(PROJECT_ID))["month"]
            assert asked.answered <= usage["requests"] <= asked.made
            assert usage["output_tokens"] >= asked.answered * TOKENS
    assert asked.answered > KILLS
