"""Conditions of requests (RFC 9110 13): read from their headers here, checked by whoever makes the change."""

from __future__ import annotations

import re
from typing import Final

from aiohttp import hdrs, web

from meshagent.api.errors import InvalidRequestError
from meshagent.server.stores.conditions import ANY_VERSION, ChangeCondition

__all__ = ["change_condition", "read_condition", "refuse_conditions", "refuse_part"]

_ETAG: Final = r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"'
_ETAGS: Final = re.compile(rf"[ \t,]*{_ETAG}[ \t]*(?:,[ \t,]*{_ETAG}[ \t]*)*,?[ \t]*")
_ONE_ETAG: Final = re.compile(_ETAG)
_MAX_CHARS: Final = 16 * 1024


def change_condition(request: web.Request) -> ChangeCondition | None:
    """Under which condition a PUT, PATCH or DELETE is to be made; None if there is none.

    Weak tags match nothing in If-Match, which compares strongly. A date that is none counts as absent (RFC 9110
    13.1.4); tags that are none are refused, since ignoring them would overwrite what the client wants to protect.

    Raises:
        InvalidRequestError: If-Match or If-None-Match is neither `*` nor a list of entity tags.
    """
    condition = ChangeCondition(
        versions=_tags(request, hdrs.IF_MATCH, strong=True),
        absent_versions=_tags(request, hdrs.IF_NONE_MATCH, strong=False),
        unmodified_since=request.if_unmodified_since,
    )
    return None if condition == ChangeCondition() else condition


def read_condition(request: web.Request) -> ChangeCondition:
    """If-Match and If-Unmodified-Since of a GET or HEAD; the other conditions do not fail but shorten the answer.

    Raises:
        InvalidRequestError: If-Match is neither `*` nor a list of entity tags.
    """
    return ChangeCondition(
        versions=_tags(request, hdrs.IF_MATCH, strong=True), unmodified_since=request.if_unmodified_since
    )


def refuse_conditions(request: web.Request) -> None:
    """Refuse conditions where nothing checks them: the client relies on them.

    Raises:
        InvalidRequestError: The request has one.
    """
    for name in (hdrs.IF_MATCH, hdrs.IF_NONE_MATCH, hdrs.IF_UNMODIFIED_SINCE):
        if name in request.headers:
            raise InvalidRequestError(f"{name} is not supported here")


def refuse_part(request: web.Request) -> None:
    """Refuse a PUT of a part, which would be stored as the whole (RFC 9110 14.4).

    Raises:
        InvalidRequestError: The request has a Content-Range.
    """
    if hdrs.CONTENT_RANGE in request.headers:
        raise InvalidRequestError("PUT with Content-Range is not supported: send the whole content")


def _tags(request: web.Request, header: str, *, strong: bool) -> frozenset[str] | None:
    if header not in request.headers:
        return None
    text = ", ".join(request.headers.getall(header)).strip()
    if text == ANY_VERSION:
        return frozenset({ANY_VERSION})
    if len(text) > _MAX_CHARS or _ETAGS.fullmatch(text) is None:
        raise InvalidRequestError(f'{header} is either * or a list of entity tags in double quotes, such as "1a-2b"')
    found = _ONE_ETAG.findall(text)
    # A tag of the text "*" in quotes is a tag that nothing here has, not the wildcard.
    return frozenset(tag for weak, tag in found if not (strong and weak) and tag != ANY_VERSION)
