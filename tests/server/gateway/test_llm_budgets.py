"""Budgets of models, over real sockets: refusals, reservations, what is counted and when it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.errors import InvalidRequestError
from meshagent.llm.scripted import say
from meshagent.server.accounts.database import Database, database_url
from meshagent.server.accounts.encryption import SecretBox
from meshagent.server.accounts.model_usage import BILLIONTH, ModelUsage, ModelUse
from meshagent.server.accounts.ownership import ServerFolder
from meshagent.server.accounts.records import Project
from meshagent.server.accounts.store import AccountsStore
from meshagent.server.config import LlmSettings, ModelBudget, ModelPrice
from meshagent.server.gateway.llm_budgets import Asker, BudgetExceededError, LlmBudgets, PriceTable, Reservation
from meshagent.server.gateway.llm_fields import estimated_input
from meshagent.server.gateway.llm_usage import Tokens
from meshagent.server.stores.health import HealthMonitor
from tests.support.lazy_imports import lazy_import
from tests.support.llm_proxy import Proxy, proxy, token

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_import("openai")

NOON = datetime(2025, 3, 31, 12, 0, tzinfo=UTC)
PRICES = {"big": ModelPrice(input=2.0, cached_input=0.5, output=10.0)}


class Provider:
    """Answers `responses` with a usage that tests choose, each request when the gate is open."""

    def __init__(self, *, used: int = 10) -> None:
        self.used = used
        self.bodies: list[dict[str, Any]] = []
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.entered.set()
        await self.gate.wait()
        return web.json_response(
            {"usage": {"input_tokens": self.used // 2, "output_tokens": self.used - self.used // 2}}
        )


class Client:
    """Asks the proxy over HTTP as one participant."""

    def __init__(self, running: Proxy, session: aiohttp.ClientSession) -> None:
        self._running = running
        self._session = session

    async def ask(
        self, *, name: str = "bot", room: str = "room", path: str = "responses", **body: Any
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of the answer."""
        headers = {"Authorization": f"Bearer {token(room=room, name=name)}"}
        url = f"{self._running.url}/rooms/{room}/v1/{path}"
        async with self._session.post(url, json={"model": "big", **body}, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.json()


@pytest.fixture
async def usage(tmp_path: Path) -> AsyncIterator[ModelUsage]:
    folder = ServerFolder(path=tmp_path, project_id="p")
    database = await Database.open(
        database_url(tmp_path, None),
        box=SecretBox("a key"),
        health=HealthMonitor(),
        folder=folder,
        durability="process",
    )
    await AccountsStore(database).projects.add(Project(id="p", name="p", owner_user_id=None, settings={}))
    kept = ModelUsage(database, keep_days=30, follow=True, now=lambda: NOON)
    await kept.start()
    yield kept
    await kept.close()
    await database.close()


async def rows(usage: ModelUsage, *by: Any) -> list[dict[str, Any]]:
    page = await usage.report("p", start=NOON.date(), end=NOON.date(), by=by, limit=100, offset=0)
    return list(page.entries)


async def client_of(stack: AsyncExitStack, handler: Any, usage: ModelUsage | None, **settings: Any) -> Client:
    running = await stack.enter_async_context(proxy(handler=handler, model_usage=usage, **settings))
    return Client(running, await stack.enter_async_context(aiohttp.ClientSession()))


@pytest.mark.parametrize(
    ("budget", "same", "other"),
    [
        ("token_budget", {}, {"name": "other"}),
        ("room_budget", {"name": "other"}, {"room": "elsewhere"}),
        ("project_budget", {"name": "other", "room": "elsewhere"}, None),
    ],
)
async def test_requests_at_a_time_are_bounded_for_a_token_a_room_and_a_project(
    budget: str, same: dict[str, str], other: dict[str, str] | None
) -> None:
    provider = Provider()
    provider.gate.clear()
    async with AsyncExitStack() as stack:
        client = await client_of(stack, provider, None, **{budget: ModelBudget(concurrent_requests=1)})
        first = asyncio.create_task(client.ask())
        await asyncio.wait_for(provider.entered.wait(), 5)
        status, headers, answer = await client.ask(**same)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert answer["error"]["code"] == "rate_limit_exceeded"
        assert (answer["error"]["type"], answer["error"]["param"]) == ("requests", None)
        assert "1 requests at a time" in answer["error"]["message"]
        provider.gate.set()
        assert (await first)[0] == 200
        assert (await client.ask(**same))[0] == 200
        if other is not None:
            assert (await client.ask(**other))[0] == 200


async def test_requests_and_tokens_a_minute_are_bounded() -> None:
    async with AsyncExitStack() as stack:
        limits = ModelBudget(requests_per_minute=2)
        client = await client_of(stack, Provider(), None, token_budget=limits)
        assert [(await client.ask())[0] for _ in range(3)] == [200, 200, 429]
        status, headers, _ = await client.ask()
        assert (status, headers["Retry-After"]) == (429, "30")
        limits = ModelBudget(tokens_per_minute=1000)
        client = await client_of(stack, Provider(used=900), None, room_budget=limits)
        assert (await client.ask(max_output_tokens=500))[0] == 200
        status, headers, answer = await client.ask(max_output_tokens=500)
        assert (status, answer["error"]["type"]) == (429, "tokens")
        assert 1 <= int(headers["Retry-After"]) <= 60
        status, headers, answer = await client.ask(max_output_tokens=1001)
        assert (status, headers.get("Retry-After"), headers["x-should-retry"]) == (429, None, "false")
        assert "ask for less" in answer["error"]["message"]


async def test_requests_under_way_hold_all_that_they_may_use(usage: ModelUsage) -> None:
    provider = Provider()
    provider.gate.clear()
    async with AsyncExitStack() as stack:
        client = await client_of(stack, provider, usage, project_budget=ModelBudget(tokens_per_day=1000))
        first = asyncio.create_task(client.ask(max_output_tokens=600))
        await asyncio.wait_for(provider.entered.wait(), 5)
        status, headers, answer = await client.ask(max_output_tokens=600)
        assert (status, headers["Retry-After"], answer["error"]["code"]) == (429, "43200", "insufficient_quota")
        assert len(provider.bodies) == 1
        provider.gate.set()
        assert (await first)[0] == 200
        assert (await client.ask(max_output_tokens=600))[0] == 200
        provider.used = 970
        assert (await client.ask(max_output_tokens=900))[0] == 200
        status, _, answer = await client.ask(max_output_tokens=100)
        assert (status, answer["error"]["type"]) == (429, "tokens")
    [row] = await rows(usage)
    assert (row["requests"], row["input_tokens"] + row["output_tokens"]) == (3, 990)


async def test_costs_are_counted_by_the_price_table_and_bounded(usage: ModelUsage) -> None:
    def answers(request: web.Request) -> web.Response:
        details = {"cached_tokens": 100_000}
        said = {"prompt_tokens": 300_000, "completion_tokens": 50_000, "prompt_tokens_details": details}
        return web.json_response({"usage": said})

    async def provider(request: web.Request) -> web.Response:
        return answers(request)

    async with AsyncExitStack() as stack:
        limits = ModelBudget(cost_per_month=1.0)
        client = await client_of(stack, provider, usage, prices=PRICES, project_budget=limits)
        assert (await client.ask(path="chat/completions", messages=[], max_tokens=16_000))[0] == 200
        status, headers, answer = await client.ask(path="chat/completions", messages=[], max_tokens=16_000)
        assert (status, answer["error"]["type"], answer["error"]["code"]) == (429, "cost", "insufficient_quota")
        assert headers["Retry-After"] == "43200"  # the month ends with this day
        status, _, answer = await client.ask(path="chat/completions", model="unknown", messages=[])
        assert status == 400
        assert "'unknown' has no price in llm.prices" in answer["error"]["message"]
    [row] = await rows(usage, "model")
    assert row["cost"] == round((200_000 * 2.0 + 100_000 * 0.5 + 50_000 * 10.0) * 1000) == int(0.95 * BILLIONTH)
    assert (row["cached_input_tokens"], row["unpriced_requests"]) == (100_000, 0)


async def test_models_without_a_price_are_counted_in_tokens(usage: ModelUsage) -> None:
    async with AsyncExitStack() as stack:
        client = await client_of(stack, Provider(), usage, prices=PRICES)
        assert (await client.ask(model="unknown"))[0] == 200
    [row] = await rows(usage, "room", "participant", "model")
    assert (row["room_name"], row["participant"], row["key_id"], row["model"]) == ("room", "bot", "k", "unknown")
    assert (row["requests"], row["unpriced_requests"], row["cost"]) == (1, 1, 0)


async def test_without_a_bound_of_its_own_a_request_gets_what_the_budget_can_give() -> None:
    provider = Provider()
    async with AsyncExitStack() as stack:
        client = await client_of(stack, provider, None, room_budget=ModelBudget(tokens_per_minute=1000))
        assert (await client.ask(input="x" * 400))[0] == 200
        assert 800 < provider.bodies[0]["max_output_tokens"] < 900


class SlowUsage(ModelUsage):
    """Writes when a test says so."""

    def __init__(self, kept: ModelUsage) -> None:
        self.kept = kept
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()

    async def record(self, use: ModelUse) -> None:
        self.asked.set()
        await self.gate.wait()
        await self.kept.record(use)

    def check_writable(self) -> None:
        pass


@pytest.mark.parametrize(
    ("path", "last"),
    [
        ("responses", b'data: {"type": "response.completed", "response": {"usage": {"input_tokens": 3}}}\n\n'),
        ("responses", b"event: response.completed\ndata: {}\n\n"),
        ("chat/completions", b"data: [DONE]\n\n"),
    ],
)
async def test_a_stream_ends_when_its_use_is_written(usage: ModelUsage, path: str, last: bytes) -> None:
    hold = asyncio.Event()

    async def provider(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"n": 1}\n\n')
        await hold.wait()
        await response.write(last)
        return response

    slow = SlowUsage(usage)
    async with (
        proxy(handler=provider, model_usage=slow) as running,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        session.post(f"{running.url}/rooms/room/v1/{path}", json={"stream": True, "model": "big"}) as answer,
    ):
        assert await answer.content.readuntil(b"\n\n") == b'data: {"n": 1}\n\n'
        rest = asyncio.create_task(answer.content.read())
        hold.set()
        await asyncio.wait_for(slow.asked.wait(), 5)
        await asyncio.sleep(0)
        assert not rest.done()
        assert await rows(usage) == []
        slow.gate.set()
        assert await rest == last
        [row] = await rows(usage)
        assert row["requests"] == 1


async def test_an_answer_comes_when_its_use_is_written(usage: ModelUsage) -> None:
    slow = SlowUsage(usage)
    async with AsyncExitStack() as stack:
        client = await client_of(stack, Provider(), slow)
        asking = asyncio.create_task(client.ask())
        await asyncio.wait_for(slow.asked.wait(), 5)
        assert not asking.done()
        slow.gate.set()
        assert (await asking)[0] == 200
    assert [row["output_tokens"] for row in await rows(usage)] == [5]


async def test_a_stream_that_breaks_off_counts_what_came(usage: ModelUsage) -> None:
    async def provider(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"delta": {"content": "' + b"x" * 400 + b'"}}]}\n\n')
        assert request.transport is not None
        request.transport.close()
        return response

    async with (
        proxy(handler=provider, model_usage=usage) as running,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        session.post(f"{running.url}/rooms/room/v1/chat/completions", json={"stream": True, "messages": []}) as answer,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()
    [row] = await rows(usage)
    assert (row["output_tokens"], row["requests"], row["estimated_requests"]) == (100, 1, 1)
    assert row["input_tokens"] > 0
    assert [used.is_estimate for used in running.usage] == [True]


async def test_a_client_that_goes_away_pays_for_what_it_got(usage: ModelUsage) -> None:
    gone = asyncio.Event()

    async def provider(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b'data: {"type": "response.output_text.delta", "delta": "four"}\n\n')
                await asyncio.sleep(0)
        finally:
            gone.set()

    slow = SlowUsage(usage)
    slow.gate.set()
    async with proxy(handler=provider, model_usage=slow) as running:
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
            session.post(f"{running.url}/rooms/room/v1/responses", json={"stream": True}) as answer,
        ):
            await answer.content.readuntil(b"\n\n")
            answer.close()
        await asyncio.wait_for(gone.wait(), 5)
        await asyncio.wait_for(slow.asked.wait(), 5)
    [row] = await rows(usage)
    assert row["estimated_requests"] == 1
    assert row["output_tokens"] > 0


