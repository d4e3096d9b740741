"""Projects and users: part of `AccountsClient`."""

from __future__ import annotations

from typing import Literal

import aiohttp

from meshagent.api.accounts.rest import Json, RestClient, path_of

ProjectRole = Literal["member", "developer", "admin"]


class ProjectMethods(RestClient):
    """Projects, their users, profiles, and the users' bearer tokens."""

    async def whoami(self) -> Json:
        """`kind` (administrator, user, key) and `name` of who holds the token."""
        return await self._call("GET", "/accounts/whoami")

    async def create_project(self, name: str, settings: Json = None, *, owner_user_id: str | None = None) -> Json:
        """Create a project: `id`, `name`, `owner_user_id`. Only the administrator of the server may."""
        body = {"name": name, "settings": settings, "owner_user_id": owner_user_id}
        return await self._call("POST", "/accounts/projects", body)

    async def list_projects(self, *, limit: int | None = None, offset: int | None = None) -> Json:
        """`projects` of the caller, and `next_offset` where there are more."""
        return await self._call("GET", "/accounts/projects", query={"limit": limit, "offset": offset})

    async def get_project(self, project_id: str) -> Json:
        """`id`, `name`, `settings`, and the caller's `role`."""
        return await self._call("GET", path_of("accounts", "projects", project_id))

    async def get_project_role(self, project_id: str) -> ProjectRole:
        """The role of the caller. Servers without this route return it with the project."""
        try:
            answer = await self._call("GET", path_of("accounts", "projects", project_id, "role"))
        except aiohttp.ClientResponseError as error:
            if error.status not in (404, 405):
                raise
            answer = await self.get_project(project_id)
        role: ProjectRole = answer["role"]
        return role

    async def update_project_settings(self, project_id: str, settings: Json) -> Json:
        """Replace the project's settings, a JSON object."""
        return await self._call("PUT", path_of("accounts", "projects", project_id, "settings"), settings)

    async def add_user_to_project(
        self,
        project_id: str,
        user_id: str | None = None,
        *,
        email: str | None = None,
        role: ProjectRole = "member",
    ) -> Json:
        """Give a user, by id or e-mail address, a role."""
        body = {"project_id": project_id, "user_id": user_id, "email": email, "role": role}
        return await self._call("POST", path_of("accounts", "projects", project_id, "users"), body)

    async def update_user_role(self, project_id: str, user_id: str, role: ProjectRole) -> Json:
        """Change a user's role."""
        path = path_of("accounts", "projects", project_id, "users", user_id)
        return await self._call("PUT", path, {"role": role})

    async def remove_user_from_project(self, project_id: str, user_id: str) -> Json:
        """Remove a user from the project."""
        return await self._call("DELETE", path_of("accounts", "projects", project_id, "users", user_id))

    async def get_users_in_project(
        self, project_id: str, *, limit: int | None = None, offset: int | None = None
    ) -> Json:
        """`users`: `id`, `first_name`, `last_name`, `email`, `role` of each."""
        path = path_of("accounts", "projects", project_id, "users")
        return await self._call("GET", path, query={"limit": limit, "offset": offset})

    async def get_user_profile(self, user_id: str) -> Json:
        """`id`, `first_name`, `last_name`, `email`; the id `me` is the caller."""
        return await self._call("GET", path_of("accounts", "profiles", user_id))

    async def update_user_profile(self, user_id: str, first_name: str, last_name: str) -> Json:
        """Change the name of a user: one's own or, for the administrator of the server, any."""
        body = {"first_name": first_name, "last_name": last_name}
        return await self._call("PUT", path_of("accounts", "profiles", user_id), body)

    async def create_user(self, email: str, *, first_name: str = "", last_name: str = "") -> Json:
        """Create a user. Only the administrator of the server may; that holds for all methods below."""
        body = {"email": email, "first_name": first_name, "last_name": last_name}
        return await self._call("POST", "/accounts/users", body)

    async def list_users(self, *, limit: int | None = None, offset: int | None = None) -> Json:
        """`users` of the server."""
        return await self._call("GET", "/accounts/users", query={"limit": limit, "offset": offset})

    async def delete_user(self, user_id: str) -> Json:
        """Delete a user with roles, grants and tokens."""
        return await self._call("DELETE", path_of("accounts", "users", user_id))

    async def create_user_token(self, user_id: str, *, name: str = "", days: float | None = None) -> Json:
        """Create a bearer token for a user. Its value, `token`, is returned only here."""
        path = path_of("accounts", "users", user_id, "tokens")
        return await self._call("POST", path, {"name": name, "days": days})

    async def list_user_tokens(self, user_id: str) -> Json:
        """`tokens` of a user, without their texts."""
        return await self._call("GET", path_of("accounts", "users", user_id, "tokens"))

    async def delete_user_token(self, user_id: str, token_id: str) -> Json:
        """Revoke a user's token."""
        return await self._call("DELETE", path_of("accounts", "users", user_id, "tokens", token_id))
