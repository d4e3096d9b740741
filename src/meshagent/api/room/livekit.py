"""Audio and video of the room: `room.livekit` (protocol 13.1)."""

from __future__ import annotations

from dataclasses import dataclass

from meshagent.api.contracts import livekit as api
from meshagent.api.room.core import RoomCalls

__all__ = ["LivekitClient", "LivekitConnectionInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LivekitConnectionInfo:
    """Where to join a LiveKit room, and the access token for it."""

    url: str
    token: str


class LivekitClient:
    """Audio and video of the room; use it as `room.livekit`."""

    def __init__(self, *, room: RoomCalls) -> None:
        self._room = room

    async def get_connection_info(self, *, breakout_room: str | None = None) -> LivekitConnectionInfo:
        """URL and token to join the audio and video of this room, or of one of its breakout rooms.

        Raises:
            UnavailableError: The server has no LiveKit configured; other errors as `RoomClient.call`.
        """
        result = await self._room.call(api.CONNECT, api.ConnectRequest(breakout_room=breakout_room))
        return LivekitConnectionInfo(url=result.url, token=result.token)