async def test_a_provider_that_is_silent_is_counted_and_one_that_refuses_is_not(usage: ModelUsage) -> None:
    async def provider(request: web.Request) -> web.Response:
        if (await request.json()).get("user") == "refused":
            return web.json_response({}, status=500)
        await asyncio.Event().wait()
        raise AssertionError

    async with AsyncExitStack() as stack:
        client = await client_of(stack, provider, usage, timeout=0.05, token_budget=ModelBudget(concurrent_requests=1))
        assert (await client.ask(user="refused"))[0] == 500
        assert await rows(usage) == []
        assert (await client.ask())[0] == 504
        assert (await client.ask(user="refused"))[0] == 500  # nothing is held any more
    [row] = await rows(usage)
    assert (row["requests"], row["estimated_requests"], row["output_tokens"]) == (1, 1, 0)


async def test_openais_own_client_understands_the_refusal() -> None:
    limits = ModelBudget(requests_per_minute=1)
    async with proxy([say("hello"), say("never")], token_budget=limits) as running, running.client() as client:
        await client.responses.create(model="big", input="hi")
        with pytest.raises(openai.RateLimitError) as caught:
            await client.responses.create(model="big", input="hi")
        assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "requests")
        families = {metric.name: metric for metric in await running.budgets.families()}
        [refused] = [s for s in families["meshagent_llm_refused"].samples if s.name.endswith("_total")]
        assert (refused.labels, refused.value) == ({"budget": "token", "kind": "requests"}, 1)
        assert families["meshagent_llm_requests_in_flight"].samples[0].value == 0


