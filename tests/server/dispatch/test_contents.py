"""Headers of contents: what routing reads of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshagent.api.contracts.content import BinaryBody, ControlBody, ErrorBody, JsonBody
from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.server.dispatch.contents import (
    CONTROL_CLOSE,
    CONTROL_OPEN,
    binary_content,
    close_content,
    closes_stream,
    error_content,
    failure_text,
    json_content,
    opens_stream,
)
from meshagent.server.kernel.operations import EncodedContent

WORDS = st.sampled_from(["control", "error", "open", "close", "json", "text", ""])
HEADERS = st.dictionaries(st.sampled_from(["type", "method", "text", "n"]), WORDS | st.integers() | st.none())


@given(header=HEADERS)
def test_only_a_control_content_opens_or_closes(header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    assert opens_stream(text) == (header.get("type") == "control" and header.get("method") == "open")
    assert closes_stream(text) == (header.get("type") == "control" and header.get("method") == "close")


@given(header=HEADERS)
def test_only_an_error_content_is_a_failure(header: dict[str, Any]) -> None:
    failure = failure_text(json.dumps(header).encode())
    if header.get("type") == "error":
        assert failure in (header.get("text", ""), "", "an error without a text")
    elif "error" not in header.values():
        assert failure is None


@pytest.mark.parametrize("item", [b"[]", b"5", b'"control"', b'{"type":5}', b"null"])
def test_items_that_are_no_contents_have_no_type(item: bytes) -> None:
    assert EncodedContent(item).type == ""
    assert not opens_stream(item)
    assert not closes_stream(item)


def test_built_contents_decode_to_what_they_say() -> None:
    assert json_content({"a": 1}).decoded() == JsonBody(json={"a": 1})
    assert binary_content({"kind": "data"}, b"x").decoded() == BinaryBody(headers={"kind": "data"}, data=b"x")
    assert error_content(NotFoundError("gone")).decoded() == ErrorBody(text="gone", code=1003)
    assert CONTROL_OPEN.decoded() == ControlBody(method="open")
    assert CONTROL_CLOSE.decoded() == ControlBody(method="close")
    assert close_content("deleted").decoded() == ControlBody(method="close", message="deleted")
    assert json_content(1).type == "json"


@pytest.mark.parametrize("header", [b"", b"[]", b'{"type":"teapot"}', b'{"type":"file"}'])
def test_what_is_no_content_does_not_decode(header: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        EncodedContent(header).decoded()
