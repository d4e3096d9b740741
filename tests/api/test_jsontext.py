"""JSON text: strict when written, tolerant when read (protocol 2.3)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given

from meshagent.api import jsontext
from meshagent.api.contracts.queues import ReceiveRequest
from meshagent.api.errors import InvalidRequestError
from tests.support.json_values import json_values


@given(json_values)
def test_what_python_programs_write_is_read(value: object) -> None:
    assert jsontext.loads(json.dumps(value)) == value


def test_values_that_strict_json_lacks_are_softened() -> None:
    assert jsontext.loads('{"a": NaN, "b": [Infinity, 1], "c": "\\ud800"}') == {"a": None, "b": [None, 1], "c": "?"}
    assert jsontext.loads(jsontext.dumps({"big": 2**80, 3: "key"})) == {"big": 2**80, "3": "key"}
    written = jsontext.loads(jsontext.dumps({"at": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)}))
    assert datetime.fromisoformat(written["at"]) == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_nulls_of_optional_fields_count_as_absent() -> None:
    request = jsontext.decode(b'{"name": "q", "wait": null, "extra": {"x": 1}}', ReceiveRequest)
    assert request == ReceiveRequest(name="q", create=True, wait=True)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="name"):
        jsontext.decode(b'{"wait": true}', ReceiveRequest)


def test_json_nested_without_end_is_refused_not_fatal() -> None:
    with pytest.raises(InvalidRequestError):
        jsontext.loads(b"[" * 100_000)


def test_raw_values_pass_through_untouched() -> None:
    class Carrier(msgspec.Struct):
        message: msgspec.Raw

    carried = jsontext.decode(b'{"message": {"b": 1,  "a": [1.50]}}', Carrier)
    assert jsontext.dumps(carried) == b'{"message":{"b": 1,  "a": [1.50]}}'
