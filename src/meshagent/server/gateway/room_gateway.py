"""Joining a room: `GET /rooms/{room}`, upgraded to a WebSocket (protocol 1.1, 1.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiohttp import web

from meshagent.api.errors import NotFoundError, UnavailableError
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.token_expiry import expiry_of
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.rooms.handle import RoomHandle, RoomLocator
from meshagent.server.websocket.shell import WebSocketShell

MAX_ROOM_NAME_LENGTH = 255


class RoomGateway:
    """Lets participants into rooms, by WebSocket and by plain requests.

    Refusals are plain HTTP before the upgrade, with the reason as text: 403 for tokens (current clients retry
    401 for ever), 404 for names that no room can have, 429 for a full room, 503 when a room cannot start.
    """

    def __init__(
        self,
        authenticator: RoomAuthenticator,
        rooms: RoomLocator,
        shell: WebSocketShell,
        *,
        join_timeout: float = 30.0,
    ) -> None:
        self._authenticator = authenticator
        self._rooms = rooms
        self._shell = shell
        self._join_timeout = join_timeout

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """Handler of `GET /rooms/{room}`."""
        name = room_name_of(request)
        admission = self._authenticator.admit_connection(request, name)
        key = RoomKey(admission.project_id, name)
        running = await self._rooms.find(key)
        if running is not None:  # most joins: they need no lease, since the room ends only when nobody is in it
            return self._shell.upgrade(request, await running.join(admission), expires_at=expiry_of(admission))
        async with self._opened(key) as room:
            return self._shell.upgrade(request, await room.join(admission), expires_at=expiry_of(admission))

    @asynccontextmanager
    async def visit(self, request: web.Request) -> AsyncIterator[tuple[Admission, RoomHandle]]:
        """A room for the length of one plain request, with what the request's token allows in it.

        Raises:
            PermissionDeniedError, NotFoundError, LimitExceededError, UnavailableError: As for entering.
        """
        name = room_name_of(request)
        admission = self._authenticator.admit(request, name)
        async with self._opened(RoomKey(admission.project_id, name)) as room:
            yield admission, room

    @asynccontextmanager
    async def hold(self, key: RoomKey) -> AsyncIterator[RoomHandle]:
        """A room for the length of one request whose right to it was checked in another way than by its token.

        Raises:
            LimitExceededError, UnavailableError: The room cannot start.
        """
        async with self._opened(key) as room:
            yield room

    @asynccontextmanager
    async def _opened(self, key: RoomKey) -> AsyncIterator[RoomHandle]:
        """The room, if it opens in time."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._join_timeout):
                    room = await stack.enter_async_context(self._rooms.open(key))
            except TimeoutError:
                raise UnavailableError(f"the room {key.room_name} did not open in time; try again") from None
            yield room


def room_name_of(request: web.Request) -> str:
    """The room that a request's path names.

    Raises:
        NotFoundError: No room can have that name.
    """
    name = request.match_info["room"]
    if not 0 < len(name) <= MAX_ROOM_NAME_LENGTH or any(ord(character) < 32 for character in name):
        raise NotFoundError("no room can have that name")
    return name
