"""Budgets of models in a whole server: refused by it, and shown in REST, the SDK and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from meshagent.api.accounts_client import AccountsClient
from meshagent.llm.scripted import say
from meshagent.testing import RoomServer, room_server
from tests.support.lazy_imports import lazy_import

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_import("openai")

LLM = {
    "prices": {"big": {"input": 1.0, "output": 2.0}},
    "project_budget": {"tokens_per_day": 5000, "cost_per_day": 1.0},
    "room_budget": {"requests_per_minute": 2},
}


def client(server: RoomServer, room: str, name: str = "bot") -> openai.AsyncOpenAI:
    base = f"{server.url}/rooms/{room}/v1"
    return openai.AsyncOpenAI(base_url=base, api_key=server.token(name, room=room), max_retries=0)


async def test_budgets_hold_and_the_usage_is_shown_to_members() -> None:
    async with (
        room_server(model=[say("hello")] * 3, llm=LLM) as server,
        AccountsClient(server.url, server.admin_token) as admin,
        client(server, "a") as a,
        client(server, "b") as b,
    ):
        for room in (a, a, b):
            await room.responses.create(model="big", input="hi", max_output_tokens=100)
        with pytest.raises(openai.RateLimitError, match="the room 'a' may use 2 requests a minute"):
            await a.responses.create(model="big", input="hi", max_output_tokens=100)
        with pytest.raises(openai.RateLimitError, match="may use 5000 tokens a day"):
            await b.responses.create(model="big", input="hi", max_output_tokens=5000)
        with pytest.raises(openai.BadRequestError, match="no price"):
            await b.responses.create(model="other", input="hi")
        user = await admin.create_user(email="ada@example.com")
        await admin.add_user_to_project(server.project_id, user["id"])
        member_token = (await admin.create_user_token(user["id"]))["token"]
        async with AccountsClient(server.url, member_token) as member:
            report = await member.get_model_usage(server.project_id, by=["room"])
        rooms = {row["room_name"]: row for row in report["usage"]}
        assert [rooms[room]["requests"] for room in ("a", "b")] == [2, 1]
        assert report["today"]["requests"] == report["month"]["requests"] == 3
        assert report["today"]["output_tokens"] == 3
        assert report["today"]["cost"] == (report["today"]["input_tokens"] + 2 * 3) / 1e6
        assert report["budget"] == {"tokens_per_day": 5000, "cost_per_day": 1.0}
        async with aiohttp.ClientSession() as session, session.get(f"{server.url}/metrics") as answer:
            metrics = await answer.text()
    assert 'meshagent_llm_requests_total{model="big"} 3.0' in metrics
    assert 'meshagent_llm_refused_total{budget="room",kind="requests"} 1.0' in metrics
    assert 'meshagent_llm_refused_total{budget="project",kind="tokens"} 1.0' in metrics
    assert 'meshagent_llm_cost_total{model="big"}' in metrics
    assert "meshagent_llm_requests_in_flight 0.0" in metrics
