"""Routes of rooms, of who may enter them, and of tokens that open them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from meshagent.api.errors import InvalidRequestError, InvalidStateError, NotFoundError, PermissionDeniedError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.accounts.access import Role
from meshagent.server.accounts.accounts import Accounts
from meshagent.server.accounts.records import RoomGrant, RoomRecord, Share
from meshagent.server.accounts.tokens import DEFAULT_LIFETIME
from meshagent.server.gateway.accounts import models as m
from meshagent.server.gateway.accounts.rest_route import Access, ApiRequest, NoBody, Route

_PROJECT = "/accounts/projects/{project_id}"
_ROOMS = f"{_PROJECT}/rooms"
_ROOM_GRANTS = f"{_PROJECT}/room-grants"
_SHARES = f"{_PROJECT}/shares"
_GUEST = "guest"


class RoomRoutes:
    """Rooms: their records, and tokens with which signed-in users join."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._rooms = accounts.rooms

    def routes(self) -> list[Route]:
        return [*self._record_routes(), *self._joining_routes()]

    def _record_routes(self) -> list[Route]:
        return [
            Route(
                name="create_room",
                method="POST",
                path=_ROOMS,
                summary="Make a room known before anybody joins it.",
                access=Access.DEVELOPER,
                handler=self.create,
                body=m.NewRoom,
                answer=m.RoomAnswer,
            ),
            Route(
                name="list_rooms",
                method="GET",
                path=_ROOMS,
                summary="The project's rooms.",
                access=Access.MEMBER,
                handler=self.list,
                query=m.PageQuery,
                answer=m.RoomList,
            ),
            Route(
                name="get_room",
                method="GET",
                path=f"{_ROOMS}/{{room}}",
                summary="A room, by name or id.",
                access=Access.MEMBER,
                handler=self.get,
                answer=m.RoomAnswer,
            ),
            Route(
                name="update_room",
                method="PUT",
                path=f"{_ROOMS}/{{room}}",
                summary="Rename a room, by id or name; its data comes along, its run ends.",
                access=Access.DEVELOPER,
                handler=self.rename,
                body=m.RoomChange,
                answer=m.RoomAnswer,
            ),
            Route(
                name="delete_room",
                method="DELETE",
                path=f"{_ROOMS}/{{room}}",
                summary="Delete a room, by id or name, with all that is in it.",
                access=Access.DEVELOPER,
                handler=self.delete,
                answer=m.Ok,
            ),
        ]

    def _joining_routes(self) -> list[Route]:
        return [
            Route(
                name="connect_room",
                method="POST",
                path=f"{_ROOMS}/{{room}}/connect",
                summary="A token and the URL to join a room with. Members need a room grant.",
                access=Access.MEMBER,
                handler=self.connect,
                answer=m.ConnectionAnswer,
            ),
            Route(
                name="create_project_participant_token",
                method="POST",
                path=f"{_PROJECT}/participant-tokens",
                summary="A token for any room, name and role.",
                access=Access.DEVELOPER,
                handler=self.create_token,
                body=m.NewParticipantToken,
                answer=m.TokenAnswer,
            ),
        ]

    async def create(self, request: ApiRequest[m.NewRoom]) -> m.RoomAnswer:
        make = self._rooms.ensure if request.input.if_not_exists else self._rooms.create
        return await self._answer(await make(request.project_id, request.input.name))

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.RoomList:
        page = await self._rooms.page(request.project_id, limit=request.input.limit, offset=request.input.offset)
        return m.RoomList(rooms=[await self._answer(room) for room in page.entries], next_offset=page.next_offset)

    async def get(self, request: ApiRequest[NoBody]) -> m.RoomAnswer:
        return await self._answer(await self._rooms.by_name_or_id(request.project_id, request.params["room"]))

    async def rename(self, request: ApiRequest[m.RoomChange]) -> m.RoomAnswer:
        room = await self._rooms.by_name_or_id(request.project_id, request.params["room"])
        await self._rooms.rename(room, request.input.name)
        return await self._answer(await self._rooms.by_name_or_id(request.project_id, room.id))

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._rooms.delete(await self._rooms.by_name_or_id(request.project_id, request.params["room"]))
        return m.Ok()

    async def connect(self, request: ApiRequest[NoBody]) -> m.ConnectionAnswer:
        name, scope = request.params["room"], None
        if request.role == Role.MEMBER:
            room = await self._accounts.store.rooms.find(project_id=request.project_id, name=name)
            grant = room and await self._accounts.store.room_grants.find(
                project_id=request.project_id, room_id=room.id, user_id=request.caller.user_id
            )
            if not grant:
                raise PermissionDeniedError("you have no grant for this room")
            scope = _scope(grant.permissions)
        jwt = await self._accounts.tokens.issue(
            request.project_id, room_name=name, name=request.caller.name, scope=scope
        )
        url = self._accounts.room_url(request.project_id, name)
        return m.ConnectionAnswer(jwt=jwt, room_name=name, project_id=request.project_id, room_url=url)

    async def create_token(self, request: ApiRequest[m.NewParticipantToken]) -> m.TokenAnswer:
        wanted = request.input
        jwt = await self._accounts.tokens.issue(
            request.project_id,
            room_name=wanted.room_name,
            name=wanted.name or request.caller.name,
            role=wanted.role,
            scope=_scope(wanted.api),
        )
        return m.TokenAnswer(token=jwt)

    async def _answer(self, room: RoomRecord) -> m.RoomAnswer:
        name = room.name or ""
        active = await self._accounts.running.session_id(room.project_id, name) is not None
        return m.RoomAnswer(id=room.id, name=name, created_at=room.created_at, is_active=active)


