"""Options for the server, project and room of a command; credentials and connections for them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshagent.cli.command import Options
from meshagent.cli.output import CommandError, ExitCode, UsageError

if TYPE_CHECKING:
    from meshagent.api.accounts.client import AccountsClient
    from meshagent.api.profile import Credentials
    from meshagent.api.room.client import RoomClient
    from meshagent.api.tokens.token import ParticipantToken

PANEL = "Connection options"
DEFAULT_NAME = "cli"

ApiUrl = Annotated[
    str | None,
    typer.Option(envvar="MESHAGENT_API_URL", help="URL of the server.", rich_help_panel=PANEL, show_envvar=True),
]
ProjectId = Annotated[
    str | None, typer.Option(help="Id of the project. Default: that of the active API key.", rich_help_panel=PANEL)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTarget(Options):
    """Server and project of a command that uses the REST API."""

    project_id: ProjectId = None
    api_url: ApiUrl = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomTarget(Options):
    """Room of a command, and the participant as which it joins."""

    room: Annotated[
        str | None, typer.Option(envvar="MESHAGENT_ROOM", help="Name of the room.", rich_help_panel=PANEL)
    ] = None
    name: Annotated[str | None, typer.Option(help="Participant name to join with.", rich_help_panel=PANEL)] = None
    role: Annotated[str | None, typer.Option(help="Role: user, agent or tool.", rich_help_panel=PANEL)] = None
    project_id: ProjectId = None
    api_key_id: Annotated[
        str | None, typer.Option(help="Id of the API key that signs the token.", rich_help_panel=PANEL)
    ] = None
    token_path: Annotated[
        Path | None,
        typer.Option(envvar="MESHAGENT_TOKEN_PATH", help="File with the token to join with.", rich_help_panel=PANEL),
    ] = None
    api_url: ApiUrl = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAccess:
    """What is needed to join a room: its name, WebSocket URL and a token."""

    room_name: str
    url: str
    token: str


# Rooms


@asynccontextmanager
async def room_session(target: RoomTarget, *, stay: bool = False) -> AsyncIterator[RoomClient]:
    """Join the room for the length of the block.

    With `stay`, the client reconnects after a lost connection; otherwise the command fails at once.

    With `stay`, the client reconnects after a lost connection; otherwise the command fails at once.
    """
    from meshagent.api.room.client import RoomClient
    from meshagent.api.transport.websocket import WebSocketClientProtocol

    entry = await find_room_access(target)
    protocol = WebSocketClientProtocol(url=entry.url, token=entry.token)
    async with RoomClient(protocol=protocol, auto_reconnect=stay) as room:
        yield room


async def find_room_access(target: RoomTarget) -> RoomAccess:
    """Where to join, and with which token: that of `--token-path` or the environment, else one signed now."""
    from meshagent.api.helpers import websocket_room_url
    from meshagent.api.tokens.token import ParticipantToken

    ready = ready_token(target)
    if ready is not None:
        room_name = target.room or _room_of(ParticipantToken.from_jwt(ready, validate=False))
        url = os.environ.get("MESHAGENT_ROOM_URL") if target.room in (None, os.environ.get("MESHAGENT_ROOM")) else None
        url = url or websocket_room_url(room_name=room_name, base_url=target.api_url)
        return RoomAccess(room_name=room_name, url=url, token=ready)
    room_name = named_room(target)
    jwt = await sign_token(target, room_name=room_name, name=target.name or DEFAULT_NAME, role=target.role)
    return RoomAccess(
        room_name=room_name, url=websocket_room_url(room_name=room_name, base_url=target.api_url), token=jwt
    )


def named_room(target: RoomTarget) -> str:
    """Return the name of the room; UsageError if none is given."""
    if not target.room:
        raise UsageError("no room given: use --room, or set MESHAGENT_ROOM")
    return target.room


def ready_token(target: RoomTarget) -> str | None:
    """Return the given token, or None if a new one must be signed because there is none or options require it."""
    if target.token_path is not None:
        return _read_token(target.token_path)
    given = os.environ.get("MESHAGENT_TOKEN")
    if not given or target.name or target.role or target.project_id or target.api_key_id:
        return None
    from meshagent.api.tokens.token import ParticipantToken

    if target.room and not ParticipantToken.from_jwt(given, validate=False).allows_room(target.room):
        return None
    return given.strip()


async def sign_token(
    target: RoomTarget, *, room_name: str, name: str, role: str | None = None, scope: Any = None
) -> str:
    """Return a token for the room, signed with the selected API key."""
    from meshagent.api.tokens.token import ParticipantToken

    key = await signing_key(target)
    token = ParticipantToken(name=name, project_id=key.project_id, api_key_id=key.key_id)
    token.add_room_grant(room_name=room_name, role=role)
    if scope is not None:
        token.add_api_grant(scope)
    return token.to_jwt(secret=key.secret)


async def signing_key(target: RoomTarget) -> Credentials:
    """Return the active API key, or the one selected by `--project-id` and `--api-key-id`, fetched from the server."""
    from meshagent.api.errors import NotFoundError
    from meshagent.api.profile import Credentials, find_credentials

    try:
        active = find_credentials()
    except NotFoundError:
        if target.api_key_id is None:
            raise
    else:
        if target.project_id in (None, active.project_id) and target.api_key_id in (None, active.key_id):
            return active
    account = AccountTarget(project_id=target.project_id, api_url=target.api_url)
    async with accounts_session(account) as (accounts, project_id):
        key_id = target.api_key_id or await first_key(accounts, project_id)
        secret = (await accounts.decrypt_project_api_key(project_id, key_id))["token"]
    return Credentials(project_id=project_id, key_id=key_id, secret=secret)


async def first_key(accounts: AccountsClient, project_id: str) -> str:
    """Return the id of the project's first API key; CommandError if it has none."""
    keys = (await accounts.list_project_api_keys(project_id))["keys"]
    if not keys:
        raise CommandError(
            f"project {project_id} has no API key", code=ExitCode.NOT_FOUND, hint="`meshagent api-key create NAME`"
        )
    return str(keys[0]["id"])


