"""`ToolResponseAdapter`: what a model reads of a tool's response."""

from __future__ import annotations

import pytest

from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.api.contracts.content import (
    BinaryBody,
    Body,
    EmptyBody,
    ErrorBody,
    FileBody,
    JsonBody,
    LinkBody,
    RawOutputs,
    TextBody,
)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (TextBody(text="plain"), "plain"),
        (JsonBody(json={"a": [1]}), '{"a":[1]}'),
        (EmptyBody(), "ok"),
        (ErrorBody(text="no such file"), "error: no such file"),
        (LinkBody(name="a.txt", url="https://example.org/a"), '{"name":"a.txt","url":"https://example.org/a"}'),
        (FileBody(name="a.txt", mime_type="text/plain; charset=utf-8", data="ä".encode()), "ä"),
        (FileBody(name="a.json", mime_type="application/json; charset=utf-8", data=b"{}"), "{}"),
        (FileBody(name="a.txt", mime_type="text/plain", data=b"\xff!"), "\ufffd!"),
        (
            FileBody(name="a.png", mime_type="image/png", data=b"\x89PNG"),
            '{"file":"a.png","mime_type":"image/png","bytes":4}',
        ),
        (RawOutputs(outputs=[{"type": "message"}]), '[{"type":"message"}]'),
        (BinaryBody(data=b"12"), "error: content of type binary cannot be converted to text"),
    ],
    ids=lambda value: value.type if isinstance(value, Body) else None,
)
def test_each_content_has_a_text(response: Body, text: str) -> None:
    assert ToolResponseAdapter().to_plain_text(response) == text


def test_long_texts_are_truncated_and_say_so() -> None:
    adapter = ToolResponseAdapter(max_characters=5)
    assert adapter.to_plain_text(TextBody(text="12345")) == "12345"
    assert adapter.to_plain_text(TextBody(text="1234567")) == "12345\n[truncated: 7 characters in total]"
