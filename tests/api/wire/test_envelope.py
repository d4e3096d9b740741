"""Envelopes (protocol 2.1, 2.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.errors import InvalidRequestError
from meshagent.api.wire import envelope
from tests.support.json_values import json_values


@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != envelope.EXTENSION_KEY), json_values), st.binary())
def test_header_and_payload_come_back(header: dict[str, object], payload: bytes) -> None:
    assert envelope.unpack(envelope.pack(header, payload)) == (header, payload)


def test_the_documented_example() -> None:
    packed = envelope.pack({"path": "a.txt"})
    assert packed[:8] == bytes(7) + bytes([len(b'{"path":"a.txt"}')])
    data = b'{"path": "a.txt", "__meshagent__": {"v": 1, "otel": {}}}'
    assert envelope.unpack(len(data).to_bytes(8, "big") + data) == ({"path": "a.txt"}, b"")


@pytest.mark.parametrize("data", [b"", b"1234567", bytes(7) + b"\x05{}", b"\xff" * 8 + b"{}", bytes(7) + b"\x02[]"])
def test_broken_envelopes_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        envelope.unpack(data)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_splitting_undoes_joining(text: bytes, payload: bytes) -> None:
    assert envelope.split(envelope.join(text, payload)) == (text, payload)
