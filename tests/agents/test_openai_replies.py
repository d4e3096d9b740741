"""What strangers send to the built-in model: whatever it is, it is answered or refused, never more."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshagent.api.errors import InvalidRequestError
from meshagent.llm.openai_replies import (
    CompletionsReply,
    ResponsesReply,
    read_completions_request,
    read_responses_request,
)
from meshagent.llm.schema_sample import MAX_VALUES, sample_value
from meshagent.llm.scripted import echo
from tests.support.hypothesis_profiles import examples

scalars = st.none() | st.booleans() | st.integers(-5, 10**12) | st.text(max_size=6)
keys = st.sampled_from(
    ["role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "id", "tool_call_id", "format"]
) | st.text(max_size=3)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": values},
        optional={"tool_calls": values, "tool_call_id": scalars, "type": scalars},
    ),
    max_size=3,
)
bodies = st.fixed_dictionaries(
    {"model": scalars, "messages": messages | values, "input": messages | values},
    optional={"tools": values, "response_format": values, "text": values, "instructions": values},
)


@given(body=bodies)
@settings(max_examples=examples(150))
def test_any_request_is_answered_or_refused(body: dict[str, Any]) -> None:
    for read, reply in ((read_completions_request, CompletionsReply), (read_responses_request, ResponsesReply)):
        try:
            request = read(body)
        except InvalidRequestError:
            continue
        made = reply(request, echo(request))
        json.dumps([made.whole(), *made.events()])


schema_keys = st.sampled_from(
    ["type", "properties", "required", "items", "minItems", "minLength", "$ref", "enum", "anyOf"]
)
schemas = st.recursive(
    scalars | st.sampled_from(["object", "array", "string", "#", "#/properties"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(schema_keys, inner, max_size=5),
    max_leaves=15,
)


@given(schema=schemas)
@settings(max_examples=examples(150))
def test_no_schema_makes_a_large_answer(schema: Any) -> None:
    assert len(json.dumps(sample_value(schema))) < 2_000_000


def test_a_schema_that_branches_into_itself_comes_to_an_end() -> None:
    node = {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}}
    assert json.dumps(sample_value(node)).count(":") <= 2 * MAX_VALUES


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"$ref": "#/$defs/A"}},
            "$defs": {"A": {"type": "array"}},
        },
        {"type": "array", "minItems": 2, "items": {"enum": ["x", "y"]}},
        {"type": "object", "required": ["n"], "properties": {"n": {"type": ["integer", "null"], "minimum": 3}}},
        {"anyOf": [{"type": "string", "minLength": 4}, {"type": "null"}]},
        {"const": {"a": 1}},
        {"type": "boolean"},
    ],
)
def test_common_schemas_are_followed(schema: dict[str, Any]) -> None:
    jsonschema.validate(sample_value(schema), schema)
