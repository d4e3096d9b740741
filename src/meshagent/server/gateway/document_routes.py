"""Documents over plain HTTP, as JSON: read and edit one without opening it as a CRDT.

    GET   /rooms/{room}/documents/{path}           the document, root tag first (`?ids=true` adds `$id`s)
    PATCH /rooms/{room}/documents/{path}           change it; answers the document as it is then

A PATCH body is a JSON Patch (RFC 6902, `application/json-patch+json`, or any JSON list), a merge patch
(RFC 7396, `application/merge-patch+json`), or the whole new content (`application/json` object). It becomes
the fewest CRDT edits that lead there, so that people who edit the document at the same time keep their work.
"""

from __future__ import annotations

from typing import Any

import jsonpatch
from aiohttp import web

from meshagent.api import jsontext
from meshagent.api.errors import ConflictError, InvalidRequestError
from meshagent.server.gateway.room_gateway import RoomGateway
from meshagent.server.services.documents.service import DocumentsService

MAX_PATCH_BYTES = 8 * 1024 * 1024


class DocumentRoutes:
    """Serves documents as JSON."""

    def __init__(self, door: RoomGateway) -> None:
        self._door = door

    def routes(self) -> list[web.RouteDef]:
        path = "/rooms/{room}/documents/{path:.+}"
        return [web.get(path, self.describe), web.patch(path, self.patch)]

    async def describe(self, request: web.Request) -> web.Response:
        """The document as JSON."""
        path = request.match_info["path"]
        async with self._door.visit(request) as (admission, room):
            admission.scope.require_sync(path, write=False)
            include_ids = request.query.get("ids", "").lower() in {"1", "true", "yes"}
            content = await room.services.documents.describe(path, include_ids=include_ids)
        return _json(content)

    async def patch(self, request: web.Request) -> web.Response:
        """Change the document."""
        path = request.match_info["path"]
        async with self._door.visit(request) as (admission, room):
            admission.scope.require_sync(path, write=True)
            change = jsontext.loads(await _body(request))
            content = await _patched(room.services.documents, path, change, request.content_type)
        return _json(content)


async def _patched(documents: DocumentsService, path: str, change: Any, content_type: str) -> dict[str, Any]:
    async with documents.using(path):  # so that reading and writing see the same document
        if isinstance(change, list):
            current = await documents.describe(path, include_ids=True)
            return await documents.replace_json(path, _apply_json_patch(current, change), None)
        if not isinstance(change, dict):
            raise InvalidRequestError("a patch is a JSON Patch (a list of operations) or an object")
        if content_type == "application/merge-patch+json":
            current = await documents.describe(path, include_ids=True)
            return await documents.replace_json(path, _apply_merge_patch(current, change), None)
        return await documents.replace_json(path, change, None)


def _apply_json_patch(current: dict[str, Any], operations: list[Any]) -> dict[str, Any]:
    try:
        patched = jsonpatch.apply_patch(current, operations)
    except jsonpatch.JsonPatchTestFailed as error:
        raise ConflictError(f"a test of the patch failed: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError) as error:
        raise InvalidRequestError(f"the patch cannot be applied: {error}") from None
    if not isinstance(patched, dict):
        raise InvalidRequestError("the patch leaves no document")
    return patched


def _apply_merge_patch(current: Any, change: Any) -> Any:
    """RFC 7396: objects merge, null removes, everything else replaces."""
    if not isinstance(change, dict):
        return change
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _apply_merge_patch(merged.get(key), value)
    return merged


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_PATCH_BYTES:
            raise InvalidRequestError(f"a patch has {MAX_PATCH_BYTES} bytes at most")
    return bytes(body)


def _json(content: object) -> web.Response:
    return web.Response(body=jsontext.dumps(content), content_type="application/json")
