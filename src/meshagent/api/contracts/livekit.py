"""`livekit.*`: access to the room's audio and video (protocol 13.1)."""

from __future__ import annotations

import msgspec

from meshagent.api.contracts.operation import Operation


class ConnectRequest(msgspec.Struct, frozen=True, kw_only=True):
    breakout_room: str | None = None


class ConnectResult(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    token: str


CONNECT = Operation("livekit.connect", ConnectRequest, ConnectResult)
