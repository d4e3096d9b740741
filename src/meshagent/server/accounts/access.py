"""Authentication and roles of REST API callers."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Literal

from meshagent.api.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from meshagent.api.tokens.api_key import ApiKey
from meshagent.server.accounts.keys import KeyRing
from meshagent.server.accounts.store import AccountsStore


class UnauthenticatedError(PermissionDeniedError):
    """The request has no bearer token, or an unknown or expired one."""

    code = "unauthenticated"


class Role(IntEnum):
    """A caller's role in a project. Each role includes the permissions of those before it."""

    MEMBER = 1
    DEVELOPER = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role's name in JSON."""
        return self.name.lower()

    @staticmethod
    def named(label: str) -> Role:
        """Return the role with this name in JSON."""
        return Role[label.upper()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request.

    Attributes:
        kind: The server's administrator, a user, or a project's API key.
        name: For logs and as the default name of participant tokens.
        user_id: The user's id.
        project_id: The key's project.
    """

    kind: Literal["administrator", "user", "key"]
    name: str
    user_id: str | None = None
    project_id: str | None = None


class ApiAuthenticator:
    """Identifies callers by their bearer tokens, and checks their roles.

    Args:
        store: Users and roles.
        keys: API keys; one acts as a developer of its project.
        admin_token: The administrator's token, which allows everything.
    """

    def __init__(self, store: AccountsStore, keys: KeyRing, *, admin_token: str) -> None:
        self._store = store
        self._keys = keys
        self._admin_digest = token_digest(admin_token)

    async def identify(self, bearer: str | None) -> Caller:
        """Identify the holder of a token: the administrator's, a user's, or an API key (compact, or its secret alone).

        Secrets are compared as digests or in constant time, so that response times reveal nothing about them.

        Raises:
            UnauthenticatedError: The token is missing, unknown or expired.
        """
        if not bearer:
            raise UnauthenticatedError("missing the header 'Authorization: Bearer TOKEN'")
        digest = token_digest(bearer)
        if hmac.compare_digest(digest, self._admin_digest):
            return Caller(kind="administrator", name="administrator")
        if (key := self._key(bearer)) is not None:
            return key
        token = await self._store.user_tokens.find(digest=digest)
        if token is None:
            raise UnauthenticatedError("unknown token")
        if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
            raise UnauthenticatedError("the token has expired")
        user = await self._store.users.get(id=token.user_id)
        return Caller(kind="user", name=user.email, user_id=user.id)

    async def require_role(self, caller: Caller, project_id: str, role: Role) -> Role:
        """Return the caller's role in a project, which is at least `role`.

        Raises:
            PermissionDeniedError: The role is lower, or there is none. Callers without a role get the same error for
                projects that exist and for those that do not.
            NotFoundError: There is no such project (told to the administrator only).
        """
        held = await self._role(caller, project_id)
        if held is None:
            raise PermissionDeniedError("you have no access to this project")
        if held < role:
            raise PermissionDeniedError(f"this requires the role {role.label}; your role is {held.label}")
        return held

    async def _role(self, caller: Caller, project_id: str) -> Role | None:
        if caller.kind == "administrator":
            if await self._store.projects.find(id=project_id) is None:
                raise NotFoundError("there is no such project")
            return Role.ADMIN
        if caller.kind == "key":
            return Role.DEVELOPER if caller.project_id == project_id else None
        member = await self._store.members.find(project_id=project_id, user_id=caller.user_id)
        return None if member is None else Role.named(member.role)

    def _key(self, bearer: str) -> Caller | None:
        if bearer.startswith("ma-"):
            try:
                given = ApiKey.decode(bearer)
            except InvalidRequestError:
                return None
            secret = self._keys.lookup(given.project_id, given.key_id)
            if secret is None or not hmac.compare_digest(token_digest(secret), token_digest(given.secret)):
                return None
            return Caller(kind="key", name=f"key {given.key_id}", project_id=given.project_id)
        key = self._keys.find_by_secret(bearer)
        return None if key is None else Caller(kind="key", name=f"key {key.id}", project_id=key.project_id)


def token_digest(token: str) -> str:
    """Return what is stored of a bearer token. Tokens are random enough to need no salt."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
