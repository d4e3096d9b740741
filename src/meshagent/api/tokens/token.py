"""Participant tokens: who joins a room, and what they may do there (protocol 4)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from meshagent.api.errors import InvalidRequestError, PermissionDeniedError
from meshagent.api.jsontext import Json
from meshagent.api.tokens.scope import ApiScope
from meshagent.api.tokens.signing import MalformedTokenError, read_jwt, sign

SECRET_VARIABLE = "MESHAGENT_SECRET"  # noqa: S105 - the variable's name, not a secret

_OWN_CLAIMS = frozenset({"name", "grants", "sub", "kid", "version"})


class TokenExpiredError(PermissionDeniedError):
    """The token has expired (`exp`), or is not valid yet (`nbf`)."""


class ParticipantGrant:
    """One permission of a token.

    Attributes:
        name: `room`, `role`, `api`, `tunnel_ports`; other names are carried along and mean nothing here.
        scope: What it covers: a room name, a role, the JSON form of an `ApiScope`, or None.
    """

    def __init__(self, *, name: str, scope: Json = None) -> None:
        self.name = name
        self.scope: Json = scope.to_json() if isinstance(scope, ApiScope) else scope

    def to_json(self) -> dict[str, Json]:
        return {"name": self.name, "scope": self.scope}

    @staticmethod
    def from_json(data: Mapping[str, Json]) -> ParticipantGrant:
        """The grant of its JSON form, in which both keys are required and `scope` may be null.

        Raises:
            InvalidRequestError: A key is missing, or the name is not text.
        """
        try:
            name, scope = data["name"], data["scope"]
        except (KeyError, TypeError):
            raise InvalidRequestError("a grant needs the keys 'name' and 'scope'") from None
        if not isinstance(name, str):
            raise InvalidRequestError("a grant's name must be a string")
        return ParticipantGrant(name=name, scope=scope)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ParticipantGrant) and self.to_json() == other.to_json()

    __hash__ = None  # type: ignore[assignment]  # mutable, as programs expect

    def __repr__(self) -> str:
        return f"ParticipantGrant(name={self.name!r}, scope={self.scope!r})"


class ParticipantToken:
    """Says who a participant is and what it may do. A client joins a room with the signed form.

    Attributes:
        name: The participant's name, shown to others; it need not be unique.
        project_id: Claim `sub`; any text.
        api_key_id: Claim `kid`: the key whose secret signs the token; any text.
        version: Claim `version`, which clients of the current generation write. With it, a token without an
            `api` grant may use no room API; without it, all of them (protocol 4.4).
        grants: In the order of the token.
        extra_payload: All other claims, `exp` included; the token's own claims win over these.
    """

    def __init__(
        self,
        *,
        name: str,
        project_id: str | None = None,
        api_key_id: str | None = None,
        grants: Sequence[ParticipantGrant] | None = None,
        extra_payload: Mapping[str, Json] | None = None,
        version: str | None = None,
    ) -> None:
        self.name = name
        self.project_id = project_id
        self.api_key_id = api_key_id
        self.version = version
        self.grants = list(grants or ())
        self.extra_payload: dict[str, Json] = dict(extra_payload or {})

    def __repr__(self) -> str:
        return f"ParticipantToken(name={self.name!r}, project_id={self.project_id!r}, grants={self.grants!r})"

    # Grants

    @property
    def role(self) -> str:
        """`user`, unless a role grant says otherwise: the first one whose scope is not `user` decides."""
        for grant in self.grants:
            if grant.name == "role" and grant.scope != "user":
                return str(grant.scope)
        return "user"

    @property
    def is_user(self) -> bool:
        """Whether the token has no role other than `user`."""
        return not any(grant.name == "role" and grant.scope != "user" for grant in self.grants)

    def add_room_grant(self, room_name: str, role: str | None = None) -> None:
        """Allow joining `room_name`; with `role`, also add a role grant."""
        self.grants.append(ParticipantGrant(name="room", scope=room_name))
        if role is not None:
            self.add_role_grant(role)

    def add_role_grant(self, role: str) -> None:
        """Add a role grant: `user`, `agent` or `tool`."""
        self.grants.append(ParticipantGrant(name="role", scope=role))

    def add_tunnel_grant(self, ports: Iterable[int | str]) -> None:
        """Allow forwarding to these ports of the room's containers."""
        self.grants.append(ParticipantGrant(name="tunnel_ports", scope=",".join(str(port) for port in ports)))

    def add_api_grant(self, scope: ApiScope) -> None:
        """Limit the token to these room APIs; `scope` is copied."""
        self.grants.append(ParticipantGrant(name="api", scope=scope))

    def grant_scope(self, name: str) -> Json:
        """The scope of the first grant with that name; None if there is none."""
        return next((grant.scope for grant in self.grants if grant.name == name), None)

    def allows_room(self, room_name: str) -> bool:
        """Whether there is a room grant for exactly this room."""
        return any(grant.name == "room" and grant.scope == room_name for grant in self.grants)

    def get_api_grant(self) -> ApiScope | None:
        """The room APIs that the token may use; None means none of them.

        It is the `api` grant, or full room access for a token with neither that grant nor a version.

        Raises:
            InvalidRequestError: The grant is not an `ApiScope`.
        """
        for grant in self.grants:
            if grant.name == "api":
                return ApiScope.from_json(grant.scope)
        return ApiScope.room_default() if self.version is None else None

    # Claims

    def to_json(self) -> dict[str, Json]:
        """The token's own claims; `sub`, `kid` and `version` only when set."""
        claims: dict[str, Json] = {"name": self.name, "grants": [grant.to_json() for grant in self.grants]}
        optional = {"sub": self.project_id, "kid": self.api_key_id, "version": self.version}
        return claims | {claim: value for claim, value in optional.items() if value is not None}

    @staticmethod
    def from_json(data: Mapping[str, Json]) -> ParticipantToken:
        """Read a token from its claims; unknown ones become `extra_payload`.

        Raises:
            InvalidRequestError: `name` or `grants` is missing, or a known claim has the wrong type.
        """
        for claim in ("name", "grants"):
            if claim not in data:
                raise InvalidRequestError(f"the token has no claim {claim!r}")
        if not isinstance(data["grants"], list):
            raise InvalidRequestError("the token's claim 'grants' must be a list")
        for claim in ("name", "sub", "kid", "version"):
            if claim in data and not isinstance(data[claim], str) and (claim == "name" or data[claim] is not None):
                raise InvalidRequestError(f"the token's claim {claim!r} must be a string")
        return ParticipantToken(
            name=data["name"],
            project_id=data.get("sub"),
            api_key_id=data.get("kid"),
            version=data.get("version"),
            grants=[ParticipantGrant.from_json(grant) for grant in data["grants"]],
            extra_payload={claim: value for claim, value in data.items() if claim not in _OWN_CLAIMS},
        )

    def to_jwt(self, *, token: str | None = None, secret: str | None = None, expiration: datetime | None = None) -> str:
        """The signed token.

        Args:
            token: The secret to sign with, under the name that existing programs use.
            secret: The same; give one of the two. With neither, `MESHAGENT_SECRET` signs and `kid` is left
                out: the token then stands on a server's default secret instead of a named key.
            expiration: When it stops being good. A datetime without a zone is local time, as in Python.

        Raises:
            InvalidRequestError: Two different secrets, or none at all.
        """
        given = _given_secret(token, secret)
        claims = dict(self.extra_payload)
        if expiration is not None:
            claims["exp"] = int(expiration.timestamp())
        claims |= self.to_json()
        if given is None:
            claims.pop("kid", None)
        return sign(claims, _environment_secret() if given is None else given)

    @staticmethod
    def from_jwt(
        jwt_str: str, *, token: str | None = None, secret: str | None = None, validate: bool = True
    ) -> ParticipantToken:
        """Read a signed token, by default checking its signature and its time.

        Args:
            jwt_str: The compact JWT.
            token: The secret it was signed with; `MESHAGENT_SECRET` when neither this nor `secret` is given.
            secret: The same under the other name.
            validate: False reads the claims unchecked; trust none of them then.

        Raises:
            InvalidRequestError: It is not a participant token, or was signed with another secret.
            TokenExpiredError: Its time has passed or has not come.
        """
        parts = read_jwt(jwt_str)
        if validate:
            given = _given_secret(token, secret)
            parts.verify(_environment_secret() if given is None else given)
            check_time(parts.claims, now=time.time())
        return ParticipantToken.from_json(parts.claims)


def check_time(claims: Mapping[str, Any], *, now: float) -> None:
    """Check `exp` and `nbf`, both optional, in seconds since 1970.

    Raises:
        TokenExpiredError: `exp` has passed, or `nbf` is still to come.
        MalformedTokenError: One of them is not a number.
    """
    for claim in ("exp", "nbf"):
        moment = claims.get(claim)
        if moment is None:
            continue
        if isinstance(moment, bool) or not isinstance(moment, (int, float)):
            raise MalformedTokenError(f"the token's claim {claim!r} must be a number of seconds")
        if claim == "exp" and now >= moment:
            raise TokenExpiredError("the token has expired")
        if claim == "nbf" and now < moment:
            raise TokenExpiredError("the token is not valid yet")


def _given_secret(token: str | None, secret: str | None) -> str | None:
    if token is not None and secret is not None and token != secret:
        raise InvalidRequestError(
            "'token' and 'secret' are two names of one argument; they were given different values"
        )
    return token if token is not None else secret


def _environment_secret() -> str:
    found = os.environ.get(SECRET_VARIABLE)
    if not found:
        raise InvalidRequestError(f"no secret was given, and {SECRET_VARIABLE} is not set")
    return found