class RoomGrantRoutes:
    """Which members may enter which rooms."""

    def __init__(self, accounts: Accounts) -> None:
        self._store = accounts.store

    def routes(self) -> list[Route]:
        return [*self._collection_routes(), *self._grant_routes()]

    def _collection_routes(self) -> list[Route]:
        listing: dict[str, Any] = {
            "method": "GET",
            "access": Access.PROJECT_ADMIN,
            "query": m.PageQuery,
            "answer": m.RoomGrantList,
        }
        return [
            Route(
                name="create_room_grant",
                method="POST",
                path=_ROOM_GRANTS,
                summary="Let a user of the project into a room.",
                access=Access.PROJECT_ADMIN,
                handler=self.create,
                body=m.NewRoomGrant,
                answer=m.RoomGrantAnswer,
            ),
            Route(name="list_room_grants", path=_ROOM_GRANTS, summary="All grants.", handler=self.list, **listing),
            Route(
                name="list_room_grants_by_user",
                path=f"{_ROOM_GRANTS}/by-user/{{user_id}}",
                summary="The grants of a user.",
                handler=self.list,
                **listing,
            ),
            Route(
                name="list_room_grants_by_room",
                path=f"{_ROOM_GRANTS}/by-room/{{room_id}}",
                summary="The grants for a room, by its id.",
                handler=self.list,
                **listing,
            ),
        ]

    def _grant_routes(self) -> list[Route]:
        return [
            Route(
                name="get_room_grant",
                method="GET",
                path=f"{_ROOM_GRANTS}/{{grant_id}}",
                summary="A grant.",
                access=Access.PROJECT_ADMIN,
                handler=self.get,
                answer=m.RoomGrantAnswer,
            ),
            Route(
                name="update_room_grant",
                method="PUT",
                path=f"{_ROOM_GRANTS}/{{grant_id}}",
                summary="Change what a user may do in a room.",
                access=Access.PROJECT_ADMIN,
                handler=self.update,
                body=m.GrantPermissions,
                answer=m.Ok,
            ),
            Route(
                name="delete_room_grant",
                method="DELETE",
                path=f"{_ROOM_GRANTS}/{{grant_id}}",
                summary="Take a grant away.",
                access=Access.PROJECT_ADMIN,
                handler=self.delete,
                answer=m.Ok,
            ),
        ]

    async def create(self, request: ApiRequest[m.NewRoomGrant]) -> m.RoomGrantAnswer:
        wanted = request.input
        _scope(wanted.permissions)
        await self._store.members.get(project_id=request.project_id, user_id=wanted.user_id)
        room = await self._store.rooms.get(project_id=request.project_id, id=wanted.room_id)
        grant = RoomGrant(
            project_id=request.project_id, room_id=room.id, user_id=wanted.user_id, permissions=wanted.permissions
        )
        await self._store.room_grants.add(grant)
        return m.RoomGrantAnswer.model_validate(grant)

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.RoomGrantList:
        filters: dict[str, Any] = dict(request.params)  # the project, and a user or a room
        page = await self._store.room_grants.page(limit=request.input.limit, offset=request.input.offset, **filters)
        grants = [m.RoomGrantAnswer.model_validate(grant) for grant in page.entries]
        return m.RoomGrantList(room_grants=grants, next_offset=page.next_offset)

    async def get(self, request: ApiRequest[NoBody]) -> m.RoomGrantAnswer:
        grant = await self._store.room_grants.get(project_id=request.project_id, id=request.params["grant_id"])
        return m.RoomGrantAnswer.model_validate(grant)

    async def update(self, request: ApiRequest[m.GrantPermissions]) -> m.Ok:
        _scope(request.input.permissions)
        values = {"permissions": request.input.permissions}
        await self._store.room_grants.update(values, project_id=request.project_id, id=request.params["grant_id"])
        return m.Ok()

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._store.room_grants.delete(project_id=request.project_id, id=request.params["grant_id"])
        return m.Ok()


