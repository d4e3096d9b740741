"""The form in which webhooks are written and signed (protocol 15.2)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.errors import InvalidRequestError
from meshagent.api.tokens.signing import sign
from meshagent.api.webhook.signature import (
    SIGNATURE_HEADER,
    SignatureRefusedError,
    parse,
    serialize,
    signature_of,
    signed_body,
    verify,
)

SECRET = "a webhook secret"
CALL = {
    "event": "room.call",
    "data": {"room_url": "ws://localhost:8080/rooms/demo", "room_name": "demo", "token": "T", "arguments": {}},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def test_the_body_of_the_reference_hashes_as_the_reference_says() -> None:
    digest = hashlib.sha256(serialize(CALL)).hexdigest()
    assert digest == "9d4881450423e79dd195f4ef6a40735e246346f7536a1df25fff808f88db48d0"


def test_bodies_are_ascii_with_spaces_and_keys_in_order() -> None:
    assert serialize({"b": "Grüße 🙂", "a": [1, 2.0]}) == b'{"b": "Gr\\u00fc\\u00dfe \\ud83d\\ude42", "a": [1, 2.0]}'


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_what_we_send_is_what_receivers_hash(payload: dict[str, Any]) -> None:
    body = serialize(payload)
    assert json.dumps(json.loads(body)).encode() == body
    verify(body, signature_of(body, SECRET), SECRET, now=0.0)


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3))
def test_a_hash_of_the_raw_bytes_or_of_pythons_form_is_accepted(payload: dict[str, Any]) -> None:
    compact = json.dumps(payload, separators=(",", ":"), ensure_ascii=True, indent=1).encode()
    verify(compact, signature_of(compact, SECRET), SECRET, now=0.0)
    verify(compact, signature_of(serialize(parse(compact)), SECRET), SECRET, now=0.0)


@pytest.mark.parametrize(
    ("header", "secret", "says"),
    [
        (None, SECRET, "missing"),
        (signature_of(serialize(CALL), SECRET).removeprefix("Bearer "), SECRET, "missing"),
        ("Bearer not-a-jwt", SECRET, "refused"),
        (signature_of(serialize(CALL), "another secret"), SECRET, "refused"),
        (signature_of(serialize(CALL), SECRET), None, "no webhook secret"),
        ("Bearer " + sign({"hash": "x"}, SECRET), SECRET, "sha256"),
        ("Bearer " + sign({"sha256": 5}, SECRET), SECRET, "sha256"),
        ("Bearer " + sign({"sha256": "ä" * 64}, SECRET), SECRET, "does not match the body"),
        (signature_of(serialize({**CALL, "event": "room.ended"}), SECRET), SECRET, "does not match the body"),
        ("Bearer " + sign({"sha256": "x", "exp": 5}, SECRET), SECRET, "expired"),
    ],
)
def test_what_is_not_signed_is_refused(header: str | None, secret: str | None, says: str) -> None:
    with pytest.raises(SignatureRefusedError, match=says):
        verify(serialize(CALL), header, secret, now=10.0)


def test_our_headers_replace_the_callers_and_others_stay() -> None:
    signed = signed_body(CALL, secret=SECRET, headers={"content-type": "text/plain", "X-Trace": "1"})
    assert signed.headers == {
        "X-Trace": "1",
        "Content-Type": "application/json",
        SIGNATURE_HEADER: signature_of(signed.body, SECRET),
    }


def test_without_a_secret_nothing_is_signed() -> None:
    assert SIGNATURE_HEADER not in signed_body(CALL, secret=None).headers


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="cannot be written as JSON"):
        serialize({"data": object()})
