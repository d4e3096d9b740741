"""Contents, also called bodies: what requests answer and what tools take and return (protocol 2.4).

A content is a typed value: fields that become a JSON header, and for some types a payload of bytes. Seven types belong
to every client; `binary` and `control` only to the current generation's streams (protocol 2.4).
`meshagent.api.wire.content` turns them into bytes and back.
"""

from __future__ import annotations

import json as stdlib_json
from collections.abc import Mapping
from typing import Any, ClassVar

from meshagent.api.errors import InvalidRequestError
from meshagent.api.jsontext import Json

Usage = Mapping[str, float]


class Body:
    """One content. Subclasses say what their fields hold.

    Attributes:
        usage: Figures such as tokens or seconds that producing it cost, by name; None when not known.
        caller_context: A value that tools hand along with their answer on this side; it never travels.
    """

    type: ClassVar[str]
    __slots__ = ("caller_context", "usage")

    def __init__(self, *, usage: Usage | None = None, caller_context: dict[str, Any] | None = None) -> None:
        self.usage = usage
        self.caller_context = caller_context

    def get_data(self) -> bytes | None:
        """The payload bytes; None for contents that have none."""
        return None

    def fields(self) -> dict[str, Json]:
        """The header's members beside `type` and `usage`; each subclass gives its own."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Json]:
        """The header."""
        return {"type": self.type, **self.fields(), "usage": self.usage}

    def pack(self) -> bytes:
        """The content as the data of a message; for programs that expect this method, see `wire.content.pack_body`."""
        from meshagent.api.wire.content import pack_body  # imported here, since contracts do not depend on the wire

        return pack_body(self)

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> Body:
        """The content that a header and a payload stand for; on this class, of whichever type they name."""
        return unpack_body_parts(header, payload)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Body) or type(other) is not type(self):
            return NotImplemented
        return self.to_json() == other.to_json() and self.get_data() == other.get_data()

    __hash__ = None  # type: ignore[assignment]  # contents are compared by value and hold mutable ones

    def __str__(self) -> str:
        shown = " ".join(
            f"{name}={stdlib_json.dumps(value, default=str) if isinstance(value, (dict, list)) else value}"
            for name, value in self.fields().items()
        )
        return f"{self.type.capitalize()}: {shown + ' ' if shown else ''}usage={self.usage}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class LinkBody(Body):
    """A named URL."""

    type = "link"
    __slots__ = ("name", "url")

    def __init__(
        self, *, url: str, name: str, usage: Usage | None = None, caller_context: dict[str, Any] | None = None
    ) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.url = url
        self.name = name

    def fields(self) -> dict[str, Json]:
        return {"name": self.name, "url": self.url}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> LinkBody:
        return LinkBody(url=header["url"], name=header["name"], usage=header.get("usage"))


class FileBody(Body):
    """A named file with its bytes."""

    type = "file"
    __slots__ = ("data", "mime_type", "name")

    def __init__(
        self,
        *,
        data: bytes,
        name: str,
        mime_type: str,
        usage: Usage | None = None,
        caller_context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.data = data
        self.name = name
        self.mime_type = mime_type

    def get_data(self) -> bytes:
        return self.data

    def fields(self) -> dict[str, Json]:
        return {"name": self.name, "mime_type": self.mime_type}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> FileBody:
        return FileBody(data=payload, name=header["name"], mime_type=header["mime_type"], usage=header.get("usage"))


class TextBody(Body):
    """Plain text."""

    type = "text"
    __slots__ = ("text",)

    def __init__(self, *, text: str, usage: Usage | None = None, caller_context: dict[str, Any] | None = None) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.text = text

    def fields(self) -> dict[str, Json]:
        return {"text": self.text}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> TextBody:
        return TextBody(text=header["text"], usage=header.get("usage"))


class EmptyBody(Body):
    """Nothing: done."""

    type = "empty"
    __slots__ = ()

    def fields(self) -> dict[str, Json]:
        return {}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> EmptyBody:
        return EmptyBody(usage=header.get("usage"))


class ErrorBody(Body):
    """A failure in words, with its number where the sender gave one."""

    type = "error"
    __slots__ = ("code", "text")

    def __init__(
        self,
        *,
        text: str,
        code: int | None = None,
        usage: Usage | None = None,
        caller_context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.text = text
        self.code = code

    def fields(self) -> dict[str, Json]:
        return {"text": self.text} if self.code is None else {"text": self.text, "code": self.code}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> ErrorBody:
        return ErrorBody(text=header["text"], code=header.get("code"), usage=header.get("usage"))


class RawOutputs(Body):
    """A model provider's own output items, as they came."""

    type = "raw"
    __slots__ = ("outputs",)

    def __init__(
        self,
        *,
        outputs: list[dict[str, Any]],
        usage: Usage | None = None,
        caller_context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.outputs = outputs

    def fields(self) -> dict[str, Json]:
        return {"outputs": self.outputs}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> RawOutputs:
        return RawOutputs(outputs=header["outputs"], usage=header.get("usage"))


class JsonBody(Body):
    """Any JSON value, nearly always an object; `body["key"]` reads a member of it."""

    type = "json"
    __slots__ = ("json",)

    def __init__(self, *, json: Json, usage: Usage | None = None, caller_context: dict[str, Any] | None = None) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.json = json

    def __getitem__(self, key: str) -> Any:
        return self.json[key]

    def fields(self) -> dict[str, Json]:
        return {"json": self.json}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> JsonBody:
        return JsonBody(json=header["json"], usage=header.get("usage"))


class BinaryBody(Body):
    """Bytes with headers of their own, the unit of the current generation's streams."""

    type = "binary"
    __slots__ = ("data", "headers")

    def __init__(
        self,
        *,
        data: bytes = b"",
        headers: dict[str, Json] | None = None,
        usage: Usage | None = None,
        caller_context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.data = data
        self.headers = headers if headers is not None else {}

    def get_data(self) -> bytes:
        return self.data

    def fields(self) -> dict[str, Json]:
        return {"headers": self.headers}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> BinaryBody:
        return BinaryBody(data=payload, headers=header.get("headers") or {})


class ControlBody(Body):
    """Opens or closes one direction of a streaming call."""

    type = "control"
    __slots__ = ("message", "method", "status_code")

    def __init__(
        self,
        *,
        method: str,
        status_code: int = 1000,
        message: str | None = None,
        usage: Usage | None = None,
        caller_context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(usage=usage, caller_context=caller_context)
        self.method = method
        self.status_code = status_code
        self.message = message

    def fields(self) -> dict[str, Json]:
        if self.method != "close":
            return {"method": self.method}
        closing: dict[str, Json] = {"method": "close", "status_code": self.status_code}
        return closing if self.message is None else {**closing, "message": self.message}

    @staticmethod
    def unpack(*, header: dict[str, Any], payload: bytes) -> ControlBody:
        return ControlBody(
            method=header["method"],
            status_code=header.get("status_code") or 1000,
            message=header.get("message"),
        )


body_types: dict[str, type[Body]] = {
    cls.type: cls
    for cls in (
        LinkBody,
        FileBody,
        TextBody,
        EmptyBody,
        ErrorBody,
        RawOutputs,
        JsonBody,
        BinaryBody,
        ControlBody,
    )
}

LinkRequest = LinkBody
LinkResponse = LinkBody
FileRequest = FileBody
FileResponse = FileBody
TextRequest = TextBody
TextResponse = TextBody
EmptyRequest = EmptyBody
EmptyResponse = EmptyBody
ErrorRequest = ErrorBody
ErrorResponse = ErrorBody
JsonRequest = JsonBody
JsonResponse = JsonBody
Request = Body
Response = Body


def unpack_body_parts(header: dict[str, Any], payload: bytes) -> Body:
    """The content that a decoded header and its payload stand for.

    Raises:
        InvalidRequestError: Unknown type, or a field is missing.
    """
    kind = body_types.get(header.get("type", ""))
    if kind is None:
        raise InvalidRequestError(f"unknown content type {header.get('type')!r}")
    try:
        return kind.unpack(header=header, payload=payload)
    except KeyError as error:
        raise InvalidRequestError(f"content of type {kind.type!r} is missing field {error}") from None


def ensure_response(value: object) -> Body:
    """What a tool returned, as a content: dict as JSON, str as text, None as empty, anything else as an error."""
    if isinstance(value, Body):
        return value
    if isinstance(value, dict):
        return JsonBody(json=value)
    if isinstance(value, str):
        return TextBody(text=value)
    if value is None:
        return EmptyBody()
    return ErrorBody(text=f"the tool returned a {type(value).__name__}, which is not a response")