class ShareRoutes:
    """Links by which people outside the project join a room; whoever knows a share's id can use it."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._shares = accounts.store.shares

    def routes(self) -> list[Route]:
        return [*self._share_routes(), *self._joining_routes()]

    def _share_routes(self) -> list[Route]:
        listing: dict[str, Any] = {
            "access": Access.DEVELOPER,
            "query": m.PageQuery,
            "answer": m.ShareList,
            "handler": self.list,
        }
        return [
            Route(
                name="create_share",
                method="POST",
                path=_SHARES,
                summary="Make a link into a room.",
                access=Access.DEVELOPER,
                handler=self.create,
                body=m.ShareBody,
                answer=m.Created,
            ),
            Route(name="list_shares", method="GET", path=_SHARES, summary="The project's links.", **listing),
            Route(
                name="update_share",
                method="PUT",
                path=f"{_SHARES}/{{share_id}}",
                summary="Change where a share link points.",
                access=Access.DEVELOPER,
                handler=self.update,
                body=m.ShareBody,
                answer=m.Ok,
            ),
            Route(
                name="delete_share",
                method="DELETE",
                path=f"{_SHARES}/{{share_id}}",
                summary="End a link.",
                access=Access.DEVELOPER,
                handler=self.delete,
                answer=m.Ok,
            ),
            Route(
                name="list_shares_legacy",
                method="GET",
                path="/shares/{project_id}",
                summary="The project's share links, at the path that 0.5 clients use.",
                **listing,
            ),
        ]

    def _joining_routes(self) -> list[Route]:
        entering: dict[str, Any] = {"access": Access.PUBLIC, "answer": m.ShareConnection, "handler": self.connect}
        return [
            Route(
                name="connect_share",
                method="POST",
                path="/shares/{share_id}/connect",
                summary="A token and the URL of the room that a link leads to.",
                **entering,
            ),
            Route(
                name="connect_share_legacy",
                method="POST",
                path="/shares/{share_id}",
                summary="The same, at the path that 0.5 clients use.",
                **entering,
            ),
        ]

    async def create(self, request: ApiRequest[m.ShareBody]) -> m.Created:
        share = Share(project_id=request.project_id, settings=_share_settings(request.input))
        await self._shares.add(share)
        return m.Created(id=share.id)

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.ShareList:
        page = await self._shares.page(
            limit=request.input.limit, offset=request.input.offset, project_id=request.project_id
        )
        shares = [m.ShareAnswer.model_validate(share) for share in page.entries]
        return m.ShareList(shares=shares, next_offset=page.next_offset)

    async def update(self, request: ApiRequest[m.ShareBody]) -> m.Ok:
        values = {"settings": _share_settings(request.input)}
        await self._shares.update(values, project_id=request.project_id, id=request.params["share_id"])
        return m.Ok()

    async def delete(self, request: ApiRequest[NoBody]) -> m.Ok:
        await self._shares.delete(project_id=request.project_id, id=request.params["share_id"])
        return m.Ok()

    async def connect(self, request: ApiRequest[NoBody]) -> m.ShareConnection:
        share = await self._shares.get(id=request.params["share_id"])
        settings = m.ShareSettings.model_validate(share.settings)
        if settings.room_name is None:
            raise InvalidStateError("this share has no room yet")
        jwt = await self._accounts.tokens.issue(
            share.project_id,
            room_name=settings.room_name,
            name=settings.participant_name or _GUEST,
            role=settings.role,
            scope=_scope(settings.api),
            lifetime=_time_left(settings.expires_at),
        )
        return m.ShareConnection(jwt=jwt, room_url=self._accounts.room_url(share.project_id, settings.room_name))


def _share_settings(body: m.ShareBody) -> dict[str, Any]:
    settings = body.settings or m.ShareSettings()
    _scope(settings.api)
    return settings.model_dump(mode="json", exclude_unset=True)


def _time_left(expires_at: datetime | None) -> timedelta:
    if expires_at is None:
        return DEFAULT_LIFETIME
    left = (expires_at if expires_at.tzinfo else expires_at.replace(tzinfo=UTC)) - datetime.now(UTC)
    if left <= timedelta(0):
        raise NotFoundError("the share has expired")
    return min(left, DEFAULT_LIFETIME)


def _scope(permissions: Mapping[str, Any] | None) -> ApiScope | None:
    if permissions is None:
        return None
    try:
        return ApiScope.from_json(dict(permissions))
    except InvalidRequestError as error:
        raise InvalidRequestError(f"invalid permissions: {error}") from None
