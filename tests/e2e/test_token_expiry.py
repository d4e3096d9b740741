"""A connection ends with its token."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp

from meshagent.api.tokens.token import ParticipantToken
from meshagent.testing import RoomServer


async def test_a_connection_is_closed_when_its_token_expires(server: RoomServer) -> None:
    token = ParticipantToken(name="alice", project_id=server.project_id, api_key_id=server.key_id)
    token.add_room_grant(room_name="room")
    jwt = token.to_jwt(secret=server.secret, expiration=datetime.now(UTC) + timedelta(seconds=3))
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.room_url()}?token={server.token('bob')}") as other,
        session.ws_connect(f"{server.room_url()}?token={jwt}") as guest,
        asyncio.timeout(30),
    ):
        while (message := await guest.receive()).type is aiohttp.WSMsgType.BINARY:
            pass
        assert (message.type, message.data, message.extra) == (
            aiohttp.WSMsgType.CLOSE,
            1008,
            "the token has expired",
        )
        assert not other.closed
