"""Audio and video: tokens for a configured LiveKit server (protocol 13.1)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import jwt

from meshagent.api.contracts import livekit as api
from meshagent.api.errors import UnavailableError
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import ServedOperation, serve
from meshagent.server.kernel.participant import Participant

TOKEN_SECONDS = 6 * 3600


@dataclass(frozen=True, slots=True)
class LivekitServer:
    """A LiveKit server, and the key that its tokens are signed with."""

    url: str
    api_key: str
    api_secret: str = field(repr=False)


class LivekitService:
    """Serves `livekit.connect` of one room.

    Args:
        room: The room.
        server: The LiveKit server; None if none is configured.
        now: Seconds since 1970.
    """

    def __init__(
        self, room: RoomContext, server: LivekitServer | None, *, now: Callable[[], float] = time.time
    ) -> None:
        self._room = room
        self._server = server
        self._now = now

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.CONNECT, self.connect, grant=lambda scope, request: scope.require_livekit(request.breakout_room))
        ]

    def connect(self, caller: Participant, request: api.ConnectRequest) -> api.ConnectResult:
        """The LiveKit URL, and a token for this participant.

        The LiveKit room is named `PROJECT/ROOM` or `PROJECT/ROOM/BREAKOUT`, so that rooms of the same name in two
        projects are separate.

        Raises:
            UnavailableError: No LiveKit server is configured.
        """
        server = self._server
        if server is None:
            raise UnavailableError("LiveKit is not configured: set livekit.url, livekit.api_key and livekit.api_secret")
        meeting = f"{self._room.project_id}/{self._room.name}"
        if request.breakout_room:
            meeting += f"/{request.breakout_room}"
        now = int(self._now())
        claims = {
            "iss": server.api_key,
            "sub": caller.id,
            "name": caller.name,
            "nbf": now - 10,
            "exp": now + TOKEN_SECONDS,
            "video": {
                "room": meeting,
                "roomJoin": True,
                "canPublish": True,
                "canPublishData": True,
                "canSubscribe": True,
            },
            "attributes": {"meshagent.role": caller.role},
        }
        token = jwt.encode(claims, server.api_secret, algorithm="HS256")
        return api.ConnectResult(url=server.url, token=token)

    def left(self, participant: Participant) -> None:
        """Nothing to release for a participant."""

    async def close(self) -> None:
        """Nothing to release."""
