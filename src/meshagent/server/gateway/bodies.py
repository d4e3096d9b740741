"""Bodies of requests, read only by the routes that want them: within a bound, unpacked in small steps, parsed as JSON.

The HTTP parser leaves bodies as they came, so that a compressed one costs nothing until somebody who may send it is
known. All work here is cut into steps of a few milliseconds at most.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import ClientPayloadError, hdrs, web

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.server.kernel.json_cost import MAX_JSON_VALUES, check_values, count_values

__all__ = [
    "MAX_JSON_VALUES",
    "BodyTooLargeError",
    "UnsupportedEncodingError",
    "body_pieces",
    "is_compressed",
    "read_body",
    "read_json",
]

_STEP_BYTES: Final = 64 * 1024
_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class BodyTooLargeError(LimitExceededError):
    """The body of a request is larger than its route takes."""

    code = "body_too_large"
    retryable = False


class UnsupportedEncodingError(InvalidRequestError):
    """The body is compressed in a way that the server does not know."""

    code = "unsupported_encoding"


def is_compressed(request: web.Request) -> bool:
    """Whether the body is larger than its `Content-Length` says."""
    return _encoding(request) != "identity"


async def body_pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes, unpacked where it is compressed by gzip or deflate. The caller counts the bytes.

    Raises:
        InvalidRequestError: It broke off, or is not what its `Content-Encoding` says.
        UnsupportedEncodingError: It is compressed in another way, or several times.
    """
    encoding = _encoding(request)
    if encoding != "identity" and encoding not in _WINDOW_BITS:
        raise UnsupportedEncodingError(f"Content-Encoding is gzip, deflate or nothing, not {encoding[:50]!r}")
    pieces = request.content.iter_any()
    try:
        async for piece in pieces if encoding == "identity" else _unpacked(pieces, _WINDOW_BITS[encoding]):
            yield piece
    except (ClientPayloadError, ConnectionError, web.RequestPayloadError) as error:
        raise InvalidRequestError(f"the body broke off: {error}") from None


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body, unpacked; errors as in `body_pieces`.

    Raises:
        BodyTooLargeError: It has more than `limit` bytes.
    """
    body = bytearray()
    async for piece in body_pieces(request):
        body += piece
        _check_size(len(body), limit)
    return bytes(body)


async def read_json(request: web.Request, limit: int) -> Any:
    """The body as JSON; errors as in `read_body`.

    Raises:
        InvalidRequestError: It is not JSON.
        BodyTooLargeError: It has more than `MAX_JSON_VALUES` values.
        LimitExceededError: It has more than `MAX_LENIENT_VALUES`, and is not strict JSON.
    """
    body = bytearray()
    values = 0
    async for piece in body_pieces(request):
        body += piece
        _check_size(len(body), limit)
        values += count_values(piece)
        if values > MAX_JSON_VALUES:
            raise BodyTooLargeError(f"a JSON body has {MAX_JSON_VALUES} values at most", limit=MAX_JSON_VALUES)
    text = bytes(body)
    await asyncio.sleep(0)  # others have their turn before and after a large one is parsed
    check_values(text)
    value = jsontext.loads(text)
    await asyncio.sleep(0)
    return value


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise BodyTooLargeError(f"the request body exceeds {limit} bytes", limit=limit)


def _encoding(request: web.Request) -> str:
    return request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower() or "identity"


async def _unpacked(pieces: AsyncIterator[bytes], window_bits: int) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(window_bits)
    try:
        async for piece in pieces:
            for start in range(
                0, len(piece), _STEP_BYTES
            ):  # what is left over is copied at each step, so keep it short
                packed = piece[start : start + _STEP_BYTES]
                while packed and not unpacker.eof:
                    yield unpacker.decompress(packed, _STEP_BYTES)
                    packed = unpacker.unconsumed_tail
                    await asyncio.sleep(0)
                if packed or unpacker.unused_data:
                    raise InvalidRequestError("the compressed body goes on after its end")
        while not unpacker.eof and (
            rest := unpacker.decompress(b"", _STEP_BYTES)
        ):  # what the last step had no room for
            yield rest
            await asyncio.sleep(0)
    except zlib.error as error:
        raise InvalidRequestError(f"the body is not compressed as its Content-Encoding says: {error}") from None
    if not unpacker.eof:
        raise InvalidRequestError("the compressed body broke off")
