"""`SchemaChecker`: errors that name the value, the place and the reason."""

from __future__ import annotations

from typing import Any

import pytest

from meshagent.api.errors import InvalidRequestError
from meshagent.tools.validation import SchemaChecker

SCHEMA = {
    "type": "object",
    "required": ["numbers"],
    "properties": {"numbers": {"type": "array", "items": {"type": "integer"}}, "name": {"type": "string"}},
    "additionalProperties": False,
}


def error_of(value: Any, schema: dict[str, Any] | None = None) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        SchemaChecker(SCHEMA if schema is None else schema, subject="arguments of add").check(value)
    return str(caught.value)


def test_a_value_that_matches_passes() -> None:
    SchemaChecker(SCHEMA, subject="arguments of add").check({"numbers": [1, 2]})


def test_the_error_names_the_place() -> None:
    assert error_of({"numbers": [1, "x"]}) == "invalid arguments of add at numbers[1]: 'x' is not of type 'integer'"


def test_an_error_of_the_whole_value_has_no_place() -> None:
    assert error_of({}) == "invalid arguments of add: 'numbers' is a required property"


def test_long_values_are_not_repeated_in_full() -> None:
    error = error_of({"numbers": "x" * 10_000})
    assert len(error) < 600
    assert error.endswith("…")


def test_an_invalid_schema_is_an_error_of_its_own() -> None:
    assert error_of({}, {"type": "nothing"}).startswith("invalid schema for the arguments of add: ")


def test_a_missing_definition_is_named() -> None:
    assert error_of({}, {"$ref": "#/$defs/missing"}) == (
        "invalid schema for the arguments of add: it does not define '/$defs/missing'"
    )
