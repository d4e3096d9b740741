"""Documents over plain HTTP, as JSON: read and edit one without opening it as a CRDT.

    GET   /rooms/{room}/documents/{path}           the document, root tag first (`?ids=true` adds `$id`s)
    PATCH /rooms/{room}/documents/{path}           change it; answers the document as it is then

A PATCH body is a JSON Patch (RFC 6902, `application/json-patch+json`, or any JSON list), a merge patch
(RFC 7396, `application/merge-patch+json`), or the whole new content (`application/json` object). Both
answers have an `ETag` of the document's state, and If-Match and If-None-Match are honoured (RFC 9110 13). It becomes
the fewest CRDT edits that lead there, so that people who edit the document at the same time keep their work.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from meshagent.api import jsontext
from meshagent.api.documents.change_budget import ChangeTooLargeError
from meshagent.api.errors import InvalidRequestError
from meshagent.server.gateway.bodies import read_json
from meshagent.server.gateway.conditions import change_condition, read_condition
from meshagent.server.gateway.http_errors import error_response
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.server.gateway.token_expiry import while_token_lasts
from meshagent.server.rooms.handle import DocumentChange
from meshagent.server.stores.conditions import ChangeCondition

MAX_PATCH_BYTES = 8 * 1024 * 1024
_WITH_IDS = "-ids"
"""Ends the entity tag of a document with its ids: another text of the same state."""

_MERGE_PATCH = "application/merge-patch+json"


class DocumentRoutes:
    """Serves documents as JSON."""

    def __init__(self, rooms: RoomGateway) -> None:
        self._rooms = rooms

    def routes(self) -> list[web.RouteDef]:
        path = "/rooms/{room}/documents/{path:.+}"
        return [web.get(path, self.describe), web.patch(path, self.patch)]

    async def describe(self, request: web.Request) -> web.Response:
        """The document as JSON."""
        path = request.match_info["path"]
        include_ids = request.query.get("ids", "").lower() in {"1", "true", "yes"}
        async with self._rooms.visit(request) as (admission, room):
            state = await room.documents.describe(path, admission.scope, include_ids=include_ids)
        read_condition(request).check((state.version, state.version + _WITH_IDS))
        etag = state.version + _WITH_IDS if include_ids else state.version
        known = request.if_none_match
        if known is not None and any(candidate.value in ("*", etag) for candidate in known):
            unchanged = web.Response(status=304)
            unchanged.etag = etag
            return unchanged
        return _json(state.content, etag)

    async def patch(self, request: web.Request) -> web.Response:
        """Change the document; 413 for more than one change may be."""
        path = request.match_info["path"]
        async with self._rooms.visit(request) as (admission, room):
            admission.scope.require_sync(path, write=True)  # before the body is read
            async with while_token_lasts(admission):
                body = await read_json(request, MAX_PATCH_BYTES)
            change = _change_of(body, request.content_type)
            try:
                state = await room.documents.change(path, change, admission.scope, condition=_condition(request))
            except ChangeTooLargeError as error:
                return error_response(error, status=413)
        return _json(state.content, state.version)


def _condition(request: web.Request) -> ChangeCondition | None:
    """The condition of a change. The tag of the answer with ids names the same state as that of the one without."""
    condition = change_condition(request)
    if condition is None:
        return None
    return ChangeCondition(
        versions=_states(condition.versions),
        absent_versions=_states(condition.absent_versions),
        unmodified_since=condition.unmodified_since,
    )


def _states(tags: frozenset[str] | None) -> frozenset[str] | None:
    return None if tags is None else frozenset(tag.removesuffix(_WITH_IDS) for tag in tags)


def _change_of(body: Any, content_type: str) -> DocumentChange:
    """What a body asks for.

    Raises:
        InvalidRequestError: It is neither a list nor an object.
    """
    if isinstance(body, list):
        return DocumentChange("json-patch", body)
    if not isinstance(body, dict):
        raise InvalidRequestError("a patch is a JSON Patch (a list of operations) or an object")
    return DocumentChange("merge-patch" if content_type == _MERGE_PATCH else "replacement", body)


def _json(content: object, etag: str) -> web.Response:
    answer = web.Response(body=jsontext.dumps(content), content_type="application/json")
    answer.etag = etag
    return answer
