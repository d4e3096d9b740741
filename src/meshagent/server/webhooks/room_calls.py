"""`room.call`: inviting a service into a room (protocol 9.10, 15.3)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from meshagent.api.tokens.scope import ApiScope
from meshagent.api.webhook.signature import EVENT_ID_HEADER, EVENT_TIME_HEADER, signed_body
from meshagent.server.webhooks.ports import Poster, TokenIssuer

CALL_EVENT: Final = "room.call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """Whom to invite where.

    Attributes:
        name: The participant name that the service gets.
        role: Its role.
        scope: What it may do there; None is everything that an agent may.
        arguments: For the service; None is sent as `{}`, since receivers need the key.
    """

    project_id: str
    room_name: str
    room_url: str
    name: str
    role: str = "agent"
    scope: ApiScope | None = None
    arguments: Any = None


class RoomCallSender:
    """Sends calls, each with a fresh token.

    Args:
        http: Posts them.
        tokens: Signs the tokens.
        secret: Signs the calls; None leaves them unsigned.
    """

    def __init__(self, http: Poster, tokens: TokenIssuer, secret: str | None) -> None:
        self._http = http
        self._tokens = tokens
        self._secret = secret

    async def call(self, url: str, invitation: Invitation, *, event_id: str | None = None) -> None:
        """Post one call, once; returns when the service has accepted, which is before it has joined.

        Args:
            url: The service's address.
            invitation: What it is told.
            event_id: Repeat it when the call is repeated, so that the service takes it once; a new one by default.

        Raises:
            Exception: As `OutgoingClient.post`.
        """
        payload = {"event": CALL_EVENT, "data": await self.event_data(invitation)}
        signed = signed_body(payload, secret=self._secret, headers=event_headers(event_id or str(uuid.uuid4())))
        await self._http.post(url, signed.body, signed.headers)

    async def event_data(self, invitation: Invitation) -> dict[str, Any]:
        """The `data` of a call, with a token that nobody else has."""
        token = await self._tokens.issue(
            invitation.project_id,
            room_name=invitation.room_name,
            name=invitation.name,
            role=invitation.role,
            scope=invitation.scope,
        )
        return {
            "room_name": invitation.room_name,
            "room_url": invitation.room_url,
            "token": token,
            "arguments": {} if invitation.arguments is None else invitation.arguments,
        }


def event_headers(event_id: str, at: datetime | None = None) -> dict[str, str]:
    """Headers that say which event it is, the same for each attempt, and when it happened (ISO 8601, UTC)."""
    return {EVENT_ID_HEADER: event_id, EVENT_TIME_HEADER: (at or datetime.now(UTC)).isoformat()}
