"""Which server, project and room a command is about, who it is there, and the way in."""

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

PANEL = "Where, and as whom"
DEFAULT_NAME = "cli"

ApiUrl = Annotated[
    str | None, typer.Option(envvar="MESHAGENT_API_URL", help="The server.", rich_help_panel=PANEL, show_envvar=True)
]
ProjectId = Annotated[
    str | None, typer.Option(help="The project; by default that of the key at hand.", rich_help_panel=PANEL)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTarget(Options):
    """The server and project that an administrative command is about."""

    project_id: ProjectId = None
    api_url: ApiUrl = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomTarget(Options):
    """The room that a command is about, and the participant that it joins as."""

    room: Annotated[
        str | None, typer.Option(envvar="MESHAGENT_ROOM", help="The room's name.", rich_help_panel=PANEL)
    ] = None
    name: Annotated[str | None, typer.Option(help="Join under this name.", rich_help_panel=PANEL)] = None
    role: Annotated[str | None, typer.Option(help="Join as user, agent or tool.", rich_help_panel=PANEL)] = None
    project_id: ProjectId = None
    api_key_id: Annotated[str | None, typer.Option(help="The key that signs the token.", rich_help_panel=PANEL)] = None
    token_path: Annotated[
        Path | None,
        typer.Option(envvar="MESHAGENT_TOKEN_PATH", help="Join with the token in this file.", rich_help_panel=PANEL),
    ] = None
    api_url: ApiUrl = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """All that joining takes."""

    room_name: str
    url: str
    token: str


# Rooms


@asynccontextmanager
async def room_session(target: RoomTarget, *, stay: bool = False) -> AsyncIterator[RoomClient]:
    """Join the room for the length of the block.

    With `stay`, a lost connection is made again; else it fails the command at once.
    """
    from meshagent.api.room.client import RoomClient
    from meshagent.api.transport.websocket import WebSocketClientProtocol

    entry = await find_entry(target)
    protocol = WebSocketClientProtocol(url=entry.url, token=entry.token)
    async with RoomClient(protocol=protocol, auto_reconnect=stay) as room:
        yield room


async def find_entry(target: RoomTarget) -> Entry:
    """Where to join, and with which token: that of `--token-path` or the environment, else one signed now."""
    from meshagent.api.helpers import websocket_room_url
    from meshagent.api.tokens.token import ParticipantToken

    ready = ready_token(target)
    if ready is not None:
        room_name = target.room or _room_of(ParticipantToken.from_jwt(ready, validate=False))
        url = os.environ.get("MESHAGENT_ROOM_URL") if target.room in (None, os.environ.get("MESHAGENT_ROOM")) else None
        url = url or websocket_room_url(room_name=room_name, base_url=target.api_url)
        return Entry(room_name=room_name, url=url, token=ready)
    room_name = named_room(target)
    jwt = await sign_token(target, room_name=room_name, name=target.name or DEFAULT_NAME, role=target.role)
    return Entry(room_name=room_name, url=websocket_room_url(room_name=room_name, base_url=target.api_url), token=jwt)


def named_room(target: RoomTarget) -> str:
    """The room's name; UsageError where nothing says it."""
    if not target.room:
        raise UsageError("which room? give --room, or set MESHAGENT_ROOM")
    return target.room


def ready_token(target: RoomTarget) -> str | None:
    """A token that was made for this command, if there is one and nothing asks for another."""
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
    """A token for the room, signed with the key that the options or the environment name."""
    from meshagent.api.tokens.token import ParticipantToken

    key = await signing_key(target)
    token = ParticipantToken(name=name, project_id=key.project_id, api_key_id=key.key_id)
    token.add_room_grant(room_name=room_name, role=role)
    if scope is not None:
        token.add_api_grant(scope)
    return token.to_jwt(secret=key.secret)


async def signing_key(target: RoomTarget) -> Credentials:
    """The key at hand; another one of `--project-id` and `--api-key-id` is fetched from the server."""
    from meshagent.api.errors import NotFoundError
    from meshagent.api.profile import Credentials, find_credentials

    try:
        at_hand = find_credentials()
    except NotFoundError:
        if target.api_key_id is None:
            raise
    else:
        if target.project_id in (None, at_hand.project_id) and target.api_key_id in (None, at_hand.key_id):
            return at_hand
    account = AccountTarget(project_id=target.project_id, api_url=target.api_url)
    async with accounts_session(account) as (accounts, project_id):
        key_id = target.api_key_id or await first_key(accounts, project_id)
        secret = (await accounts.decrypt_project_api_key(project_id, key_id))["token"]
    return Credentials(project_id=project_id, key_id=key_id, secret=secret)


async def first_key(accounts: AccountsClient, project_id: str) -> str:
    """The id of a key of the project; CommandError where it has none."""
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
        raise CommandError(f"the token cannot be read: {error}", code=ExitCode.NOT_FOUND) from None


def _room_of(token: ParticipantToken) -> str:
    room = token.grant_scope("room")
    if not isinstance(room, str):
        raise UsageError("the token opens no single room: give --room")
    return room


# Accounts


@asynccontextmanager
async def accounts_session(target: AccountTarget) -> AsyncIterator[tuple[AccountsClient, str]]:
    """The accounts REST API, and the id of the project that the command is about."""
    async with accounts_client(target.api_url) as accounts:
        yield accounts, target.project_id or await _default_project(accounts)


@asynccontextmanager
async def accounts_client(api_url: str | None = None, token: str | None = None) -> AsyncIterator[AccountsClient]:
    """The accounts REST API, with `token` or whatever is at hand to open it."""
    from meshagent.api.accounts.client import AccountsClient
    from meshagent.api.helpers import meshagent_base_url

    accounts = AccountsClient(base_url=meshagent_base_url(api_url), token=token or account_token())
    try:
        yield accounts
    finally:
        await accounts.close()


def account_token() -> str:
    """What opens the accounts REST API: the administrator's token at hand, else the project's key.

    Raises:
        CommandError: There is neither; the text says how to get one.
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
            "there is no token that opens the server's accounts",
            code=ExitCode.NOT_ALLOWED,
            hint="`meshagent auth login --token TOKEN`, or set MESHAGENT_ADMIN_TOKEN",
        ) from None


async def all_pages(list_page: Callable[..., Awaitable[Any]], member: str, **arguments: Any) -> list[dict[str, Any]]:
    """All entries of a listing that comes in pages: its member of that name, page after page."""
    entries: list[dict[str, Any]] = []
    offset: int | None = None
    while True:
        page = await list_page(**arguments, offset=offset)
        entries += page[member]
        offset = page.get("next_offset")
        if offset is None:
            return entries


async def _default_project(accounts: AccountsClient) -> str:
    """The project of the key at hand, else the only project that there is."""
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
            f"which of the {len(projects)} projects? give --project-id", hint="`meshagent project activate ID` keeps it"
        )
    return str(projects[0]["id"])
