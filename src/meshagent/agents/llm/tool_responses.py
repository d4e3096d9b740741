"""`ToolResponseAdapter`: converts tool responses to text for a language model."""

from __future__ import annotations

from meshagent.api import jsontext
from meshagent.api.contracts.content import (
    BinaryBody,
    Body,
    ControlBody,
    EmptyBody,
    ErrorBody,
    FileBody,
    JsonBody,
    LinkBody,
    RawOutputs,
    TextBody,
)

__all__ = ["ToolResponseAdapter"]

MAX_RESPONSE_CHARACTERS = 200_000
_TEXT_TYPES = ("application/json", "application/xml", "application/yaml", "application/javascript")


class ToolResponseAdapter:
    """Converts contents to text. Override `to_plain_text` to change what the model sees.

    Args:
        max_characters: Longer texts are truncated and marked as such.
    """

    def __init__(self, *, max_characters: int = MAX_RESPONSE_CHARACTERS) -> None:
        self._max_characters = max_characters

    def to_plain_text(self, answer: Body) -> str:
        """Return the text that the model receives for a tool response."""
        text = _plain(answer)
        if len(text) <= self._max_characters:
            return text
        return f"{text[: self._max_characters]}\n[truncated: {len(text)} characters in total]"


def _plain(answer: Body) -> str:
    match answer:
        case TextBody():
            return answer.text
        case JsonBody():
            return jsontext.dumps(answer.json).decode()
        case EmptyBody():
            return "ok"
        case ErrorBody():
            return f"error: {answer.text}"
        case LinkBody():
            return jsontext.dumps({"name": answer.name, "url": answer.url}).decode()
        case FileBody():
            return _file(answer)
        case RawOutputs():
            return jsontext.dumps(answer.outputs).decode()
        case BinaryBody() | ControlBody():
            return f"error: content of type {answer.type} cannot be converted to text"
    raise AssertionError(f"unknown content {answer!r}")


def _file(file: FileBody) -> str:
    if file.mime_type.startswith("text/") or file.mime_type.split(";")[0] in _TEXT_TYPES:
        return file.data.decode("utf-8", "replace")
    return jsontext.dumps({"file": file.name, "mime_type": file.mime_type, "bytes": len(file.data)}).decode()
