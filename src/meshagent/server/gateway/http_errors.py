"""Failures of plain HTTP requests: one JSON shape, and the status of each kind of error.

    {"error": {"code": "not_found", "message": "there is no file at 'a.txt'"}}

`code` is stable and for programs, `message` for people.
"""

from __future__ import annotations

import errno
import http
import logging
import math
from typing import Final

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from meshagent.api import jsontext
from meshagent.api.errors import InternalError, RoomException
from meshagent.server.kernel.rate_limits import RateExceededError

__all__ = ["error_middleware", "error_response", "note_started", "status_of"]

log = logging.getLogger(__name__)

_STATUS_BY_CODE: Final = {
    "invalid_request": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "conflict": 409,
    "invalid_state": 409,
    "room_runs": 409,
    "limit_exceeded": 429,
    "precondition_failed": 412,
    "body_too_large": 413,
    "unsupported_encoding": 415,
    "internal": 500,
    "unavailable": 503,
    "connection_lost": 503,
    "timeout": 504,
}
# Python 3.13 renamed these statuses, and codes are stable.
_RENAMED: Final = {
    413: "request_entity_too_large",
    414: "request_uri_too_long",
    416: "requested_range_not_satisfiable",
    422: "unprocessable_entity",
}
_STARTED: Final = web.RequestKey("meshagent.started", web.StreamResponse)
_DISK_IS_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def status_of(error: RoomException) -> int:
    """The HTTP status of a failure: that of its code, else that of the kind of error it is a case of.

    Bad tokens are 403 and not 401, which current clients would retry for ever (protocol 1.2). A full
    disk is 507.
    """
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _DISK_IS_FULL:
        return 507
    for kind in type(error).__mro__:
        status = _STATUS_BY_CODE.get(getattr(kind, "code", ""))
        if status is not None:
            return status
    return 500


def error_response(error: RoomException, *, status: int | None = None) -> web.Response:
    """The answer that says why a request failed; `status` where a route knows better than the code."""
    answer = _response(status or status_of(error), error.code, str(error))
    if answer.status == 415:
        answer.headers[hdrs.ACCEPT_ENCODING] = "gzip, deflate"  # RFC 9110 15.5.16
    if isinstance(error, RateExceededError):
        answer.headers[hdrs.RETRY_AFTER] = str(math.ceil(error.retry_after))
    return answer


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers every failure in the one shape, those of aiohttp's own routing included.

    An unexpected exception is logged with its traceback; the answer does not contain its text. What fails after the
    head of the answer was sent (`note_started`) breaks the connection off: nothing else tells the client.
    """
    try:
        return await handler(request)
    except RoomException as error:
        return _broken_off(request, str(error)) or error_response(error)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        answer = _response(error.status, _code_of(error.status), error.text or error.reason)
        allowed = error.headers.get(hdrs.ALLOW)
        if allowed is not None:
            answer.headers[hdrs.ALLOW] = allowed
        return answer
    except Exception:
        log.exception("%s %s failed", request.method, request.rel_url.raw_path)
        if (broken := _broken_off(request, "the request failed inside the server")) is not None:
            return broken
        return error_response(InternalError("the request failed inside the server; its log says more"))


async def note_started(request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler (`Application.on_response_prepare`): remembers the answer whose head is sent now."""
    request[_STARTED] = response


def _broken_off(request: web.Request, reason: str) -> web.StreamResponse | None:
    """Close the connection of an answer that has begun, and return that answer; None if none has."""
    started = request.get(_STARTED)
    if started is not None:
        log.info("broke off the answer to %s %s: %s", request.method, request.rel_url.raw_path, reason)
        if request.transport is not None:
            request.transport.close()
    return started


def _code_of(status: int) -> str:
    """A code for a status that came without one: its name, such as `method_not_allowed`."""
    return _RENAMED.get(status) or http.HTTPStatus(status).name.lower()


def _response(status: int, code: str, message: str) -> web.Response:
    body = jsontext.dumps({"error": {"code": code, "message": message}})
    return web.Response(body=body, status=status, content_type="application/json")
