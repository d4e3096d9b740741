"""Participant tokens that the server itself signs: for signed-in users, for shares, for programs without a key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.token import ParticipantToken
from meshagent.server.accounts.keys import KeyRing

DEFAULT_LIFETIME: Final = timedelta(days=1)
"""Long enough that a client that reconnects with its token gets in again; revoking the key ends it sooner."""


class TokenIssuer:
    """Signs tokens with the project's key for this purpose, which is made when first needed."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def issue(
        self,
        project_id: str,
        *,
        room_name: str,
        name: str,
        role: str | None = None,
        scope: ApiScope | None = None,
        lifetime: timedelta = DEFAULT_LIFETIME,
    ) -> str:
        """A JWT for one room; without `scope` its holder may do everything there.

        Raises:
            NotFoundError: There is no such project.
        """
        key = await self._keys.server_key(project_id)
        token = ParticipantToken(name=name, project_id=project_id, api_key_id=key.id)
        token.add_room_grant(room_name=room_name, role=role)
        if scope is not None:
            token.add_api_grant(scope)
        return token.to_jwt(secret=key.secret, expiration=datetime.now(UTC) + lifetime)
