"""Authenticates requests by their tokens, before a connection is upgraded or a body is read (protocol 4.2)."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import hdrs, web

from meshagent.api.errors import PermissionDeniedError
from meshagent.api.tokens.token import ParticipantToken
from meshagent.api.tokens.verify import KeyLookup, effective_scope, require_room, verify_token
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.rate_limits import RequestRates

_BEARER = "bearer "


def request_token(request: web.Request) -> str | None:
    """The participant token of a request: the bearer header first, then the query (protocol 1.1)."""
    authorization = request.headers.get(hdrs.AUTHORIZATION, "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return request.query.get("token")


class RoomAuthenticator:
    """Decides who a request comes from and whether it may enter a room.

    Args:
        lookup: Finds the secret of a project's key; must be quick, it is called for each join.
        default_secret: Verifies tokens that name no key; they belong to the default project.
        default_project_id: That project.
        now: Seconds since 1970.
        rates: Limits of plain requests.

    Attributes:
        rates: The same.
    """

    def __init__(
        self,
        *,
        lookup: KeyLookup,
        default_secret: str | None,
        default_project_id: str,
        now: Callable[[], float],
        rates: RequestRates | None = None,
    ) -> None:
        self.rates = rates if rates is not None else RequestRates()
        self._lookup = lookup
        self._default_secret = default_secret
        self._default_project_id = default_project_id
        self._now = now

    def admit(self, request: web.Request, room_name: str) -> Admission:
        """What the token of a plain request says about its holder; it counts.

        Raises:
            PermissionDeniedError: No token, a bad one, or one for another room; the text says which.
            RateExceededError: It is one too many.
        """
        return self.admit_token(self.verify(request_token(request)), room_name)

    def admit_connection(self, request: web.Request, room_name: str) -> Admission:
        """The same for a connection, whose requests will count."""
        return self._admission(self.verify(request_token(request)), room_name)

    def verify(self, jwt: str | None) -> ParticipantToken:
        """The token behind a JWT; errors as in `admit`."""
        token = verify_token(jwt, lookup=self._lookup, default_secret=self._default_secret, now=self._now())
        if token.api_key_id is None and token.project_id not in (None, self._default_project_id):
            # The default secret is valid for the default project only.
            raise PermissionDeniedError(f"a token of project {token.project_id!r} must name the key that signed it")
        return token

    def admit_token(self, token: ParticipantToken, room_name: str) -> Admission:
        """Admit the holder of a verified token; errors as in `admit`."""
        admission = self._admission(token, room_name)
        self.rates.count(admission)
        return admission

    def _admission(self, token: ParticipantToken, room_name: str) -> Admission:
        require_room(token, room_name)
        return Admission(
            project_id=token.project_id or self._default_project_id,
            key_id=token.api_key_id,
            name=token.name,
            role=token.role,
            scope=effective_scope(token),
            token=token,
        )
