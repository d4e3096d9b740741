"""The envelope: a JSON header and a binary payload in the data of one message (protocol 2.1, 2.2).

`8 bytes header length | header, a UTF-8 JSON object | payload`. Programs may add a top-level key
`__meshagent__` with tracing context; it is taken off before anyone reads the header.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError

EXTENSION_KEY: Final = "__meshagent__"
MAX_HEADER_SIZE: Final = 16 * 1024 * 1024

T = TypeVar("T", bound=msgspec.Struct)


def pack(header: object, data: bytes | None = None) -> bytes:
    """The data of a message; `header` is a dict or a struct, which become a JSON object, `data` its payload."""
    return join(jsontext.dumps(header), data or b"")


def join(text: bytes, payload: bytes = b"") -> bytes:
    """The data of a message whose header is JSON text already; `split` takes it apart again."""
    return b"".join((len(text).to_bytes(8, "big"), text, payload))


def split(data: bytes) -> tuple[bytes, bytes]:
    """Header text and payload, undecoded; the payload is empty where there is none.

    Raises:
        InvalidRequestError: The lengths do not fit.
    """
    end = 8 + int.from_bytes(data[:8], "big")
    if len(data) < 8 or not end <= len(data) or end > MAX_HEADER_SIZE:
        raise InvalidRequestError(f"broken envelope: {len(data)} bytes cannot hold a header of {end - 8} bytes")
    return data[8:end], data[end:]


def split_header(data: bytes) -> bytes:
    """The header text alone; errors as in `split`."""
    return split(data)[0]


def split_payload(data: bytes) -> bytes:
    """The payload alone; errors as in `split`."""
    return split(data)[1]


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and payload.

    Raises:
        InvalidRequestError: No envelope, or its header is no JSON object.
    """
    text, payload = split(data)
    header = jsontext.loads(text)
    if not isinstance(header, dict):
        raise InvalidRequestError("broken envelope: the header is not a JSON object")
    header.pop(EXTENSION_KEY, None)
    return header, payload


def unpack_as(data: bytes, kind: type[T]) -> tuple[T, bytes]:
    """As `unpack`, with the header decoded and checked as a `kind` in one pass."""
    text, payload = split(data)
    return jsontext.decode(text, kind), payload
