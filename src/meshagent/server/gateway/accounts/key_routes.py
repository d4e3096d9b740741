"""Routes of API keys and secrets."""

from __future__ import annotations

from meshagent.api.errors import InvalidRequestError
from meshagent.api.tokens.api_key import ApiKey as CompactKey
from meshagent.server.accounts import records
from meshagent.server.accounts.accounts import Accounts
from meshagent.server.gateway.accounts import models as m
from meshagent.server.gateway.accounts.rest_route import Access, ApiRequest, NoBody, Route

_PROJECT = "/accounts/projects/{project_id}"


class KeyRoutes:
    """API keys. Who makes or reads one can sign any token of the project, so it takes an administrator."""

    def __init__(self, accounts: Accounts) -> None:
        self._keys = accounts.keys

    def routes(self) -> list[Route]:
        keys = f"{_PROJECT}/api-keys"
        return [
            Route(
                name="create_project_api_key",
                method="POST",
                path=keys,
                summary="Make a key; the answer holds its secret.",
                access=Access.PROJECT_ADMIN,
                handler=self.create,
                body=m.NewApiKey,
                answer=m.NewApiKeyAnswer,
            ),
            Route(
                name="list_project_api_keys",
                method="GET",
                path=keys,
                summary="The project's keys, without their secrets.",
                access=Access.DEVELOPER,
                handler=self.list,
                query=m.PageQuery,
                answer=m.ApiKeyList,
            ),
            Route(
                name="decrypt_project_api_key",
                method="GET",
                path=f"{keys}/{{key_id}}/decrypt",
                summary="The secret of a key.",
                access=Access.PROJECT_ADMIN,
                handler=self.reveal,
                answer=m.RevealedKey,
            ),
            Route(
                name="delete_project_api_key",
                method="DELETE",
                path=f"{keys}/{{key_id}}",
                summary="Revoke a key, and disconnect who came in with it.",
                access=Access.PROJECT_ADMIN,
                handler=self.delete,
                status=204,
            ),
        ]

    async def create(self, request: ApiRequest[m.NewApiKey]) -> m.NewApiKeyAnswer:
        key = await self._keys.create(
            request.project_id,
            name=request.input.name,
            description=request.input.description,
            created_by=request.caller.user_id or request.caller.kind,
        )
        answer = m.ApiKeyAnswer.model_validate(key).model_dump()
        return m.NewApiKeyAnswer(**answer, token=key.secret, api_key=_compact(key))

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.ApiKeyList:
        page = await self._keys.page(request.project_id, limit=request.input.limit, offset=request.input.offset)
        keys = [m.ApiKeyAnswer.model_validate(key) for key in page.entries]
        return m.ApiKeyList(keys=keys, tokens=keys, next_offset=page.next_offset)

    async def reveal(self, request: ApiRequest[NoBody]) -> m.RevealedKey:
        return m.RevealedKey(token=(await self._keys.get(request.project_id, request.params["key_id"])).secret)

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._keys.revoke(request.project_id, request.params["key_id"])
        return m.Ok()


def _compact(key: records.ApiKey) -> str | None:
    try:
        return CompactKey(project_id=key.project_id, key_id=key.id, secret=key.secret).encode()
    except InvalidRequestError:  # a project whose id was given by the configuration and is no UUID
        return None


class SecretRoutes:
    """Secrets for services: registry logins and sets of values."""

    def __init__(self, accounts: Accounts) -> None:
        self._secrets = accounts.store.secrets

    def routes(self) -> list[Route]:
        secrets = f"{_PROJECT}/secrets"
        return [
            Route(
                name="create_secret",
                method="POST",
                path=secrets,
                summary="Keep a secret.",
                access=Access.DEVELOPER,
                handler=self.create,
                body=m.SecretBody,
                answer=m.Created,
            ),
            Route(
                name="list_secrets",
                method="GET",
                path=secrets,
                summary="The project's secrets with their values.",
                access=Access.DEVELOPER,
                handler=self.list,
                query=m.PageQuery,
                answer=m.SecretList,
            ),
            Route(
                name="update_secret",
                method="PUT",
                path=f"{secrets}/{{secret_id}}",
                summary="Replace a secret.",
                access=Access.DEVELOPER,
                handler=self.update,
                body=m.SecretBody,
                answer=m.Ok,
            ),
            Route(
                name="delete_secret",
                method="DELETE",
                path=f"{secrets}/{{secret_id}}",
                summary="Delete a secret.",
                access=Access.DEVELOPER,
                handler=self.delete,
                answer=m.Ok,
            ),
        ]

    async def create(self, request: ApiRequest[m.SecretBody]) -> m.Created:
        secret = records.Secret(project_id=request.project_id, **request.input.model_dump())
        await self._secrets.add(secret)
        return m.Created(id=secret.id)

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.SecretList:
        page = await self._secrets.page(
            limit=request.input.limit, offset=request.input.offset, project_id=request.project_id
        )
        secrets = [m.SecretAnswer.model_validate(secret) for secret in page.entries]
        return m.SecretList(secrets=secrets, next_offset=page.next_offset)

    async def update(self, request: ApiRequest[m.SecretBody]) -> m.Ok:
        values = request.input.model_dump()
        await self._secrets.update(values, project_id=request.project_id, id=request.params["secret_id"])
        return m.Ok()

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._secrets.delete(project_id=request.project_id, id=request.params["secret_id"])
        return m.Ok()
