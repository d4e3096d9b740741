"""Which JSON texts are refused before they hold up everybody."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from meshagent.api.contracts import agents, database, messaging, queues
from meshagent.api.errors import LimitExceededError
from meshagent.server.kernel.json_cost import MAX_JSON_VALUES, MAX_LENIENT_VALUES, check_request, check_strict


class _Row(msgspec.Struct):
    table: str
    rows: msgspec.Raw
    kind: str | None = None


def values(count: int, last: bytes = b"0") -> bytes:
    """A list of that many values and one more."""
    return b"[" + b"0," * count + last + b"]"


@pytest.mark.parametrize("last", [b"NaN", b'"\\ud800"', b"!", b"[" * 100_000])
def test_a_text_of_many_values_must_be_strict(last: bytes) -> None:
    check_strict(values(MAX_LENIENT_VALUES // 2, b"NaN"))
    check_strict(values(MAX_JSON_VALUES * 2))
    check_strict(b'["' + b"x" * MAX_JSON_VALUES + b'", NaN]')
    with pytest.raises(LimitExceededError, match="must be strict"):
        check_strict(values(MAX_LENIENT_VALUES, last))


@pytest.mark.parametrize("kind", [dict, database.UpdateRequest, agents.RegisterToolkitRequest, database.SearchRequest])
def test_a_request_that_builds_values_has_a_bound_of_them(kind: type[Any]) -> None:
    check_request(values(MAX_JSON_VALUES - 1), kind)
    with pytest.raises(LimitExceededError, match="250,000 JSON values"):
        check_request(values(MAX_JSON_VALUES), kind)


@pytest.mark.parametrize("number", [b"1e999", b"-1E+999"])
def test_numbers_that_no_float_holds_count_as_not_strict(number: bytes) -> None:
    check_request(values(MAX_LENIENT_VALUES // 2, number), dict)
    with pytest.raises(LimitExceededError, match="must be strict"):
        check_request(values(MAX_LENIENT_VALUES, number), dict)
    check_request(values(MAX_LENIENT_VALUES, b'"fae1234"'), dict)


@pytest.mark.parametrize("kind", [_Row, messaging.BroadcastRequest, queues.SendRequest])
def test_what_stays_text_may_have_any_number_of_values(kind: type[Any]) -> None:
    check_request(values(MAX_JSON_VALUES * 2), kind)
    with pytest.raises(LimitExceededError, match="must be strict"):
        check_request(values(MAX_JSON_VALUES * 2, b"NaN"), kind)
