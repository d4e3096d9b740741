"""Contents as dialects handle them: headers read as far as routing needs, and the contents that the server sends.

Most contents only pass through (`EncodedContent`). Their headers are searched for a word before they are decoded,
since almost none of them opens, closes or fails anything.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, RoomException
from meshagent.server.kernel.operations import EncodedContent

CONTROL_OPEN: Final = EncodedContent(b'{"type":"control","method":"open"}')
CONTROL_CLOSE: Final = EncodedContent(b'{"type":"control","method":"close","status_code":1000}')


class ContentHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a content's header that the server reads itself."""

    type: str = ""
    json: msgspec.Raw = msgspec.Raw(b"{}")
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    method: str | None = None
    status_code: int | None = None
    message: str | None = None


class _Control(msgspec.Struct, frozen=True):
    type: str = ""
    method: str | None = None


class _Failure(msgspec.Struct, frozen=True):
    type: str
    text: str = ""


def opens_stream(header: bytes) -> bool:
    """Whether a content is `control open`."""
    return b'"control"' in header and _control(header) == ("control", "open")


def closes_stream(header: bytes) -> bool:
    """Whether a content is `control close`."""
    return b'"control"' in header and _control(header) == ("control", "close")


def _control(header: bytes) -> tuple[str, str | None]:
    try:
        control = jsontext.decode(header, _Control)
    except InvalidRequestError:  # an item of a stream may be any JSON, such as a progress event
        return "", None
    return control.type, control.method


def failure_text(header: bytes) -> str | None:
    """The text of an `error` content; None for any other."""
    if b'"error"' not in header:
        return None
    try:
        content = jsontext.decode(header, _Failure)
    except InvalidRequestError:
        return "an error without a text"
    return content.text if content.type == "error" else None


def json_content(value: object) -> EncodedContent:
    """A `json` content."""
    return EncodedContent(jsontext.dumps({"type": "json", "json": value}))


def binary_content(headers: dict[str, Any], data: bytes = b"") -> EncodedContent:
    """A `binary` content."""
    return EncodedContent(jsontext.dumps({"type": "binary", "headers": headers}), data)


def error_content(error: RoomException) -> EncodedContent:
    """An `error` content."""
    return EncodedContent(jsontext.dumps({"type": "error", "text": str(error), "code": error.wire_code}))


def close_content(message: str) -> EncodedContent:
    """A `control close` that gives a reason."""
    header = {"type": "control", "method": "close", "status_code": 1000, "message": message}
    return EncodedContent(jsontext.dumps(header))
