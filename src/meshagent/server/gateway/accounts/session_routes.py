"""Routes of runs of rooms, of a project's usage and files, and of the server itself."""

from __future__ import annotations

from aiohttp import hdrs, web

from meshagent.api.errors import LimitExceededError, NotFoundError
from meshagent.api.tokens.verify import TokenRefusedError
from meshagent.api.version import __version__
from meshagent.server.accounts.accounts import Accounts
from meshagent.server.accounts.records import Session
from meshagent.server.gateway.accounts import models as m
from meshagent.server.gateway.accounts.rest_route import Access, ApiRequest, NoBody, RawBody, Route
from meshagent.server.gateway.auth import RoomAuthenticator
from meshagent.server.gateway.bodies import BodyTooLargeError, body_pieces
from meshagent.server.stores.files import FileStore

_PROJECT = "/accounts/projects/{project_id}"
_SESSIONS = f"{_PROJECT}/sessions"
_PROJECT_FILES = "\x00project"  # no room can have this name


class SessionRoutes:
    """Runs of rooms, past and present."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._running = accounts.running

    def routes(self) -> list[Route]:
        return [*self._record_routes(), *self._running_routes()]

    def _record_routes(self) -> list[Route]:
        return [
            Route(
                name="list_recent_sessions",
                method="GET",
                path=_SESSIONS,
                summary="Runs of the project's rooms, newest first.",
                access=Access.DEVELOPER,
                handler=self.list,
                query=m.PageQuery,
                answer=m.SessionList,
            ),
            Route(
                name="get_session",
                method="GET",
                path=f"{_SESSIONS}/{{session_id}}",
                summary="A run.",
                access=Access.DEVELOPER,
                handler=self.get,
                answer=m.SessionAnswer,
            ),
            Route(
                name="list_session_events",
                method="GET",
                path=f"{_SESSIONS}/{{session_id}}/events",
                summary="What happened in a run, in order.",
                access=Access.DEVELOPER,
                handler=self.events,
                query=m.PageQuery,
                answer=m.SessionEventList,
            ),
        ]

    def _running_routes(self) -> list[Route]:
        return [
            Route(
                name="terminate_session",
                method="POST",
                path=f"{_SESSIONS}/{{session_id}}/terminate",
                summary="End a run, whoever is in the room.",
                access=Access.DEVELOPER,
                handler=self.terminate,
                answer=m.Ok,
            ),
            Route(
                name="list_session_participants",
                method="GET",
                path=f"{_SESSIONS}/{{session_id}}/participants",
                summary="Who is in the room now.",
                access=Access.DEVELOPER,
                handler=self.participants,
                answer=m.ParticipantList,
            ),
            Route(
                name="kick_participant",
                method="DELETE",
                path=f"{_SESSIONS}/{{session_id}}/participants/{{participant_id}}",
                summary="Disconnect a participant; the token stays good.",
                access=Access.DEVELOPER,
                handler=self.kick,
                answer=m.Ok,
            ),
            Route(
                name="get_usage",
                method="GET",
                path=f"{_PROJECT}/usage",
                summary="For each room: sessions, participants and seconds, as far as records are kept.",
                access=Access.PROJECT_ADMIN,
                handler=self.usage,
                answer=m.UsageAnswer,
            ),
        ]

    async def list(self, request: ApiRequest[m.PageQuery]) -> m.SessionList:
        await self._accounts.sessions.flush()
        page = await self._accounts.store.sessions.page(
            limit=request.input.limit, offset=request.input.offset, newest_first=True, project_id=request.project_id
        )
        return m.SessionList(sessions=[_answer(one) for one in page.entries], next_offset=page.next_offset)

    async def get(self, request: ApiRequest[NoBody]) -> m.SessionAnswer:
        return _answer(await self._session(request))

    async def events(self, request: ApiRequest[m.PageQuery]) -> m.SessionEventList:
        session = await self._session(request)
        page = await self._accounts.sessions.events(session.id, limit=request.input.limit, offset=request.input.offset)
        events = [m.SessionEventAnswer.model_validate(event) for event in page.entries]
        return m.SessionEventList(events=events, next_offset=page.next_offset)

    async def terminate(self, request: ApiRequest[NoBody]) -> m.Ok:
        session = await self._running_session(request)
        await self._running.end(session.project_id, session.room_name, "the session was ended by a developer")
        return m.Ok()

    async def participants(self, request: ApiRequest[NoBody]) -> m.ParticipantList:
        session = await self._session(request)
        here: list[dict[str, object]] = []
        if await self._running.session_id(session.project_id, session.room_name) == session.id:
            here = await self._running.participants(session.project_id, session.room_name)
        return m.ParticipantList(participants=[m.ParticipantAnswer.model_validate(one) for one in here])

    async def kick(self, request: ApiRequest[NoBody]) -> m.Ok:
        session = await self._running_session(request)
        if not await self._running.kick(session.project_id, session.room_name, request.params["participant_id"]):
            raise NotFoundError("there is no such participant in the room")
        return m.Ok()

    async def usage(self, request: ApiRequest[NoBody]) -> m.UsageAnswer:
        await self._accounts.sessions.flush()
        return m.UsageAnswer(usage=await self._accounts.sessions.usage(request.project_id))

    async def _session(self, request: ApiRequest[NoBody] | ApiRequest[m.PageQuery]) -> Session:
        await self._accounts.sessions.flush()
        return await self._accounts.store.sessions.get(project_id=request.project_id, id=request.params["session_id"])

    async def _running_session(self, request: ApiRequest[NoBody]) -> Session:
        session = await self._session(request)
        if await self._running.session_id(session.project_id, session.room_name) != session.id:
            raise NotFoundError("the session has ended")
        return session


def _answer(session: Session) -> m.SessionAnswer:
    return m.SessionAnswer(
        id=session.id,
        room_name=session.room_name,
        created_at=session.created_at,
        ended_at=session.ended_at,
        is_active=session.ended_at is None,
        participants=session.participants,
    )


class StorageRoutes:
    """Files of a project that belong to no room."""

    def __init__(self, accounts: Accounts) -> None:
        self._files = accounts.files
        self._max_bytes = accounts.max_file_bytes

    def routes(self) -> list[Route]:
        storage = f"{_PROJECT}/storage"
        return [
            Route(
                name="upload",
                method="POST",
                path=f"{storage}/upload",
                summary="Write a file; the body is its content.",
                access=Access.DEVELOPER,
                handler=self.upload,
                query=m.PathQuery,
                body=RawBody,
                answer=m.Ok,
            ),
            Route(
                name="download",
                method="GET",
                path=f"{storage}/download",
                summary="The content of a file.",
                access=Access.DEVELOPER,
                handler=self.download,
                query=m.PathQuery,
                answer=RawBody,
            ),
        ]

    async def upload(self, request: ApiRequest[m.PathQuery]) -> m.Ok:
        files = await self._store(request.project_id)
        writer = await files.start_write(max_bytes=self._max_bytes)
        try:
            async for chunk in body_pieces(request.http):
                await writer.write(chunk)
            await files.publish(writer, request.input.path, overwrite=True)
        except LimitExceededError as error:
            raise BodyTooLargeError(str(error), limit=error.limit) from None
        finally:
            await files.discard(writer)
        return m.Ok()

    async def download(self, request: ApiRequest[m.PathQuery]) -> web.StreamResponse:
        files = await self._store(request.project_id)
        async with await files.open_read(request.input.path) as reader:
            response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/octet-stream"})
            response.content_length = reader.size
            await response.prepare(request.http)
            async for chunk in reader.iter_chunks():
                await response.write(chunk)
            await response.write_eof()
        return response

    async def _store(self, project_id: str) -> FileStore:
        return await self._files.open(project_id, _PROJECT_FILES)


class ServerRoutes:
    """What programs ask for before they connect."""

    def __init__(self, authenticator: RoomAuthenticator) -> None:
        self._authenticator = authenticator

    def routes(self) -> list[Route]:
        return [
            Route(
                name="get_config",
                method="GET",
                path="/config",
                summary="The server's version.",
                access=Access.PUBLIC,
                handler=self.config,
                answer=m.ServerAnswer,
            ),
            Route(
                name="validate_participant_token",
                method="POST",
                path="/api/participant-token/validate",
                summary="Whether a participant token is good, and what it says.",
                access=Access.PUBLIC,
                handler=self.validate,
                body=m.TokenToCheck,
                answer=m.CheckedToken,
            ),
        ]

    async def config(self, request: ApiRequest[NoBody]) -> m.ServerAnswer:
        return m.ServerAnswer(version=__version__, domains={})

    async def validate(self, request: ApiRequest[m.TokenToCheck]) -> m.CheckedToken:
        try:
            token = self._authenticator.verify(request.input.token)
        except TokenRefusedError as error:
            return m.CheckedToken(valid=False, reason=str(error))
        rooms = [str(grant.scope) for grant in token.grants if grant.name == "room"]
        return m.CheckedToken(valid=True, name=token.name, role=token.role, project_id=token.project_id, rooms=rooms)
