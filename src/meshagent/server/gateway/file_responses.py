"""Answers that are files: validators, one range, headers that keep content harmless, and the bytes themselves."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from aiohttp import ETag, hdrs, web

from meshagent.api.errors import RoomException
from meshagent.server.gateway.conditions import read_condition
from meshagent.server.gateway.http_errors import error_response
from meshagent.server.gateway.sendfile import can_sendfile, sendfile
from meshagent.server.rooms.handle import FileContent
from meshagent.server.stores.errors import PreconditionFailedError

__all__ = ["send_file"]

log = logging.getLogger(__name__)

_WHOLE_BYTES: Final = 256 * 1024
"""Up to this size an answer is one write, headers included."""

_CHUNK_BYTES: Final = 1024 * 1024
_STALL_TIMEOUT: Final = 60.0
"""Seconds without progress after which a download is aborted."""

_ACTIVE_TYPES: Final = frozenset({"text/html", "image/svg+xml", "application/xml"})
"""Media types in which a browser may run scripts in this server's origin."""

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Part:
    """The bytes `start … stop` of a file; `is_range` if they were asked for by a range."""

    start: int
    stop: int
    is_range: bool

    @property
    def size(self) -> int:
        return self.stop - self.start


async def send_file(
    request: web.Request, file: FileContent, *, download: bool, extra_headers: Mapping[str, str] | None = None
) -> web.StreamResponse:
    """Answer a GET or HEAD with a file, or the range of it that was asked for.

    Status 200; 206 for a range; 304 when the client has this content; 412 when If-Match or If-Unmodified-Since
    does not hold; 416 for a range outside the file. Several
    ranges in one request are not served: the answer is the whole file. Scripts in pages and pictures do not run,
    and browsers do not guess types: files of a room must not act in the name of this server.

    Args:
        request: What was asked.
        file: Stays open; the caller closes it.
        download: Whether browsers save the file instead of showing it.
        extra_headers: Sent along with every status.
    """
    etag = ETag(file.info.version)
    headers = {**_headers(file, download=download), **(extra_headers or {})}
    try:
        read_condition(request).check_file(file.info)
    except PreconditionFailedError as error:
        failed = error_response(error)
        failed.headers.update(extra_headers or {})
        return failed
    if _is_unchanged(request, file, etag):
        return _empty(304, headers, etag)
    part = _part(request, file, etag)
    if part is None:
        return _empty(416, {**headers, hdrs.CONTENT_RANGE: f"bytes */{file.size}"}, etag)
    if part.is_range:
        headers[hdrs.CONTENT_RANGE] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
    status = 206 if part.is_range else 200
    if part.size <= _WHOLE_BYTES and request.method != hdrs.METH_HEAD:
        whole = web.Response(status=status, headers=headers, body=await file.read(part.start, part.stop))
        whole.etag = etag
        return whole
    response = web.StreamResponse(status=status, headers=headers)
    response.etag = etag
    response.content_length = part.size
    return await _stream(request, response, file, part)


async def _stream(
    request: web.Request, response: web.StreamResponse, file: FileContent, part: _Part
) -> web.StreamResponse:
    writer = await response.prepare(request)
    transport = request.transport
    if writer is None or transport is None or request.method == hdrs.METH_HEAD:
        return response
    descriptor = file.fileno()
    try:
        if descriptor is not None and can_sendfile(transport):
            writer.send_headers()
            await sendfile(transport, writer.drain, descriptor, part.start, part.stop, stall_timeout=_STALL_TIMEOUT)
        else:
            async for chunk in file.chunks(part.start, part.stop, chunk_bytes=_CHUNK_BYTES):
                async with asyncio.timeout(_STALL_TIMEOUT):
                    await response.write(chunk)
        await response.write_eof()
    except (ConnectionError, TimeoutError) as error:
        log.info("a download of %s broke off: %r", file.path, error)
        transport.abort()
    except (OSError, RoomException):  # the headers are sent already: only a broken connection can tell the client
        log.exception("a download of %s failed", file.path)
        transport.abort()
    return response


def _headers(file: FileContent, *, download: bool) -> dict[str, str]:
    media_type = file.media_type
    headers = {
        hdrs.CONTENT_TYPE: f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type,
        hdrs.CONTENT_DISPOSITION: _disposition(file.name, download=download),
        hdrs.LAST_MODIFIED: file.info.updated_at.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "private, no-cache",  # caches may keep it, but ask each time
        "X-Content-Type-Options": "nosniff",
    }
    if media_type in _ACTIVE_TYPES:
        headers["Content-Security-Policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return headers


def _disposition(name: str, *, download: bool) -> str:
    """RFC 6266: the name in ASCII for old clients, and as it is."""
    ascii_name = re.sub(r"[^ !#-\[\]-~]", "_", name)
    return (
        f"{'attachment' if download else 'inline'}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(name, safe='')}"
    )


def _empty(status: int, headers: dict[str, str], etag: ETag) -> web.Response:
    response = web.Response(status=status, headers=headers)
    response.etag = etag
    return response


def _is_unchanged(request: web.Request, file: FileContent, etag: ETag) -> bool:
    """RFC 9110 13.2.2: If-None-Match, and only without it If-Modified-Since."""
    known = request.if_none_match
    if known is not None:
        return any(candidate.value in ("*", etag.value) for candidate in known)
    since = request.if_modified_since
    return since is not None and _seconds(file) <= since


def _part(request: web.Request, file: FileContent, etag: ETag) -> _Part | None:
    """What to send; None if it lies outside the file."""
    whole = _Part(0, file.size, is_range=False)
    match = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, "").replace(" ", ""))
    if match is None or match[0] == "bytes=-" or not _still_holds(request, file, etag):
        return whole
    first, last = match.groups()
    if not first:
        start, stop = max(0, file.size - int(last)), file.size
    else:
        start, stop = int(first), min(int(last) + 1, file.size) if last else file.size
        if last and int(last) < start:
            return whole  # no range at all, so it counts as absent
    return _Part(start, stop, is_range=True) if start < stop else None


def _still_holds(request: web.Request, file: FileContent, etag: ETag) -> bool:
    """If-Range: a range is served only from the content that the client has the other part of."""
    condition = request.headers.get(hdrs.IF_RANGE)
    if condition is None or condition.strip() == f'"{etag.value}"':
        return True
    since = request.if_range
    return since is not None and _seconds(file) == since


def _seconds(file: FileContent) -> datetime:
    return file.info.updated_at.astimezone(UTC).replace(microsecond=0)
