"""Declares a REST route, and serves it: authentication, access, input, output."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from meshagent.server.accounts.access import ApiAuthenticator, Caller, Role, UnauthenticatedError
from meshagent.server.gateway.bodies import read_body
from meshagent.server.gateway.conditions import refuse_conditions, refuse_part
from meshagent.server.gateway.http_errors import error_response
from meshagent.server.kernel.rate_limits import RequestRates

MAX_BODY_BYTES: Final = 1024 * 1024
_MAX_PARAMETER_CHARS: Final = 1024

InputT = TypeVar("InputT")


class Access(Enum):
    """Who may use a route: the least privilege that is enough."""

    PUBLIC = "anybody, without a token"
    SIGNED_IN = "anybody with a good token"
    MEMBER = "members of the project"
    DEVELOPER = "developers of the project"
    PROJECT_ADMIN = "administrators of the project"
    SERVER_ADMIN = "the server's administrator"

    @property
    def role(self) -> Role | None:
        """The role in the project of the path, if that is what counts."""
        return Role.__members__.get(self.name.removeprefix("PROJECT_"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRequest(Generic[InputT]):
    """One authenticated request.

    Attributes:
        caller: Who sent it.
        role: Their role in the project of the path; None on paths without one.
        params: Parts of the path.
        input: The checked body, or the checked query of a GET.
        http: The request itself, for handlers that stream.
    """

    caller: Caller
    role: Role | None
    params: Mapping[str, str]
    input: InputT
    http: web.Request

    @property
    def project_id(self) -> str:
        return self.params["project_id"]


Handler = Callable[[ApiRequest[Any]], Awaitable[BaseModel | web.StreamResponse]]


class NoBody(BaseModel):
    """No body and no query."""


class RawBody(BaseModel):
    """Marks bodies that are bytes, not JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the table.

    Attributes:
        name: Unique, in snake_case: the operation's id, and the client's method where it has one.
        path: With `{parameters}`.
        summary: What it does, in a line.
        access: Who may.
        handler: Serves it.
        body: Model of the request's JSON; `RawBody` for bytes; None for no body.
        query: Model of the query, if it has one.
        answer: Model of the answer; `RawBody` for bytes; None for an empty one.
        status: Of a success.
    """

    name: str
    method: str
    path: str
    summary: str
    access: Access
    handler: Handler
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: int = 200

    @property
    def tag(self) -> str:
        """The group in which documentation shows it."""
        parts = [part for part in self.path.split("/") if part and not part.startswith("{")]
        if parts[0] != "accounts":
            return parts[0]
        return parts[2] if len(parts) > 2 and parts[1] == "projects" else parts[1]


def serve(route: Route, authenticator: ApiAuthenticator, rates: RequestRates) -> web.RouteDef:
    """The route for aiohttp: authentication, access, checked input, one shape of answers.

    Errors are raised, for `error_middleware` to answer.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            answer = await _answer(route, authenticator, rates, request)
        except UnauthenticatedError as error:
            response = error_response(error)
            response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="accounts"'
            return response
        if isinstance(answer, web.StreamResponse):
            return answer
        if route.answer is None:
            return web.Response(status=route.status)
        return _json(answer.model_dump(mode="json", exclude_none=True), status=route.status)

    return web.route(route.method, route.path, handle)


async def _answer(
    route: Route, authenticator: ApiAuthenticator, rates: RequestRates, request: web.Request
) -> BaseModel | web.StreamResponse:
    params = _parameters(request)
    caller, role = Caller(kind="user", name="anybody"), None
    if route.access is not Access.PUBLIC:
        caller = await authenticator.identify(_bearer(request))
    if route.access is Access.SERVER_ADMIN and caller.kind != "administrator":
        raise PermissionDeniedError("only the server's administrator may do this")
    if route.access.role is not None:
        role = await authenticator.require_role(caller, params["project_id"], route.access.role)
    if caller.kind != "administrator" and route.access is not Access.PUBLIC:
        project_id = caller.project_id if role is None else params["project_id"]
        rates.count_caller(project_id, caller.user_id or f"{caller.name} of {caller.project_id}")
    if route.method in ("PUT", "PATCH", "DELETE"):
        refuse_part(request)
        refuse_conditions(request)
    given = await _input(route, request)
    return await route.handler(ApiRequest(caller=caller, role=role, params=params, input=given, http=request))


def _parameters(request: web.Request) -> dict[str, str]:
    for value in request.match_info.values():
        if len(value) > _MAX_PARAMETER_CHARS or any(char < " " or "\ud800" <= char <= "\udfff" for char in value):
            raise NotFoundError("invalid path parameter: too long, or with control characters")
    return dict(request.match_info)


def _bearer(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def _input(route: Route, request: web.Request) -> BaseModel:
    try:
        if route.query is not None:
            return route.query.model_validate(dict(request.query))
        if route.body is not None and route.body is not RawBody:
            return route.body.model_validate_json(await read_body(request, MAX_BODY_BYTES) or b"{}")
    except ValidationError as error:
        raise InvalidRequestError(_validation_message(error)) from None
    return NoBody()


def _validation_message(error: ValidationError) -> str:
    """In words, without the values: they may be secrets."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}".removeprefix(": ")
        for problem in problems[:5]
    )


def _json(content: object, *, status: int) -> web.Response:
    return web.Response(body=jsontext.dumps(content), content_type="application/json", status=status)
