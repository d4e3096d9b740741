"""`meshagent room`: manage a project's rooms. Also groups the commands that work in one room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Annotated, ClassVar

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, RoomTarget, accounts_session, all_pages, find_room_access
from meshagent.cli.lazy import LazyGroup
from meshagent.cli.output import CommandError, ExitCode, JsonOption, UsageError, echo, print_json, print_rows


class _Room(LazyGroup):
    """Makes the command groups for one room available under `meshagent room` too."""

    entry_points: ClassVar[Mapping[str, str]] = {
        "agents": "meshagent.cli.agents:app",
        "call": "meshagent.cli.call:app",
        "chat": "meshagent.cli.chat:chat",
        "database": "meshagent.cli.database:app",
        "developer": "meshagent.cli.developer:app",
        "document": "meshagent.cli.document:app",
        "messaging": "meshagent.cli.messaging:app",
        "queue": "meshagent.cli.queue:app",
        "storage": "meshagent.cli.storage:app",
    }


app = typer.Typer(cls=_Room, help="Manage rooms and their contents.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="ROOM", help="Name of the room.")]


@app.callback()
def room() -> None:
    """Manage rooms and their contents."""


@command(app, "connect", context_settings={"allow_interspersed_args": False})
async def connect(
    target: RoomTarget,
    words: Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND...", help="Command to run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a command with the room's URL and a token in its environment; without a command, print these variables.

    Exits with the exit code of the command.
    """
    entry = await find_room_access(target)
    variables = {"MESHAGENT_ROOM": entry.room_name, "MESHAGENT_ROOM_URL": entry.url, "MESHAGENT_TOKEN": entry.token}
    if not words:
        if as_json:
            print_json(variables)
        else:
            for name, value in variables.items():
                echo(f"{name}={value}")
        return
    from meshagent.api.helpers import meshagent_base_url

    url = {"MESHAGENT_API_URL": meshagent_base_url(target.api_url)}
    try:
        # Not os.exec: after replacing this process, nothing could report that the command is missing.
        ended = subprocess.run(words, env={**os.environ, **url, **variables}, check=False)  # noqa: S603, ASYNC221
    except FileNotFoundError:
        raise CommandError(f"command not found: {words[0]!r}", code=ExitCode.NOT_FOUND) from None
    except OSError as error:
        raise UsageError(f"cannot run {words[0]!r}: {error}") from None
    raise typer.Exit(ended.returncode if ended.returncode >= 0 else 128 - ended.returncode)


@command(app, "list", "ls")
async def list_rooms(target: AccountTarget, as_json: JsonOption = False) -> None:
    """List the rooms of the project."""
    async with accounts_session(target) as (accounts, project_id):
        rooms = await all_pages(accounts.list_rooms, "rooms", project_id=project_id)
    print_rows(rooms, ("name", "id", "is_active"), as_json=as_json, empty="this project has no rooms")


@command(app, "create")
async def create(
    target: AccountTarget,
    name: NameArgument,
    if_not_exists: Annotated[bool, typer.Option("--if-not-exists", help="Succeed if the room exists.")] = False,
) -> None:
    """Create a room, and print its id. Joining a room also creates it."""
    async with accounts_session(target) as (accounts, project_id):
        made = await accounts.create_room(project_id=project_id, name=name, if_not_exists=if_not_exists)
    echo(made["id"])


@command(app, "rename")
async def rename(
    target: AccountTarget,
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="New name of the room.")],
) -> None:
    """Rename a room. Its data stays with it."""
    async with accounts_session(target) as (accounts, project_id):
        found = await accounts.get_room(project_id=project_id, name=name)
        await accounts.update_room(project_id=project_id, room_id=found["id"], name=new_name)


@command(app, "delete", "rm")
async def delete(
    target: AccountTarget,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a room with all its data."""
    if not yes:
        typer.confirm(f"Delete room {name!r} with its files, documents and tables?", abort=True, err=True)
    async with accounts_session(target) as (accounts, project_id):
        found = await accounts.get_room(project_id=project_id, name=name)
        await accounts.delete_room(project_id=project_id, room_id=found["id"])
