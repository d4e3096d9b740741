"""Files over plain HTTP: `storage.*` for large files, and for programs without a room client.

    PUT    /rooms/{room}/storage/{path}   store the body; `?overwrite=false` or `If-None-Match: *` only if new
                                          (PUT and DELETE take the conditions of RFC 9110 13)
    GET    /rooms/{room}/storage/{path}   the file, or the listing of a folder; `?download` to save it
    DELETE /rooms/{room}/storage/{path}   a file or an empty folder; `?recursive=true` for all in a folder
    POST   /rooms/{room}/storage:move     {"source_path", "destination_path", "overwrite"}
    GET    /files/{signed}/{name}         what `storage.download_url` gave a URL for

The token is the room's, as a bearer header or `?token=`; its grants hold here too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from aiohttp import hdrs, web

from meshagent.api import jsontext
from meshagent.api.contracts import storage as api
from meshagent.api.errors import AlreadyExistsError, InvalidRequestError, LimitExceededError, NotFoundError
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE
from meshagent.server.gateway.bodies import body_pieces, is_compressed, read_body
from meshagent.server.gateway.conditions import change_condition, refuse_conditions, refuse_part
from meshagent.server.gateway.file_responses import send_file
from meshagent.server.gateway.http_errors import error_response
from meshagent.server.gateway.token_expiry import pieces_while_token_lasts
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.rate_limits import RequestRates
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.kernel.url_signing import SIGNED_FILES_PREFIX, SignedFile, UrlSigner
from meshagent.server.rooms.handle import FileAccess
from meshagent.server.stores.paths import normalize_path

__all__ = ["FileRoutes", "FileRooms"]

_BATCH_BYTES: Final = 1024 * 1024
"""Bytes of an upload that go to the disk together."""

_MAX_MOVE_BYTES: Final = 64 * 1024


class RoomWithFiles(Protocol):
    """A room as these routes see it."""

    @property
    def files(self) -> FileAccess: ...


class FileRooms(Protocol):
    """How requests get to rooms; `RoomGateway` is the real one."""

    def visit(self, request: web.Request) -> AbstractAsyncContextManager[tuple[Admission, RoomWithFiles]]:
        """The room that a request names, and what its token allows."""
        ...

    def hold(self, key: RoomKey) -> AbstractAsyncContextManager[RoomWithFiles]:
        """A room for a request that needs no token."""
        ...


RoomNames = Callable[[str, str], Awaitable[str | None]]
"""What the room of a project and an id is called now; None if there is none, or not any more."""


class FileRoutes:
    """Serves files.

    Args:
        rooms: The rooms.
        signer: Verifies signed URLs.
        room_name: Finds the room of a signed URL.
        rates: Limits the requests for signed URLs of a project.
    """

    def __init__(
        self, rooms: FileRooms, signer: UrlSigner, room_name: RoomNames, rates: RequestRates | None = None
    ) -> None:
        self._rates = rates if rates is not None else RequestRates()
        self._rooms = rooms
        self._room_name = room_name
        self._signer = signer

    def routes(self) -> list[web.RouteDef]:
        root = "/rooms/{room}/storage"
        path = root + "/{path:.*}"
        return [
            web.get(root, self.download),
            web.get(path, self.download),
            web.put(path, self.upload),
            web.delete(path, self.delete),
            web.post(root + ":move", self.move),
            web.get(SIGNED_FILES_PREFIX + "/{signed}", self.signed),
            web.get(SIGNED_FILES_PREFIX + "/{signed}/{name:.*}", self.signed),
        ]

    async def upload(self, request: web.Request) -> web.Response:
        """Store the body: all of it at its end, or nothing. 201 with the file's entry.

        400 for a part of a file, 403 if the token expires before the body ends, 412 if a condition does not hold, 413
        if it is too large, 507 if the disk is full.
        """
        path = normalize_path(request.match_info["path"])
        must_be_new = request.headers.get(hdrs.IF_NONE_MATCH, "").strip() == "*"
        overwrite = _flag(request, "overwrite", default=True) and not must_be_new
        async with self._rooms.visit(request) as (admission, room):
            refuse_part(request)
            try:
                info = await room.files.write(
                    path,
                    pieces_while_token_lasts(admission, _batches(request)),
                    admission.scope,
                    overwrite=overwrite,
                    condition=change_condition(request),
                    announced_size=None if is_compressed(request) else request.content_length,
                )
            except LimitExceededError as error:
                return error_response(error, status=413)
            except AlreadyExistsError as error:
                return error_response(error, status=412 if must_be_new else None)
        stored = _json({"path": path, **info.fields()}, status=201)
        stored.etag = info.version
        return stored

    async def download(self, request: web.Request) -> web.StreamResponse:
        """The file; or, for a folder or a path that ends in a slash, `{"files": […]}`."""
        asked = request.match_info.get("path", "")
        path = normalize_path(asked)
        async with self._rooms.visit(request) as (admission, room):
            may_be_file = bool(path) and not asked.endswith("/")
            if may_be_file:
                try:
                    file = await room.files.open(path, admission.scope)
                except NotFoundError:
                    pass  # perhaps a folder
                else:
                    async with file:
                        return await send_file(request, file, download=_flag(request, "download"))
            entries = await room.files.list_folder(path, admission.scope, must_exist=may_be_file)
        return _json({"files": [info.fields() for info in entries]})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a file or folder. 204; 412 if a condition does not hold."""
        path = normalize_path(request.match_info["path"])
        recursive = _flag(request, "recursive")
        async with self._rooms.visit(request) as (admission, room):
            await room.files.delete(path, admission.scope, recursive=recursive, condition=change_condition(request))
        return web.Response(status=204)

    async def move(self, request: web.Request) -> web.Response:
        """Give a file or folder another path. 204."""
        async with self._rooms.visit(request) as (admission, room):
            refuse_conditions(request)
            change = jsontext.decode(await read_body(request, _MAX_MOVE_BYTES), api.MoveRequest)
            await room.files.move(
                change.source_path, change.destination_path, admission.scope, overwrite=change.overwrite
            )
        return web.Response(status=204)

    async def signed(self, request: web.Request) -> web.StreamResponse:
        """The file of a signed URL; pages of other origins may fetch it, since the URL is the credential.

        The URL goes with its room when that is renamed, and ends with it: it opens no other room of the name.
        """
        allowed = self._signer.verify(request.match_info["signed"])
        self._rates.count_caller(allowed.project_id, None)
        headers = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*", "Referrer-Policy": "no-referrer"}
        name = await self._room_name(allowed.project_id, allowed.room_id)
        if name is None:
            raise NotFoundError("the room of this download URL was deleted")
        async with self._rooms.hold(RoomKey(allowed.project_id, name)) as room:
            if await self._room_name(allowed.project_id, allowed.room_id) != name:
                raise NotFoundError("the room of this download URL was deleted or renamed; try again")
            return await self._send_signed(request, room, allowed, headers)

    async def _send_signed(
        self, request: web.Request, room: RoomWithFiles, allowed: SignedFile, headers: dict[str, str]
    ) -> web.StreamResponse:
        async with await room.files.open(allowed.path, FULL_ROOM_SCOPE) as file:
            return await send_file(request, file, download=allowed.download, extra_headers=headers)


async def _batches(request: web.Request) -> AsyncIterator[bytes]:
    """The body in large pieces, as it comes; errors as in `body_pieces`."""
    pieces: list[bytes] = []
    size = 0
    async for piece in body_pieces(request):
        pieces.append(piece)
        size += len(piece)
        if size >= _BATCH_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def _flag(request: web.Request, name: str, *, default: bool = False) -> bool:
    """A yes-or-no parameter of the query; `?name` alone is a yes.

    Raises:
        InvalidRequestError: It is neither.
    """
    text = request.query.get(name)
    if text is None:
        return default
    if text.lower() in ("", "1", "true", "yes"):
        return True
    if text.lower() in ("0", "false", "no"):
        return False
    raise InvalidRequestError(f"{name} is true or false, not {text[:20]!r}")


def _json(content: Any, *, status: int = 200) -> web.Response:
    return web.Response(body=jsontext.dumps(content), content_type="application/json", status=status)
