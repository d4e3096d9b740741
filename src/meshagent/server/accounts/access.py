"""Who calls the REST API, and what they may do in a project."""

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
    """The request has no bearer token, or one that nobody knows."""

    code = "unauthenticated"


class Role(IntEnum):
    """What somebody is in a project; each role may do what those before it may."""

    MEMBER = 1
    DEVELOPER = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        """The role's name in JSON."""
        return self.name.lower()

    @staticmethod
    def named(label: str) -> Role:
        """The role of its name in JSON."""
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
    """Knows callers by their bearer tokens, and their roles.

    Args:
        store: Users and roles.
        keys: API keys; one acts as a developer of its project.
        admin_token: Opens everything.
    """

    def __init__(self, store: AccountsStore, keys: KeyRing, *, admin_token: str) -> None:
        self._store = store
        self._keys = keys
        self._admin_digest = token_digest(admin_token)

    async def identify(self, bearer: str | None) -> Caller:
        """Who holds this token: the administrator's, a user's, or an API key (in one line, or its secret alone).

        Secrets are compared as digests or in constant time, so that answers' times tell nothing about them.

        Raises:
            UnauthenticatedError: Nobody.
        """
        if not bearer:
            raise UnauthenticatedError("the request needs a header 'Authorization: Bearer TOKEN'")
        digest = token_digest(bearer)
        if hmac.compare_digest(digest, self._admin_digest):
            return Caller(kind="administrator", name="administrator")
        if (key := self._key(bearer)) is not None:
            return key
        token = await self._store.user_tokens.find(digest=digest)
        if token is None:
            raise UnauthenticatedError("nobody has this token")
        if token.expires_at is not None and token.expires_at <= datetime.now(UTC):
            raise UnauthenticatedError("the token has expired")
        user = await self._store.users.get(id=token.user_id)
        return Caller(kind="user", name=user.email, user_id=user.id)

    async def require_role(self, caller: Caller, project_id: str, role: Role) -> Role:
        """The caller's role in a project, which is `role` or more.

        Raises:
            PermissionDeniedError: It is less, or none. For those who have no role, projects that do not exist and
                others look the same.
            NotFoundError: There is no such project (told to the administrator only).
        """
        held = await self._role(caller, project_id)
        if held is None:
            raise PermissionDeniedError("you have no access to this project")
        if held < role:
            raise PermissionDeniedError(f"this needs the role {role.label}; you are {held.label}")
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
        key = self._keys.with_secret(bearer)
        return None if key is None else Caller(kind="key", name=f"key {key.id}", project_id=key.project_id)


def token_digest(token: str) -> str:
    """What is kept of a bearer token; tokens are random enough that no salt is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
