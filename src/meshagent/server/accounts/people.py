"""Users, their bearer tokens, and their roles in projects."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import select

from meshagent.api.errors import InvalidRequestError, NotFoundError
from meshagent.server.accounts import schema
from meshagent.server.accounts.access import Caller, Role, token_digest
from meshagent.server.accounts.record_table import Page
from meshagent.server.accounts.records import Member, Project, User, UserToken
from meshagent.server.accounts.store import AccountsStore

_TOKEN_PREFIX: Final = "mut_"  # noqa: S105 - only the prefix, by which scanners for leaked secrets find them
_TOKEN_BYTES: Final = 32


class People:
    """Who works with the server."""

    def __init__(self, store: AccountsStore) -> None:
        self._store = store

    async def create_project(self, name: str, *, settings: dict[str, object], owner_user_id: str | None) -> Project:
        """A new project; its owner becomes its administrator.

        Raises:
            NotFoundError: There is no such owner.
        """
        project = Project(name=name, settings=settings, owner_user_id=owner_user_id)
        async with self._store.database.transaction() as connection:
            await self._store.projects.add(project, within=connection)
            if owner_user_id is not None:
                owner = Member(project_id=project.id, user_id=owner_user_id, role=Role.ADMIN.label)
                await self._store.members.add(owner, within=connection)
        return project

    async def projects_of(self, caller: Caller, *, limit: int, offset: int) -> Page[Project]:
        """The projects in which the caller has a role, by creation."""
        if caller.kind == "administrator":
            return await self._store.projects.page(limit=limit, offset=offset)
        if caller.kind == "key":
            return await self._store.projects.page(limit=limit, offset=offset, id=caller.project_id)
        query = (
            select(schema.members.c.project_id)
            .where(schema.members.c.user_id == caller.user_id)
            .order_by(schema.members.c.created_at, schema.members.c.project_id)
            .limit(limit + 1)
            .offset(offset)
        )
        async with self._store.database.transaction() as connection:
            ids = list((await connection.execute(query)).scalars())
            found = [await self._store.projects.get(id=project_id, within=connection) for project_id in ids[:limit]]
        return Page(found, offset + limit if len(ids) > limit else None)

    async def create_token(self, user_id: str, *, name: str, days: float | None) -> tuple[UserToken, str]:
        """A new bearer token of a user, and its text, which is shown only now.

        Raises:
            NotFoundError: There is no such user.
        """
        text = _TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
        token = UserToken(user_id=user_id, name=name, digest=token_digest(text), expires_at=expires_at)
        await self._store.user_tokens.add(token)
        return token, text

    async def add_member(self, project_id: str, *, user_id: str | None, email: str | None, role: Role) -> User:
        """Give a user, by id or e-mail address, a role in a project.

        Raises:
            NotFoundError: There is no such user.
            AlreadyExistsError: The user has a role there.
            InvalidRequestError: Neither or both of the two were given.
        """
        if (user_id is None) == (email is None):
            raise InvalidRequestError("give either user_id or email")
        keys = {"id": user_id} if user_id is not None else {"email": email}
        user = await self._store.users.get(**keys)
        await self._store.members.add(Member(project_id=project_id, user_id=user.id, role=role.label))
        return user

    async def members(self, project_id: str, *, limit: int, offset: int) -> Page[tuple[User, str]]:
        """The users of a project with their roles, by when they came."""
        members = await self._store.members.page(limit=limit, offset=offset, project_id=project_id)
        entries = [(await self._store.users.get(id=member.user_id), member.role) for member in members.entries]
        return Page(entries, members.next_offset)

    async def profile(self, caller: Caller, user_id: str) -> User:
        """A user whom the caller may know: the caller, people of common projects, for the administrator anybody.

        Raises:
            NotFoundError: There is none, or the caller has nothing to do with them.
        """
        if caller.kind == "administrator" or caller.user_id == user_id or await self._share_project(caller, user_id):
            return await self._store.users.get(id=user_id)
        raise NotFoundError("there is no such user")

    async def _share_project(self, caller: Caller, user_id: str) -> bool:
        theirs = {member.project_id for member in await self._store.members.all(user_id=user_id)}
        if caller.kind == "key":
            return caller.project_id in theirs
        return any(member.project_id in theirs for member in await self._store.members.all(user_id=caller.user_id))
