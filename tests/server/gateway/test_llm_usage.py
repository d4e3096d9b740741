"""The usage that providers report, whatever they answer."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import example, given
from hypothesis import strategies as st

from meshagent.api import jsontext
from meshagent.api.tokens.grants import LlmGrant
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.gateway.llm_usage import MAX_TOKENS, StreamFilter, Tokens, tokens_of
from tests.support.llm_proxy import Proxy, proxy, token

NAMES = [
    "usage",
    "response",
    "input_tokens",
    "prompt_tokens",
    "output_tokens",
    "completion_tokens",
    "input_tokens_details",
    "prompt_tokens_details",
    "cached_tokens",
    "type",
    "choices",
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
COUNTS = st.none() | st.integers(0, MAX_TOKENS)


@given(answer=ANY_JSON)
@example(answer={"response": "text"})
@example(answer={"response": ["usage"], "usage": 3})
@example(answer={"usage": {"input_tokens": True, "output_tokens": -1}})
def test_any_json_is_judged(answer: Any) -> None:
    tokens = tokens_of(answer)
    assert tokens is None or all(type(count) is int and 0 <= count <= MAX_TOKENS for count in tokens)
    event = b"data: " + jsontext.dumps(answer) + b"\n\n"
    for drop in (False, True):
        events = StreamFilter(drop_usage_chunk=drop)
        assert events.feed(event) + events.finish() in (event, b"")
        assert events.tokens is None or events.tokens == tokens


@given(given=COUNTS, made=COUNTS, cached=COUNTS, is_nested=st.booleans())
def test_what_a_provider_reports_is_taken(
    given: int | None, made: int | None, cached: int | None, is_nested: bool
) -> None:
    usage = {"input_tokens": given, "output_tokens": made, "input_tokens_details": {"cached_tokens": cached}}
    expected = None if given is None and made is None else Tokens(given or 0, made or 0, cached or 0)
    assert tokens_of({"usage": None, "response": {"usage": usage}} if is_nested else {"usage": usage}) == expected


@pytest.mark.parametrize(
    "usage", [{}, [], "7", 7, {"total_tokens": 3}, {"input_tokens": "7"}, {"input_tokens": 7, "output_tokens": 1.5}]
)
def test_counts_that_cannot_be_are_no_report(usage: Any) -> None:
    assert tokens_of({"usage": usage, "response": "text"}) is None


async def ask(running: Proxy, **more: Any) -> str:
    """What the proxy answers to a request."""
    headers = {"Authorization": f"Bearer {token()}"}
    body = {"model": "big", "input": "hello", **more}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{running.url}/rooms/room/v1/responses", json=body) as answer,
    ):
        assert answer.status == 200
        return await answer.text()


@pytest.mark.parametrize("answer", ['{"response": "text"}', '{"usage": {"input_tokens": "3"}}', "[]", "no JSON"])
async def test_an_answer_of_any_shape_passes_and_its_usage_is_estimated(answer: str) -> None:
    async def provide(request: web.Request) -> web.Response:
        return web.Response(text=answer, content_type="application/json")

    async with proxy(handler=provide) as running:
        assert await ask(running) == answer
    assert [(use.is_estimate, use.output_tokens) for use in running.usage] == [(True, len(answer) // 4)]


async def test_a_stream_with_events_of_any_shape_is_not_broken_off() -> None:
    events = 'data: {"response": "usage", "usage": 3}\n\ndata: {"delta": "12345678", "response": "the \\"usage\\""}\n\n'

    async def provide(request: web.Request) -> web.Response:
        return web.Response(text=events, content_type="text/event-stream")

    async with proxy(handler=provide) as running:
        assert await ask(running, stream=True) == events
    assert [(use.is_estimate, use.output_tokens) for use in running.usage] == [(True, 2)]


async def test_a_list_of_models_of_any_shape_is_filtered() -> None:
    async def provide(request: web.Request) -> web.Response:
        return web.json_response({"data": ["big", None, {"id": ["big"]}, {"id": "big"}, {"id": "small"}]})

    headers = {"Authorization": f"Bearer {token(ApiScope(llm=LlmGrant(models=['big'])))}"}
    async with (
        proxy(handler=provide) as running,
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{running.url}/rooms/room/v1/models") as answer,
    ):
        assert await answer.json() == {"data": [{"id": "big"}]}
