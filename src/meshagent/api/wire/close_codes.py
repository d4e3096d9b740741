"""WebSocket close codes as the room server uses them (protocol 16.3)."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why the server ended a connection.

    `POLICY` is final: the same token will be refused again. `TRY_AGAIN` and `GOING_AWAY` invite a new try.
    """

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN = 1013
