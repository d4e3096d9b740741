"""Routes of what happens beyond a room: services and mailboxes."""

from __future__ import annotations

from pydantic import ValidationError

from meshagent.api.accounts.services import Service, ServiceChange
from meshagent.api.errors import InvalidRequestError
from meshagent.server.accounts import records
from meshagent.server.accounts.accounts import Accounts
from meshagent.server.accounts.external_services import as_service, definition_of
from meshagent.server.gateway.accounts import models as m
from meshagent.server.gateway.accounts.rest_route import Access, ApiRequest, NoBody, Route
from meshagent.server.kernel.http_url import http_url

_PROJECT = "/accounts/projects/{project_id}"


class ServiceRoutes:
    """Services; what a project wants to have in its rooms."""

    def __init__(self, accounts: Accounts) -> None:
        self._services = accounts.store.services
        self._cache = accounts.external_services

    def routes(self) -> list[Route]:
        services = f"{_PROJECT}/services"
        return [
            Route(
                name="create_service",
                method="POST",
                path=services,
                summary="Add a service.",
                access=Access.DEVELOPER,
                handler=self.create,
                body=Service,
                answer=m.Created,
            ),
            Route(
                name="list_services",
                method="GET",
                path=services,
                summary="The project's services.",
                access=Access.DEVELOPER,
                handler=self.list,
                query=m.PageQuery,
                answer=m.ServiceList,
            ),
            Route(
                name="get_service",
                method="GET",
                path=f"{services}/{{service_id}}",
                summary="A service.",
                access=Access.DEVELOPER,
                handler=self.get,
                answer=Service,
            ),
            Route(
                name="update_service",
                method="PUT",
                path=f"{services}/{{service_id}}",
                summary="Give a service new values; what is left out stays.",
                access=Access.DEVELOPER,
                handler=self.update,
                body=ServiceChange,
                answer=m.Ok,
            ),
            Route(
                name="delete_service",
                method="DELETE",
                path=f"{services}/{{service_id}}",
                summary="Remove a service.",
                access=Access.DEVELOPER,
                handler=self.delete,
                answer=m.Ok,
            ),
        ]

    async def create(self, request: ApiRequest[Service]) -> m.Created:
        _check_url(request.input.url)
        service = records.Service(
            project_id=request.project_id, name=request.input.name, definition=definition_of(request.input)
        )
        await self._services.add(service)
        self._cache.invalidate(request.project_id)
        return m.Created(id=service.id)

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.ServiceList:
        page = await self._services.page(
            limit=request.input.limit, offset=request.input.offset, project_id=request.project_id
        )
        return m.ServiceList(services=[as_service(record) for record in page.entries], next_offset=page.next_offset)

    async def get(self, request: ApiRequest[NoBody]) -> Service:
        return as_service(await self._services.get(project_id=request.project_id, id=request.params["service_id"]))

    async def update(self, request: ApiRequest[ServiceChange]) -> m.Ok:
        record = await self._services.get(project_id=request.project_id, id=request.params["service_id"])
        given = request.input.model_dump(mode="json", exclude_unset=True)
        _check_url(given.get("url"))
        if given.get("name") is None:
            given["name"] = record.name
        try:
            service = Service.model_validate(record.definition | given)
        except ValidationError as error:
            raise InvalidRequestError(error.errors(include_input=False)[0]["msg"]) from None
        values = {"name": service.name, "definition": definition_of(service)}
        await self._services.update(values, project_id=request.project_id, id=record.id)
        self._cache.invalidate(request.project_id)
        return m.Ok()

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._services.delete(project_id=request.project_id, id=request.params["service_id"])
        self._cache.invalidate(request.project_id)
        return m.Ok()


def _check_url(url: str | None) -> None:
    """Refuse a URL that cannot be called. `Service` takes it, since it may have been stored before this was checked."""
    if url is None:
        return
    try:
        http_url(url)
    except ValueError as error:
        raise InvalidRequestError(f"url: {error}") from None


class MailboxRoutes:
    """Mailboxes, as records for whoever receives the mail."""

    def __init__(self, accounts: Accounts) -> None:
        self._mailboxes = accounts.store.mailboxes

    def routes(self) -> list[Route]:
        mailboxes = f"{_PROJECT}/mailboxes"
        return [
            Route(
                name="create_mailbox",
                method="POST",
                path=mailboxes,
                summary="Lead an address to a queue of a room.",
                access=Access.DEVELOPER,
                handler=self.create,
                body=m.MailboxBody,
                answer=m.MailboxAnswer,
            ),
            Route(
                name="list_mailboxes",
                method="GET",
                path=mailboxes,
                summary="The project's addresses.",
                access=Access.DEVELOPER,
                handler=self.list,
                query=m.PageQuery,
                answer=m.MailboxList,
            ),
            Route(
                name="update_mailbox",
                method="PUT",
                path=f"{mailboxes}/{{address}}",
                summary="Lead an address elsewhere.",
                access=Access.DEVELOPER,
                handler=self.update,
                body=m.MailboxChange,
                answer=m.Ok,
            ),
            Route(
                name="delete_mailbox",
                method="DELETE",
                path=f"{mailboxes}/{{address}}",
                summary="Give an address up.",
                access=Access.DEVELOPER,
                handler=self.delete,
                answer=m.Ok,
            ),
        ]

    async def create(self, request: ApiRequest[m.MailboxBody]) -> m.MailboxAnswer:
        mailbox = records.Mailbox(project_id=request.project_id, **request.input.model_dump())
        await self._mailboxes.add(mailbox)
        return m.MailboxAnswer.model_validate(mailbox)

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.MailboxList:
        page = await self._mailboxes.page(
            limit=request.input.limit, offset=request.input.offset, project_id=request.project_id
        )
        mailboxes = [m.MailboxAnswer.model_validate(mailbox) for mailbox in page.entries]
        return m.MailboxList(mailboxes=mailboxes, next_offset=page.next_offset)

    async def update(self, request: ApiRequest[m.MailboxChange]) -> m.Ok:
        values = request.input.model_dump()
        await self._mailboxes.update(values, project_id=request.project_id, address=request.params["address"])
        return m.Ok()

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._mailboxes.delete(project_id=request.project_id, address=request.params["address"])
        return m.Ok()