def _read_token(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise CommandError(f"cannot read the token: {error}", code=ExitCode.NOT_FOUND) from None


def _room_of(token: ParticipantToken) -> str:
    room = token.grant_scope("room")
    if not isinstance(room, str):
        raise UsageError("the token does not name one room: use --room")
    return room


# REST API


@asynccontextmanager
async def accounts_session(target: AccountTarget) -> AsyncIterator[tuple[AccountsClient, str]]:
    """Open a REST API client, and determine the id of the command's project."""
    async with accounts_client(target.api_url) as accounts:
        yield accounts, target.project_id or await _default_project(accounts)


@asynccontextmanager
async def accounts_client(api_url: str | None = None, token: str | None = None) -> AsyncIterator[AccountsClient]:
    """Open a REST API client with `token`, or else with the active credentials."""
    from meshagent.api.accounts.client import AccountsClient
    from meshagent.api.helpers import meshagent_base_url

    accounts = AccountsClient(base_url=meshagent_base_url(api_url), token=token or account_token())
    try:
        yield accounts
    finally:
        await accounts.close()


def account_token() -> str:
    """Return the credentials for the REST API: the administrator's token, or else the active API key.

    Raises:
        CommandError: There is neither.
    """
    from meshagent.api.errors import RoomException
    from meshagent.api.profile import find_credentials, load_profile
    from meshagent.api.tokens.api_key import ApiKey

    found = os.environ.get("MESHAGENT_ADMIN_TOKEN") or load_profile().admin_token
    if found:
        return found
    try:
        key = find_credentials()
        return ApiKey(project_id=key.project_id or "", key_id=key.key_id or "", secret=key.secret).encode()
    except RoomException:
        raise CommandError(
            "no credentials for the server's REST API",
            code=ExitCode.NOT_ALLOWED,
            hint="run `meshagent auth login --token TOKEN`, or set MESHAGENT_ADMIN_TOKEN",
        ) from None


async def all_pages(list_page: Callable[..., Awaitable[Any]], member: str, **arguments: Any) -> list[dict[str, Any]]:
    """Return all entries of a paginated listing; `member` is the name of the list in each page."""
    entries: list[dict[str, Any]] = []
    offset: int | None = None
    while True:
        page = await list_page(**arguments, offset=offset)
        entries += page[member]
        offset = page.get("next_offset")
        if offset is None:
            return entries


async def _default_project(accounts: AccountsClient) -> str:
    """Return the project of the active API key, or else the only project on the server."""
    from meshagent.api.errors import NotFoundError
    from meshagent.api.profile import find_credentials, load_profile

    try:
        project_id = find_credentials().project_id or load_profile().project_id
    except NotFoundError:
        project_id = os.environ.get("MESHAGENT_PROJECT_ID") or load_profile().project_id
    if project_id:
        return project_id
    projects = (await accounts.list_projects())["projects"]
    if len(projects) != 1:
        raise UsageError(
            f"the server has {len(projects)} projects: choose one with --project-id",
            hint="`meshagent project activate ID` makes it the default",
        )
    return str(projects[0]["id"])
