"""Envelopes and the JSON in them (protocol 2.1 to 2.3)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api import jsontext
from meshagent.api.contracts.queues import ReceiveRequest
from meshagent.api.errors import InvalidRequestError
from meshagent.api.wire import envelope

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != envelope.EXTENSION_KEY), json_values), st.binary())
def test_header_and_payload_come_back(header: dict[str, object], payload: bytes) -> None:
    assert envelope.unpack(envelope.pack(header, payload)) == (header, payload)


@given(json_values)
def test_what_python_programs_write_is_read(value: object) -> None:
    assert jsontext.loads(json.dumps(value)) == value


def test_the_documented_example() -> None:
    packed = envelope.pack({"path": "a.txt"})
    assert packed[:8] == bytes(7) + bytes([len(b'{"path":"a.txt"}')])
    data = b'{"path": "a.txt", "__meshagent__": {"v": 1, "otel": {}}}'
    assert envelope.unpack(len(data).to_bytes(8, "big") + data) == ({"path": "a.txt"}, b"")


@pytest.mark.parametrize("data", [b"", b"1234567", bytes(7) + b"\x05{}", b"\xff" * 8 + b"{}", bytes(7) + b"\x02[]"])
def test_broken_envelopes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        envelope.unpack(data)


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
