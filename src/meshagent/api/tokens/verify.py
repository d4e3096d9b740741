"""How a server verifies a participant token (protocol 4.2). No I/O: keys are looked up by
a function that the caller gives, and the time is an argument."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum

from meshagent.api.errors import InvalidRequestError, PermissionDeniedError
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, NO_SCOPE, ApiScope
from meshagent.api.tokens.signing import BadSignatureError, read_jwt
from meshagent.api.tokens.token import ParticipantToken, TokenExpiredError, check_time

KeyLookup = Callable[[str | None, str], str | None]
"""Returns the secret of a key by project id (claim `sub`, may be None) and key id (`kid`); None if unknown."""

MAX_TOKEN_CHARS = 64 * 1024
"""Longer tokens are refused unread."""


class TokenProblem(Enum):
    """Why a token was refused; the value is a stable name for logs and metrics."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN_KEY = "unknown_key"
    NO_DEFAULT_SECRET = "no_default_secret"  # noqa: S105 - a reason, not a secret
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    WRONG_ROOM = "wrong_room"


class TokenRefusedError(PermissionDeniedError):
    """The token was refused; the text says why for people, `problem` for programs."""

    code = "token_refused"

    def __init__(self, problem: TokenProblem, message: str) -> None:
        super().__init__(message)
        self.problem = problem


def verify_token(
    jwt: str | None, *, lookup: KeyLookup, default_secret: str | None, now: float | None = None
) -> ParticipantToken:
    """The token in a JWT, after its signature and time were checked.

    Args:
        jwt: The token that the client sent, if any.
        lookup: Finds the secret of a key.
        default_secret: Verifies tokens without a key id. Its holder can make tokens for every project.
        now: Seconds since 1970; the clock's time when None.

    Raises:
        TokenRefusedError: The token is refused, for the reason in `problem`.
    """
    if not jwt:
        raise TokenRefusedError(
            TokenProblem.MISSING, "no token was sent: use the query parameter 'token' or a Bearer header"
        )
    if len(jwt) > MAX_TOKEN_CHARS:
        raise TokenRefusedError(TokenProblem.MALFORMED, f"the token is longer than {MAX_TOKEN_CHARS} characters")
    try:
        parts = read_jwt(jwt)
        token = ParticipantToken.from_json(parts.claims)
    except InvalidRequestError as error:
        raise TokenRefusedError(TokenProblem.MALFORMED, str(error)) from None
    try:
        parts.verify(_secret_for(token, lookup, default_secret))
        check_time(parts.claims, now=time.time() if now is None else now)
    except TokenExpiredError as error:
        raise TokenRefusedError(TokenProblem.EXPIRED, str(error)) from None
    except BadSignatureError:
        raise TokenRefusedError(TokenProblem.BAD_SIGNATURE, _bad_signature_text(token)) from None
    except InvalidRequestError as error:
        raise TokenRefusedError(TokenProblem.MALFORMED, str(error)) from None
    return token


def require_room(token: ParticipantToken, room_name: str) -> None:
    """Check that the token has a grant for this room.

    Raises:
        TokenRefusedError: It has none; the text names the rooms of its grants.
    """
    if token.allows_room(room_name):
        return
    rooms = [str(grant.scope) for grant in token.grants if grant.name == "room"]
    grants = f"its grants are for {', '.join(map(repr, rooms[:5]))}" if rooms else "it has no room grant"
    raise TokenRefusedError(TokenProblem.WRONG_ROOM, f"the token has no grant for room {room_name!r}: {grants}")


def effective_scope(token: ParticipantToken) -> ApiScope:
    """The scope of the token in its room (protocol 4.4).

    Its `api` grant; or `FULL_ROOM_SCOPE` itself for a token with neither that grant nor a version, as the 0.5
    generation makes them; or nothing.

    Raises:
        TokenRefusedError: The `api` grant is invalid.
    """
    if not any(grant.name == "api" for grant in token.grants):
        return FULL_ROOM_SCOPE if token.version is None else NO_SCOPE
    try:
        return token.get_api_grant() or NO_SCOPE
    except InvalidRequestError as error:
        raise TokenRefusedError(TokenProblem.MALFORMED, str(error)) from None


def _secret_for(token: ParticipantToken, lookup: KeyLookup, default_secret: str | None) -> str:
    if token.api_key_id is None:
        if not default_secret:
            raise TokenRefusedError(
                TokenProblem.NO_DEFAULT_SECRET,
                "the token names no key (claim 'kid'), and this server has no default secret",
            )
        return default_secret
    secret = lookup(token.project_id, token.api_key_id)
    if not secret:
        raise TokenRefusedError(
            TokenProblem.UNKNOWN_KEY, f"unknown key {token.api_key_id!r} in project {token.project_id!r}"
        )
    return secret


def _bad_signature_text(token: ParticipantToken) -> str:
    if token.api_key_id is None:
        return "the token was not signed with this server's default secret"
    return f"the token was not signed with the secret of the key {token.api_key_id!r}"
