"""Tokens for a LiveKit server: for whom, for which meeting, how long."""

from __future__ import annotations

import jwt
import pytest

from meshagent.api.contracts import livekit as api
from meshagent.api.errors import PermissionDeniedError, UnavailableError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.services.livekit import TOKEN_SECONDS, LivekitServer, LivekitService
from tests.support.fake_room import FakeRoom, fake_participant, start_operation

NOW = 1_700_000_000.5
SERVER = LivekitServer("wss://media.example", "key", "a secret of at least thirty-two bytes")


@pytest.mark.parametrize(("breakout", "meeting"), [(None, "project/room"), ("side", "project/room/side")])
def test_a_token_is_for_one_participant_and_one_meeting(breakout: str | None, meeting: str) -> None:
    service = LivekitService(FakeRoom(), SERVER, now=lambda: NOW)
    result = service.connect(fake_participant(role="agent"), api.ConnectRequest(breakout_room=breakout))
    assert result.url == "wss://media.example"
    claims = jwt.decode(result.token, SERVER.api_secret, algorithms=["HS256"], options={"verify_exp": False})
    assert (claims["iss"], claims["sub"], claims["name"]) == ("key", "alice-id", "alice")
    assert claims["exp"] - int(NOW) == TOKEN_SECONDS
    assert claims["video"]["room"] == meeting
    assert claims["video"]["roomJoin"] is True
    assert claims["attributes"] == {"meshagent.role": "agent"}


def test_without_a_server_the_error_names_the_settings() -> None:
    with pytest.raises(UnavailableError, match=r"livekit\.url"):
        LivekitService(FakeRoom(), None).connect(fake_participant(), api.ConnectRequest())


def test_the_secret_is_not_shown() -> None:
    assert SERVER.api_secret not in repr(SERVER)


async def test_joining_needs_a_grant() -> None:
    nobody = fake_participant(scope=ApiScope())
    with pytest.raises(PermissionDeniedError):
        await start_operation(
            LivekitService(FakeRoom(), SERVER).operations(), api.CONNECT, nobody, api.ConnectRequest()
        )
