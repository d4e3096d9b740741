"""What a server says to each token (protocol 4.2)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jwt as pyjwt
import pytest

from meshagent.api.tokens import (
    FULL_ROOM_SCOPE,
    NO_SCOPE,
    TokenProblem,
    TokenRefusedError,
    effective_scope,
    require_room,
    verify_token,
)
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken

KEYS = {("p1", "k1"): "key-secret", (None, "k0"): "projectless"}
DEFAULT = "default-secret"


def lookup(project_id: str | None, key_id: str) -> str | None:
    return KEYS.get((project_id, key_id))


def check(jwt: str | None, *, default_secret: str | None = DEFAULT, now: float | None = None) -> ParticipantToken:
    return verify_token(jwt, lookup=lookup, default_secret=default_secret, now=now)


def problem(jwt: str | None, **options: Any) -> TokenProblem:
    with pytest.raises(TokenRefusedError) as caught:
        check(jwt, **options)
    assert "secret" not in str(caught.value).replace("default secret", "").replace("the secret of", "")
    return caught.value.problem


def signed(secret: str, *, project: str | None = "p1", key: str | None = "k1", **options: Any) -> str:
    token = ParticipantToken(name="alice", project_id=project, api_key_id=key)
    token.add_room_grant("r")
    return token.to_jwt(secret=secret, **options)


def test_a_named_key_is_looked_up_in_its_project() -> None:
    assert check(signed("key-secret")).name == "alice"
    assert check(signed("projectless", project=None, key="k0")).api_key_id == "k0"


def test_a_token_without_a_key_stands_on_the_default_secret() -> None:
    assert check(signed(DEFAULT, key=None)).project_id == "p1"
    assert problem(signed(DEFAULT, key=None), default_secret=None) is TokenProblem.NO_DEFAULT_SECRET
    assert problem(signed("wrong", key=None)) is TokenProblem.BAD_SIGNATURE


def test_the_default_secret_does_not_open_named_keys() -> None:
    assert problem(signed(DEFAULT)) is TokenProblem.BAD_SIGNATURE
    assert problem(signed("key-secret", project="p2")) is TokenProblem.UNKNOWN_KEY
    assert problem(signed("key-secret", key="k2")) is TokenProblem.UNKNOWN_KEY


@pytest.mark.parametrize("jwt", [None, ""])
def test_no_token(jwt: str | None) -> None:
    assert problem(jwt) is TokenProblem.MISSING


@pytest.mark.parametrize(
    "jwt",
    [
        "x",
        "a.b.c",
        "é.é.é",
        "x" * 100_000,
        pyjwt.encode({"name": "a"}, "0" * 32),
        pyjwt.encode({"name": "a", "grants": [], "exp": "soon"}, "0" * 32),
    ],
)
def test_what_is_no_participant_token(jwt: str) -> None:
    assert problem(jwt, default_secret="0" * 32) is TokenProblem.MALFORMED


def test_only_hs256_counts() -> None:
    claims = {"name": "a", "grants": [], "sub": "p1", "kid": "k1"}
    assert problem(pyjwt.encode(claims, "", algorithm="none")) is TokenProblem.BAD_SIGNATURE
    assert problem(pyjwt.encode(claims, "key-secret" * 8, algorithm="HS512")) is TokenProblem.BAD_SIGNATURE


def test_time_is_judged_to_the_second() -> None:
    jwt = signed("key-secret", expiration=datetime.fromtimestamp(1000, UTC))
    assert check(jwt, now=999.9).name == "alice"
    assert problem(jwt, now=1000) is TokenProblem.EXPIRED
    early = pyjwt.encode({"name": "a", "grants": [], "nbf": 1000}, "0" * 32)
    assert problem(early, now=999, default_secret="0" * 32) is TokenProblem.EXPIRED
    assert check(early, now=1000, default_secret="0" * 32).name == "a"


def test_a_token_opens_the_rooms_of_its_grants_only() -> None:
    token = ParticipantToken(name="a")
    with pytest.raises(TokenRefusedError, match="no room grant"):
        require_room(token, "r")
    token.add_room_grant("r")
    token.add_room_grant("s")
    require_room(token, "s")
    with pytest.raises(TokenRefusedError, match="its grants are for 'r', 's'") as caught:
        require_room(token, "R")
    assert caught.value.problem is TokenProblem.WRONG_ROOM


def test_the_effective_scope_follows_the_generation() -> None:
    assert effective_scope(ParticipantToken(name="a")) is FULL_ROOM_SCOPE
    assert effective_scope(ParticipantToken(name="a", version="0.56.0")) is NO_SCOPE
    limited = ParticipantToken(name="a", version="0.56.0")
    limited.add_api_grant(ApiScope.from_json({"storage": {}}))
    assert effective_scope(limited).to_json() == {"storage": {}}


@pytest.mark.parametrize("scope", [None, "full", {"messaging": 1}])
def test_an_unreadable_api_grant_never_becomes_full_access(scope: Any) -> None:
    token = ParticipantToken.from_json({"name": "a", "grants": [{"name": "api", "scope": scope}]})
    with pytest.raises(TokenRefusedError):
        effective_scope(token)
