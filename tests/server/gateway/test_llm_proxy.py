"""The proxy for language models: tokens and grants in, the provider's key out, streams, usage, limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.tokens.grants import LlmGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.llm.scripted import Fail, say
from meshagent.server.gateway.llm_usage import LlmUsage, LlmUsageTotals, StreamFilter
from tests.support.lazy_imports import lazy_import
from tests.support.llm_proxy import proxy, token

if TYPE_CHECKING:
    import openai
else:
    openai = lazy_import("openai")


@pytest.mark.parametrize("path", ["/rooms/room/v1", "/openai/v1"])
async def test_the_participant_token_goes_in_and_the_providers_key_goes_out(path: str) -> None:
    async with proxy([say("hello")]) as running, running.client(path=path) as client:
        answer = await client.chat.completions.create(model="big", messages=[{"role": "user", "content": "hi"}])
    assert answer.choices[0].message.content == "hello"
    assert running.headers[0]["Authorization"] == "Bearer provider key"
    [usage] = running.usage
    assert (usage.project_id, usage.participant, usage.model) == ("p", "bot", "big")
    assert usage.rooms == ("room",)
    assert usage.output_tokens == 1


async def test_responses_stream_through_and_are_counted() -> None:
    async with proxy([say("hello to you")]) as running, running.client() as client:
        stream = await client.responses.create(model="big", input="hi", stream=True)
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert deltas == ["hello ", "to ", "you"]
    assert [usage.output_tokens for usage in running.usage] == [3]


@pytest.mark.parametrize("wants_usage", [True, False])
async def test_streamed_completions_are_counted_without_showing_it_to_who_did_not_ask(wants_usage: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if wants_usage else {}
    async with proxy([say("hello to you")]) as running, running.client() as client:
        stream = await client.chat.completions.create(
            model="big", messages=[{"role": "user", "content": "hi"}], stream=True, **options
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "hello to you"
    assert any(chunk.usage is not None for chunk in chunks) is wants_usage
    assert [usage.output_tokens for usage in running.usage] == [3]


async def test_events_are_passed_on_as_they_come() -> None:
    seen = asyncio.Event()

    async def provider(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"n": 1}\n\n')
        async with asyncio.timeout(5):
            await seen.wait()  # the second event comes only after the client has the first
        await response.write(b'data: {"n": 2}\n\n')
        return response

    async with (
        proxy(handler=provider) as running,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        session.post(f"{running.url}/rooms/room/v1/responses", json={"stream": True}) as answer,
    ):
        assert await answer.content.readuntil(b"\n\n") == b'data: {"n": 1}\n\n'
        seen.set()
        assert await answer.content.read() == b'data: {"n": 2}\n\n'


async def test_a_stream_that_the_provider_breaks_off_does_not_look_complete() -> None:
    async def provider(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"n": 1}\n\n')
        assert request.transport is not None
        request.transport.close()
        return response

    async with (
        proxy(handler=provider) as running,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        session.post(f"{running.url}/rooms/room/v1/responses", json={"stream": True}) as answer,
    ):
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()


@pytest.mark.parametrize(
    ("jwt", "complaint"),
    [
        (token(ApiScope.user_default()), "use language models"),
        (token(ApiScope(llm=LlmGrant(models=["small"]))), "use the model 'big'"),
        (token(room="other"), "has no grant for room"),
        ("nonsense", "token"),
    ],
)
async def test_tokens_without_the_grant_are_refused(jwt: str, complaint: str) -> None:
    async with proxy([say("never")]) as running, running.client(jwt) as client:
        with pytest.raises(openai.PermissionDeniedError, match=complaint):
            await client.responses.create(model="big", input="hi")
    assert running.headers == []


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("responses", {"conversation": "conv_1"}, "conversation"),
        ("responses", {"prompt": {"id": "pmpt_1"}}, "prompt"),
        ("responses", {"background": True}, "background"),
        ("responses", {"service_tier": "priority"}, "service_tier"),
        ("responses", {"tools": [{"type": "mcp", "server_url": "https://example.com"}]}, "mcp"),
        ("responses", {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "file_search"),
        ("responses", {"tools": [{"type": "image_generation"}]}, "image_generation"),
        ("responses", {"tool_choice": {"type": "mcp", "server_label": "a"}}, "mcp"),
        ("responses", {"include": ["file_search_call.results"]}, "file_search_call.results"),
        ("responses", {"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
        ("responses", {"input": [{"id": "msg_1"}]}, "item_reference"),
        ("responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "file_id"),
        ("responses", {"max_output_tokens": 1001}, "max_output_tokens"),
        ("chat/completions", {"n": 2}, "n"),
        ("chat/completions", {"audio": {"voice": "a"}}, "audio"),
        ("chat/completions", {"max_tokens": 1001}, "max_tokens"),
        ("chat/completions", {"web_search_options": {}}, "web_search_options"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "file_id",
        ),
        ("embeddings", {"store": True}, "store"),
    ],
)
async def test_what_is_not_on_the_list_is_refused_by_name(path: str, body: dict[str, Any], name: str) -> None:
    async with (
        proxy([say("never")], max_output_tokens=1000) as running,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        session.post(f"{running.url}/rooms/room/v1/{path}", json={"model": "big", **body}) as answer,
    ):
        assert answer.status == 400
        assert f"{name!r}" in (await answer.json())["error"]["message"]
    assert (running.headers, running.usage) == ([], [])


@pytest.mark.parametrize(
    ("path", "body", "sent"),
    [
        ("responses", {"store": True, "previous_response_id": None}, {"store": False, "max_output_tokens": 1000}),
        ("responses", {"max_output_tokens": 10, "background": False}, {"max_output_tokens": 10, "background": False}),
        ("chat/completions", {"n": 1, "store": True}, {"n": 1, "store": False, "max_completion_tokens": 1000}),
        ("chat/completions", {"max_tokens": 10}, {"max_tokens": 10, "store": False}),
        ("embeddings", {"input": "a"}, {"input": "a"}),
    ],
)
async def test_nothing_is_stored_and_every_answer_is_bounded(
    path: str, body: dict[str, Any], sent: dict[str, Any]
) -> None:
    received: list[dict[str, Any]] = []

    async def provider(request: web.Request) -> web.StreamResponse:
        received.append(await request.json())
        return web.json_response({})

    async with (
        proxy(handler=provider, max_output_tokens=1000) as running,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
        session.post(f"{running.url}/rooms/room/v1/{path}", json={"model": "big", **body}) as answer,
    ):
        assert answer.status == 200
    expected = {"model": "big", **sent}
    if path == "responses":
        expected |= {"store": False}
    assert received == [expected]


async def test_the_operator_may_allow_other_tools() -> None:
    async with (
        proxy([say("hello")], allowed_tools=("function", "web_search")) as running,
        running.client() as client,
    ):
        answer = await client.responses.create(model="big", input="hi", tools=[{"type": "web_search"}])
        assert answer.output_text == "hello"


async def test_the_default_model_is_the_configured_one_and_grants_count_for_it() -> None:
    jwt = token(ApiScope(llm=LlmGrant(models=["big"])))
    async with proxy([say("hello")], default_model="big") as running, running.client(jwt) as client:
        assert (await client.responses.create(model="default", input="hi")).model == "big"
        assert [model.id async for model in client.models.list()] == ["big"]


async def test_a_token_sees_only_its_models() -> None:
    jwt = token(ApiScope(llm=LlmGrant(models=["small"])))
    async with proxy([]) as running, running.client(jwt) as client:
        assert [model.id async for model in client.models.list()] == []


async def test_without_a_provider_the_built_in_model_answers() -> None:
    async with proxy() as running, running.client() as client:
        answer = await client.responses.create(model="default", input="hello")
        assert answer.output_text == "You said: hello"
        assert [model.id async for model in client.models.list()] == ["gpt-5"]
    assert len(running.usage) == 1


@pytest.mark.parametrize(
    ("status", "expected"), [(400, 400), (404, 404), (429, 429), (500, 500), (401, 503), (403, 503), (307, 503)]
)
async def test_the_providers_refusals_reach_the_client_but_not_those_of_the_servers_key(
    status: int, expected: int
) -> None:
    async with proxy([Fail("because", status=status)]) as running, running.client() as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(model="big", input="hi")
    assert caught.value.status_code == expected
    assert ("because" in str(caught.value)) is (expected == status)
    assert "provider key" not in str(caught.value)
    assert running.usage == []


async def test_a_provider_that_is_not_there_or_silent_is_told() -> None:
    async with proxy(base_url="http://127.0.0.1:9/v1") as running, running.client() as client:
        with pytest.raises(openai.InternalServerError, match="cannot be reached"):
            await client.responses.create(model="big", input="hi")

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with proxy(handler=silent, timeout=0.05) as running, running.client() as client:
        with pytest.raises(openai.InternalServerError, match="in time"):
            await client.responses.create(model="big", input="hi")


async def test_large_requests_and_too_many_of_them_are_refused() -> None:
    entered = asyncio.Event()
    release = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        entered.set()
        await release.wait()
        return web.json_response({})

    async with (
        proxy(handler=slow, max_request_bytes=1000, max_concurrent_requests=1) as running,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token()}"}) as session,
    ):
        url = f"{running.url}/rooms/room/v1/responses"
        async with session.post(url, json={"input": "x" * 1000}) as answer:
            assert answer.status == 413
        first = asyncio.create_task(session.post(url, json={}))
        async with asyncio.timeout(5):
            await entered.wait()
        async with session.post(url, json={}) as answer:
            assert answer.status == 429
        release.set()
        assert (await first).status == 200
        async with session.post(url, json={}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/rooms/room/v1/files", 404),
        ("GET", "/rooms/room/v1/responses", 405),
        ("POST", "/rooms/room/v1/../../admin", 404),
    ],
)
async def test_only_known_paths_are_passed_on(method: str, path: str, status: int) -> None:
    async with proxy([]) as running, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {token()}"}
        async with session.request(method, running.url + path, json={}, headers=headers) as answer:
            assert answer.status == status
    assert running.headers == []


@given(cuts=st.lists(st.integers(0, 200), max_size=6), drop=st.booleans())
def test_usage_is_found_wherever_the_network_cuts(cuts: list[int], drop: bool) -> None:
    plain = b'data: {"choices": [{"delta": {"content": "the \\"usage\\" of it"}}]}\n\n'
    last = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}\r\n\r\n'
    end = b"data: [DONE]\n\n"
    whole = plain + last + end
    events = StreamFilter(drop_usage_chunk=drop)
    places = sorted({min(cut, len(whole)) for cut in cuts})
    parts = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True)]
    passed = b"".join(events.feed(part) for part in parts) + events.finish()
    assert events.tokens == (3, 4, 0)
    assert passed == (plain + end if drop else whole)


def test_usage_is_found_in_a_last_event_that_is_not_ended() -> None:
    last = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}'
    for drop in (False, True):
        events = StreamFilter(drop_usage_chunk=drop)
        assert events.feed(last) == b""
        assert events.finish() == (b"" if drop else last)
        assert events.tokens == (3, 4, 0)


async def test_totals_are_kept_by_model() -> None:
    totals = LlmUsageTotals()
    for _ in range(2):
        totals.add(LlmUsage(project_id="p", rooms=("r",), participant="b", model="m", input_tokens=3, output_tokens=4))
    assert totals.of("m") == (2, 6, 8)
    samples = {(s.name, *s.labels.values()): s.value for metric in await totals.families() for s in metric.samples}
    assert samples["meshagent_llm_tokens_total", "m", "output"] == 8
