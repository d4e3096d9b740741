"""Contents: the seven types of the first generation, and the two of the second (protocol 2.4)."""

from __future__ import annotations

import pytest

from meshagent.api.contracts.content import (
    BinaryBody,
    Body,
    ControlBody,
    EmptyResponse,
    ErrorResponse,
    FileResponse,
    JsonResponse,
    LinkResponse,
    RawOutputs,
    TextResponse,
    ensure_response,
)
from meshagent.api.errors import InvalidRequestError
from meshagent.api.wire.content import unpack_body as unpack_response
from meshagent.api.wire.envelope import pack as pack_message
from meshagent.api.wire.envelope import unpack as unpack_message

CONTENTS: list[Body] = [
    LinkResponse(url="https://example.com", name="a link"),
    FileResponse(data=b"\x00\xffbytes", name="a.bin", mime_type="application/octet-stream", usage={"tokens": 3}),
    TextResponse(text="héllo"),
    EmptyResponse(),
    ErrorResponse(text="no"),
    ErrorResponse(text="no", code=1003),
    RawOutputs(outputs=[{"type": "message"}]),
    JsonResponse(json={"result": [1, None, "x"]}),
    JsonResponse(json=[1, 2]),
    BinaryBody(data=b"chunk", headers={"kind": "data"}),
    ControlBody(method="open"),
    ControlBody(method="close", status_code=1007, message="bad"),
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content.type)
def test_every_content_comes_back(content: Body) -> None:
    again = unpack_response(content.pack())
    assert again == content
    assert again.usage == content.usage


def test_usage_is_optional_when_reading() -> None:
    assert unpack_response(pack_message({"type": "text", "text": "x"})) == TextResponse(text="x")


def test_the_context_of_the_caller_does_not_travel() -> None:
    header, _ = unpack_message(JsonResponse(json={}, caller_context={"a": 1}).pack())
    assert header == {"type": "json", "json": {}, "usage": None}


@pytest.mark.parametrize("header", [{"type": "odd"}, {}, {"type": "text"}, {"type": "file", "name": "x"}])
def test_unknown_and_incomplete_contents_are_refused(header: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        unpack_response(pack_message(header))


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ({"a": 1}, JsonResponse(json={"a": 1})),
        ("text", TextResponse(text="text")),
        (None, EmptyResponse()),
        (TextResponse(text="as it is"), TextResponse(text="as it is")),
    ],
)
def test_tool_results_become_contents(value: object, content: Body) -> None:
    assert ensure_response(value) == content


def test_other_tool_results_become_errors() -> None:
    assert isinstance(ensure_response(3.5), ErrorResponse)


def test_a_json_content_reads_and_prints_like_its_value() -> None:
    content = JsonResponse(json={"result": 3})
    assert content["result"] == 3
    assert str(content) == 'Json: json={"result": 3} usage=None'
