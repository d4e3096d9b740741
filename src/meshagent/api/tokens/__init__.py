"""Participant tokens, the scopes they carry, and how a server checks them. No I/O."""

from meshagent.api.tokens.api_key import ApiKey
from meshagent.api.tokens.scope import FULL_ROOM_SCOPE, NO_SCOPE, ApiScope
from meshagent.api.tokens.token import ParticipantGrant, ParticipantToken, TokenExpiredError
from meshagent.api.tokens.verify import (
    KeyLookup,
    TokenProblem,
    TokenRefusedError,
    effective_scope,
    require_room,
    verify_token,
)

__all__ = [
    "FULL_ROOM_SCOPE",
    "NO_SCOPE",
    "ApiKey",
    "ApiScope",
    "KeyLookup",
    "ParticipantGrant",
    "ParticipantToken",
    "TokenExpiredError",
    "TokenProblem",
    "TokenRefusedError",
    "effective_scope",
    "require_room",
    "verify_token",
]
