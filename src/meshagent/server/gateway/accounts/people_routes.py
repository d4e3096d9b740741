"""Routes of projects, their users, profiles and bearer tokens."""

from __future__ import annotations

from typing import Final

from meshagent.api.errors import PermissionDeniedError
from meshagent.server.accounts.access import Role
from meshagent.server.accounts.accounts import Accounts
from meshagent.server.accounts.records import Project, User, UserToken
from meshagent.server.gateway.accounts import models as m
from meshagent.server.gateway.accounts.rest_route import Access, ApiRequest, NoBody, Route

_PROJECT: Final = "/accounts/projects/{project_id}"
_USERS: Final = "/accounts/users"
_PROFILE: Final = "/accounts/profiles/{user_id}"


class PeopleRoutes:
    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._store = accounts.store
        self._people = accounts.people

    def routes(self) -> list[Route]:
        return [
            *self._project_routes(),
            *self._member_routes(),
            *self._profile_routes(),
            *self._user_routes(),
            *self._user_token_routes(),
        ]

    def _project_routes(self) -> list[Route]:
        return [
            Route(
                name="whoami",
                method="GET",
                path="/accounts/whoami",
                summary="Who the bearer token belongs to.",
                access=Access.SIGNED_IN,
                handler=self.whoami,
                answer=m.CallerAnswer,
            ),
            Route(
                name="create_project",
                method="POST",
                path="/accounts/projects",
                summary="Make a project.",
                access=Access.SERVER_ADMIN,
                handler=self.create_project,
                body=m.NewProject,
                answer=m.ProjectAnswer,
            ),
            Route(
                name="list_projects",
                method="GET",
                path="/accounts/projects",
                summary="The caller's projects; for the server's administrator all.",
                access=Access.SIGNED_IN,
                handler=self.list_projects,
                query=m.PageQuery,
                answer=m.ProjectList,
            ),
            Route(
                name="get_project",
                method="GET",
                path=_PROJECT,
                summary="A project, with the caller's role in it.",
                access=Access.MEMBER,
                handler=self.get_project,
                answer=m.ProjectAnswer,
            ),
            Route(
                name="get_project_role",
                method="GET",
                path=f"{_PROJECT}/role",
                summary="The caller's role in a project.",
                access=Access.MEMBER,
                handler=self.get_project_role,
                answer=m.RoleAnswer,
            ),
            Route(
                name="update_project_settings",
                method="PUT",
                path=f"{_PROJECT}/settings",
                summary="Replace a project's settings.",
                access=Access.PROJECT_ADMIN,
                handler=self.update_project_settings,
                body=m.Settings,
                answer=m.Ok,
            ),
        ]

    def _member_routes(self) -> list[Route]:
        return [
            Route(
                name="add_user_to_project",
                method="POST",
                path=f"{_PROJECT}/users",
                summary="Give a user a role in a project.",
                access=Access.PROJECT_ADMIN,
                handler=self.add_user,
                body=m.NewMember,
                answer=m.Ok,
            ),
            Route(
                name="get_users_in_project",
                method="GET",
                path=f"{_PROJECT}/users",
                summary="The users of a project with their roles.",
                access=Access.MEMBER,
                handler=self.list_project_users,
                query=m.PageQuery,
                answer=m.UserList,
            ),
            Route(
                name="update_user_role",
                method="PUT",
                path=f"{_PROJECT}/users/{{user_id}}",
                summary="Change a user's role in a project.",
                access=Access.PROJECT_ADMIN,
                handler=self.update_user_role,
                body=m.RoleChange,
                answer=m.Ok,
            ),
            Route(
                name="remove_user_from_project",
                method="DELETE",
                path=f"{_PROJECT}/users/{{user_id}}",
                summary="Take a user's role in a project away.",
                access=Access.PROJECT_ADMIN,
                handler=self.remove_user,
                answer=m.Ok,
            ),
        ]

    def _profile_routes(self) -> list[Route]:
        return [
            Route(
                name="get_user_profile",
                method="GET",
                path=_PROFILE,
                summary="A user's profile; `me` is the caller.",
                access=Access.SIGNED_IN,
                handler=self.get_profile,
                answer=m.UserAnswer,
            ),
            Route(
                name="update_user_profile",
                method="PUT",
                path=_PROFILE,
                summary="Change one's own profile; the server's administrator may change all.",
                access=Access.SIGNED_IN,
                handler=self.update_profile,
                body=m.ProfileChange,
                answer=m.Ok,
            ),
        ]

    def _user_routes(self) -> list[Route]:
        return [
            Route(
                name="create_user",
                method="POST",
                path=_USERS,
                summary="Make a user.",
                access=Access.SERVER_ADMIN,
                handler=self.create_user,
                body=m.NewUser,
                answer=m.UserAnswer,
            ),
            Route(
                name="list_users",
                method="GET",
                path=_USERS,
                summary="All users of the server.",
                access=Access.SERVER_ADMIN,
                handler=self.list_users,
                query=m.PageQuery,
                answer=m.UserList,
            ),
            Route(
                name="delete_user",
                method="DELETE",
                path=f"{_USERS}/{{user_id}}",
                summary="Delete a user with roles, grants and bearer tokens.",
                access=Access.SERVER_ADMIN,
                handler=self.delete_user,
                answer=m.Ok,
            ),
        ]

    def _user_token_routes(self) -> list[Route]:
        return [
            Route(
                name="create_user_token",
                method="POST",
                path=f"{_USERS}/{{user_id}}/tokens",
                summary="Make a bearer token for a user; its text is shown only now.",
                access=Access.SERVER_ADMIN,
                handler=self.create_user_token,
                body=m.NewUserToken,
                answer=m.UserTokenAnswer,
            ),
            Route(
                name="list_user_tokens",
                method="GET",
                path=f"{_USERS}/{{user_id}}/tokens",
                summary="A user's bearer tokens, without their texts.",
                access=Access.SERVER_ADMIN,
                handler=self.list_user_tokens,
                answer=m.UserTokenList,
            ),
            Route(
                name="delete_user_token",
                method="DELETE",
                path=f"{_USERS}/{{user_id}}/tokens/{{token_id}}",
                summary="Revoke a user's bearer token.",
                access=Access.SERVER_ADMIN,
                handler=self.delete_user_token,
                answer=m.Ok,
            ),
        ]

    async def whoami(self, request: ApiRequest[NoBody]) -> m.CallerAnswer:
        return m.CallerAnswer.model_validate(request.caller)

    async def create_project(self, request: ApiRequest[m.NewProject]) -> m.ProjectAnswer:
        project = await self._people.create_project(
            request.input.name, settings=request.input.settings or {}, owner_user_id=request.input.owner_user_id
        )
        return _project_answer(project)

    async def list_projects(self, request: ApiRequest[m.PageQuery]) -> m.ProjectList:
        page = await self._people.projects_of(request.caller, limit=request.input.limit, offset=request.input.offset)
        return m.ProjectList(projects=[_project_answer(one) for one in page.entries], next_offset=page.next_offset)

    async def get_project(self, request: ApiRequest[NoBody]) -> m.ProjectAnswer:
        return _project_answer(await self._store.projects.get(id=request.project_id), request.role)

    async def get_project_role(self, request: ApiRequest[NoBody]) -> m.RoleAnswer:
        assert request.role is not None
        return m.RoleAnswer.model_validate({"role": request.role.label})

    async def update_project_settings(self, request: ApiRequest[m.Settings]) -> m.Ok:
        await self._store.projects.update({"settings": request.input.model_extra or {}}, id=request.project_id)
        return m.Ok()

    async def add_user(self, request: ApiRequest[m.NewMember]) -> m.Ok:
        role = Role.named(request.input.role)
        await self._people.add_member(
            request.project_id, user_id=request.input.user_id, email=request.input.email, role=role
        )
        return m.Ok()

    async def list_project_users(self, request: ApiRequest[m.PageQuery]) -> m.UserList:
        page = await self._people.members(request.project_id, limit=request.input.limit, offset=request.input.offset)
        return m.UserList(users=[_user_answer(*entry) for entry in page.entries], next_offset=page.next_offset)

    async def update_user_role(self, request: ApiRequest[m.RoleChange]) -> m.Ok:
        user_id = request.params["user_id"]
        await self._store.members.update({"role": request.input.role}, project_id=request.project_id, user_id=user_id)
        return m.Ok()

    async def remove_user(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._store.members.delete(project_id=request.project_id, user_id=request.params["user_id"])
        return m.Ok()

    async def get_profile(self, request: ApiRequest[NoBody]) -> m.UserAnswer:
        return _user_answer(await self._people.profile(request.caller, self._user_id(request)))

    async def update_profile(self, request: ApiRequest[m.ProfileChange]) -> m.Ok:
        user_id = self._user_id(request)
        if request.caller.kind != "administrator" and request.caller.user_id != user_id:
            raise PermissionDeniedError("only the user and the server's administrator may change a profile")
        await self._store.users.update(request.input.model_dump(), id=user_id)
        return m.Ok()

    async def create_user(self, request: ApiRequest[m.NewUser]) -> m.UserAnswer:
        user = User(**request.input.model_dump())
        await self._store.users.add(user)
        return _user_answer(user)

    async def list_users(self, request: ApiRequest[m.PageQuery]) -> m.UserList:
        page = await self._store.users.page(limit=request.input.limit, offset=request.input.offset)
        return m.UserList(users=[_user_answer(user) for user in page.entries], next_offset=page.next_offset)

    async def delete_user(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._store.users.delete(id=request.params["user_id"])
        return m.Ok()

    async def create_user_token(self, request: ApiRequest[m.NewUserToken]) -> m.UserTokenAnswer:
        token, text = await self._people.create_token(
            request.params["user_id"], name=request.input.name, days=request.input.days
        )
        return _token_answer(token, text)

    async def list_user_tokens(self, request: ApiRequest[NoBody]) -> m.UserTokenList:
        user = await self._store.users.get(id=request.params["user_id"])
        tokens = await self._store.user_tokens.all(user_id=user.id)
        return m.UserTokenList(tokens=[_token_answer(token) for token in tokens])

    async def delete_user_token(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._store.user_tokens.delete(user_id=request.params["user_id"], id=request.params["token_id"])
        return m.Ok()

    def _user_id(self, request: ApiRequest[NoBody] | ApiRequest[m.ProfileChange]) -> str:
        given = request.params["user_id"]
        return request.caller.user_id if given == "me" and request.caller.user_id is not None else given


def _project_answer(project: Project, role: Role | None = None) -> m.ProjectAnswer:
    answer = m.ProjectAnswer.model_validate(project)
    return answer.model_copy(update={"role": role.label}) if role is not None else answer


def _user_answer(user: User, role: str | None = None) -> m.UserAnswer:
    answer = m.UserAnswer.model_validate({**{n: getattr(user, n) for n in ("id", "email", "first_name", "last_name")}})
    return answer.model_copy(update={"role": role})


def _token_answer(token: UserToken, text: str | None = None) -> m.UserTokenAnswer:
    return m.UserTokenAnswer(
        id=token.id, name=token.name, created_at=token.created_at, expires_at=token.expires_at, token=text
    )