def test_the_longest_price_that_fits_counts() -> None:
    table = PriceTable(
        {"gpt-5*": ModelPrice(input=1), "gpt-5-mini*": ModelPrice(input=2, output=1), "gpt-5-mini": ModelPrice(input=3)}
    )
    million = Tokens(1_000_000, 0, 400_000)
    costs = [table.cost(model, million) for model in ("gpt-5-pro", "gpt-5-mini-2025", "gpt-5-mini", "other")]
    assert costs == [BILLIONTH, 2 * BILLIONTH, 3 * BILLIONTH, None]


async def test_the_estimate_counts_texts_and_not_the_bytes_of_files() -> None:
    text = await estimated_input({"input": "x" * 4000})
    assert 1000 <= text < 1010
    assert await estimated_input({"input": "ü" * 4000}) > 2000
    picture = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 1_000_000}
    assert 1000 <= await estimated_input({"input": [{"role": "user", "content": [picture]}]}) < 1050
    document = {"type": "input_file", "file_data": "data:application/pdf;base64," + "A" * 1_000_000}
    assert 25_000 <= await estimated_input({"input": [{"role": "user", "content": [document]}]}) < 25_100


async def test_the_estimate_of_a_large_request_leaves_others_their_turns() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    await estimated_input({"input": [{"role": "user", "content": "hi"}] * 20_000})
    beside.cancel()
    assert turns >= 20_000 * 2 // 2000


