"""`meshagent room`: the rooms of a project, and all that is in a room under one name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Annotated, ClassVar

import typer

from meshagent.cli.command import command
from meshagent.cli.context import AccountTarget, RoomTarget, accounts_session, all_pages, find_entry
from meshagent.cli.lazy import LazyGroup
from meshagent.cli.output import CommandError, ExitCode, JsonOption, UsageError, print_json, print_rows


class _Room(LazyGroup):
    """The groups that are about one room, in their other place."""

    places: ClassVar[Mapping[str, str]] = {
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


app = typer.Typer(cls=_Room, help="Rooms, and what is in them.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="ROOM", help="The room's name.")]


@app.callback()
def room() -> None:
    """Rooms, and what is in them."""


@command(app, "connect", context_settings={"allow_interspersed_args": False})
async def connect(
    target: RoomTarget,
    words: Annotated[list[str] | None, typer.Argument(metavar="-- COMMAND...", help="What to run.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a command with the room's URL and a token in its environment; without one, print these.

    The exit code is the command's.
    """
    entry = await find_entry(target)
    variables = {"MESHAGENT_ROOM": entry.room_name, "MESHAGENT_ROOM_URL": entry.url, "MESHAGENT_TOKEN": entry.token}
    if not words:
        if as_json:
            print_json(variables)
        else:
            for name, value in variables.items():
                typer.echo(f"{name}={value}")
        return
    from meshagent.api.helpers import meshagent_base_url

    url = {"MESHAGENT_API_URL": meshagent_base_url(target.api_url)}
    try:
        # Replaced by the other program, this process could not tell of a missing one.
        ended = subprocess.run(words, env={**os.environ, **url, **variables}, check=False)  # noqa: S603, ASYNC221
    except FileNotFoundError:
        raise CommandError(f"there is no command {words[0]!r}", code=ExitCode.NOT_FOUND) from None
    except OSError as error:
        raise UsageError(f"{words[0]!r} cannot be run: {error}") from None
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
    if_not_exists: Annotated[bool, typer.Option("--if-not-exists", help="It is no failure if there is one.")] = False,
) -> None:
    """Make a room, and print its id. Joining a room makes it, too."""
    async with accounts_session(target) as (accounts, project_id):
        made = await accounts.create_room(project_id=project_id, name=name, if_not_exists=if_not_exists)
    typer.echo(made["id"])


@command(app, "rename")
async def rename(
    target: AccountTarget,
    name: NameArgument,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="Its new name.")],
) -> None:
    """Rename a room; its data comes along."""
    async with accounts_session(target) as (accounts, project_id):
        found = await accounts.get_room(project_id=project_id, name=name)
        await accounts.update_room(project_id=project_id, room_id=found["id"], name=new_name)


@command(app, "delete", "rm")
async def delete(
    target: AccountTarget,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a room with all that is in it."""
    if not yes:
        typer.confirm(f"Delete the room {name!r} with its files, documents and tables?", abort=True, err=True)
    async with accounts_session(target) as (accounts, project_id):
        found = await accounts.get_room(project_id=project_id, name=name)
        await accounts.delete_room(project_id=project_id, room_id=found["id"])
