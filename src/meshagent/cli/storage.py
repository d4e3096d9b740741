"""`meshagent storage`: list, copy and delete files of a room."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from meshagent.cli.command import command
from meshagent.cli.context import RoomTarget, find_room_access, room_session
from meshagent.cli.output import CommandError, ExitCode, JsonOption, UsageError, content_writer, echo, note, print_rows

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.cli.paths import FoundFile

app = typer.Typer(
    help="List, copy and delete files of a room. Paths may contain wildcards: `*`, `?`, `[…]`, `**`. Quote them.",
    no_args_is_help=True,
)

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="Path in the room, or room://PATH.")]
Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Include folders with their contents.")]
COLUMNS = ("path", "kind", "size", "updated_at")


@command(app, "ls")
async def ls(
    target: RoomTarget,
    path: Annotated[str, typer.Argument(metavar="PATH", help="Folder, file or pattern.")] = "",
    recursive: Recursive = False,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Include hidden files.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List files."""
    from meshagent.cli.paths import is_pattern, name_of, walk

    target, wanted = _in_room(target, path)
    async with room_session(target) as room:
        if is_pattern(wanted):
            found = await _existing(room, wanted)
        elif recursive:
            found = await walk(room.storage.list, wanted)
        else:
            found = await _listed(room, wanted)
    hidden = [file for file in found if any(part.startswith(".") for part in file.path.split("/"))]
    if not (show_all or name_of(wanted).startswith(".") or "/." in wanted):
        found = [file for file in found if file not in hidden]
    rows = [
        {
            "path": file.path,
            "kind": "folder" if file.entry.is_folder else "file",
            "size": file.entry.size,
            "created_at": file.entry.created_at,
            "updated_at": file.entry.updated_at,
        }
        for file in found
    ]
    print_rows(rows, COLUMNS, as_json=as_json, empty="no files")


async def _listed(room: RoomClient, path: str) -> list[FoundFile]:
    """Return the contents of a folder, or the file itself."""
    from meshagent.cli.paths import FoundFile, join

    entry = await room.storage.stat(path) if path else None
    if path and entry is None:
        raise _missing(path)
    if entry is not None and not entry.is_folder:
        return [FoundFile(path, entry)]
    entries = await room.storage.list(path)
    return [FoundFile(join(path, item.name), item) for item in sorted(entries, key=lambda item: item.name)]


async def _existing(room: RoomClient, pattern: str) -> list[FoundFile]:
    """Return what a path or pattern matches; CommandError if there is nothing."""
    from meshagent.cli.paths import FoundFile, expand, is_pattern

    if is_pattern(pattern):
        found = await expand(room.storage.list, pattern)
    else:
        entry = await room.storage.stat(pattern)
        found = [] if entry is None else [FoundFile(pattern, entry)]
    if not found:
        raise _missing(pattern)
    return found


@command(app, "exists")
async def exists(target: RoomTarget, path: PathArgument) -> None:
    """Print whether a file or folder exists. Exit code 3 if not."""
    target, wanted = _in_room(target, path)
    async with room_session(target) as room:
        found = await room.storage.exists(wanted)
    echo("true" if found else "false")
    if not found:
        raise typer.Exit(ExitCode.NOT_FOUND)


@command(app, "show", "cat")
async def show(target: RoomTarget, path: PathArgument) -> None:
    """Print the content of a file; on a terminal, control characters are shown as escapes."""
    from meshagent.cli.room_http import http_room

    target, wanted = _in_room(target, path)
    async with http_room(await find_room_access(target)) as room:
        write = content_writer()
        async for chunk in room.download(wanted):
            write(chunk)
    sys.stdout.buffer.flush()


@command(app, "cp")
async def cp(
    target: RoomTarget,
    paths: Annotated[list[str], typer.Argument(metavar="SOURCE... DESTINATION", help="Paths; room://… is the room.")],
    recursive: Recursive = False,
    keep: Annotated[bool, typer.Option("--no-overwrite", "-n", help="Fail where a file is there already.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Do not show progress.")] = False,
) -> None:
    """Copy files between this machine and rooms, or between rooms."""
    from meshagent.cli.file_copy import Copier

    if len(paths) < 2:
        raise UsageError("cp requires a source and a destination")
    async with Copier(target, recursive=recursive, overwrite=not keep, quiet=quiet) as copier:
        count = await copier.copy(paths[:-1], paths[-1])
    if not quiet:
        note(f"copied {count} file{'' if count == 1 else 's'}")


@command(app, "mv")
async def mv(
    target: RoomTarget,
    source: PathArgument,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="New path.")],
    keep: Annotated[bool, typer.Option("--no-overwrite", "-n", help="Fail where a file is there already.")] = False,
) -> None:
    """Move or rename a file within the room."""
    target, old = _in_room(target, source)
    _, new = _in_room(target, destination)
    async with room_session(target) as room:
        await room.storage.move(old, new, overwrite=not keep)


@command(app, "rm")
async def rm(
    target: RoomTarget,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Paths or patterns.")],
    recursive: Recursive = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Succeed if nothing exists there.")] = False,
) -> None:
    """Delete files, and folders with -r."""
    for path in paths:
        place, wanted = _in_room(target, path)
        if not wanted:
            raise UsageError("the root folder of a room cannot be deleted")
        async with room_session(place) as room:
            try:
                found = await _existing(room, wanted)
            except CommandError:
                if force:
                    continue
                raise
            for file in found:
                if file.entry.is_folder and not recursive:
                    raise UsageError(f"{file.path} is a folder: use -r to delete it with its contents")
            for file in found:
                await room.storage.delete(file.path, recursive=recursive)


@command(app, "url")
async def url(
    target: RoomTarget,
    path: PathArgument,
    download: Annotated[bool, typer.Option("--download", help="Make browsers save the file.")] = False,
) -> None:
    """Print a URL from which anyone can download the file for a limited time."""
    target, wanted = _in_room(target, path)
    async with room_session(target) as room:
        echo(await room.storage.download_url(wanted, download=download))


def _in_room(target: RoomTarget, path: str) -> tuple[RoomTarget, str]:
    """Return the target with the room named in a path, and the path in that room."""
    from meshagent.cli.file_copy import at_room, has_room
    from meshagent.cli.paths import parse_room_path

    place = parse_room_path(path, default_room=target.room or ("given" if has_room(target) else None))
    return at_room(target, place.room), place.path


def _missing(path: str) -> CommandError:
    return CommandError(f"no such file or folder: {path!r}", code=ExitCode.NOT_FOUND)