def test_a_cost_budget_needs_a_price() -> None:
    budgets = LlmBudgets(LlmSettings(token_budget=ModelBudget(cost_per_day=1.0)))
    asker = Asker(project_id="p", room_name="r", key_id="k", participant="bot")
    with pytest.raises(InvalidRequestError, match=r"llm\.prices"):
        budgets.reserve(asker, "big", Tokens(1, 1))
    free = LlmBudgets(LlmSettings(token_budget=ModelBudget(cost_per_day=1.0)), is_free=True)
    assert free.reserve(asker, "big", Tokens(1, 1)).cost == 0


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "end", "wait"]), st.integers(0, 2), st.integers(1, 150), st.floats(0, 1)),
        max_size=60,
    )
)
def test_no_order_of_requests_uses_more_than_a_budget(steps: list[tuple[str, int, int, float]]) -> None:
    """Whatever starts and ends when, tokens used in any minute stay within what a minute allows and what had grown."""
    now = 0.0
    budgets = LlmBudgets(
        LlmSettings(token_budget=ModelBudget(concurrent_requests=2), project_budget=ModelBudget(tokens_per_minute=300)),
        clock=lambda: now,
    )
    under_way: list[tuple[Reservation, int]] = []
    used = 0
    for action, who, amount, share in steps:
        if action == "wait":
            now += amount / 10
        elif action == "end" and under_way:
            reservation, real = under_way.pop(who % len(under_way))
            used += real
            asyncio.run(reservation.settle(Tokens(0, real)))
        elif action == "ask":
            asker = Asker(project_id="p", room_name="r", key_id="k", participant=str(who))
            with suppress(BudgetExceededError):
                under_way.append((budgets.reserve(asker, "m", Tokens(0, amount)), int(amount * share)))
        own = [reservation.asker.participant for reservation, _ in under_way]
        assert max(map(own.count, own), default=0) <= 2
        assert used + sum(real for _, real in under_way) <= 300 + now * 5
