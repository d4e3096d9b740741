"""Paths of files on both sides: `room://…` in a room, everything else on this machine.

In `room://PATH` the room is the one that `--room`, a variable or a token names; where nothing names one, the first
part of the path does: `room://ROOM/PATH`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from meshagent.api.room.files import StorageEntry
from meshagent.cli.output import UsageError

SCHEME = "room://"

Lister = Callable[[str], Awaitable[Sequence[StorageEntry]]]
"""Lists one folder of a room."""


@dataclass(frozen=True, slots=True)
class RoomPath:
    """A path in a room; `room` is None where the command's options name the room."""

    room: str | None
    path: str


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file or folder of a room, by its whole path."""

    path: str
    entry: StorageEntry


def is_room_path(text: str) -> bool:
    """Whether `text` names something in a room."""
    return text.startswith(SCHEME)


def parse_room_path(text: str, *, default_room: str | None) -> RoomPath:
    """Take `room://…`, or a bare path, apart.

    Raises:
        UsageError: Nothing names the room.
    """
    if not is_room_path(text):
        return RoomPath(None, normal(text))
    rest = text.removeprefix(SCHEME)
    if default_room:
        return RoomPath(None, normal(rest))
    room, _, path = rest.partition("/")
    if not room:
        raise UsageError(f"{text!r} names no room: give --room, or write room://ROOM/PATH")
    return RoomPath(room, normal(path))


def normal(path: str) -> str:
    """A room path without outer and doubled slashes."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def join(folder: str, name: str) -> str:
    """A path inside a folder; the empty folder is the room's root."""
    return f"{folder}/{name}" if folder else name


def name_of(path: str) -> str:
    """The last part of a path."""
    return path.rpartition("/")[2]


def is_pattern(path: str) -> bool:
    """Whether the path has wildcards: `*`, `?`, `[…]`, and `**` for any number of folders."""
    return any(character in path for character in "*?[")


async def expand(list_folder: Lister, pattern: str) -> list[FoundFile]:
    """What a pattern matches, in alphabetical order. Names that begin with a dot only match a dot in the pattern."""
    found: dict[str, FoundFile] = {}
    async for match in _matches(list_folder, "", pattern.split("/")):
        found[match.path] = match
    return [found[path] for path in sorted(found)]


async def _matches(list_folder: Lister, folder: str, parts: Sequence[str]) -> AsyncIterator[FoundFile]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        async for match in _matches(list_folder, folder, rest or ["*"]):
            yield match
    elif rest and not is_pattern(part):  # no need to list what the pattern spells out
        async for match in _matches(list_folder, join(folder, part), rest):
            yield match
        return
    for entry in await list_folder(folder):
        path = join(folder, entry.name)
        if part == "**":
            if entry.is_folder and not entry.name.startswith("."):
                async for match in _matches(list_folder, path, parts):
                    yield match
        elif _fits(entry.name, part):
            if not rest:
                yield FoundFile(path, entry)
            elif entry.is_folder:
                async for match in _matches(list_folder, path, rest):
                    yield match


def _fits(name: str, part: str) -> bool:
    return fnmatchcase(name, part) and (part.startswith(".") or not name.startswith("."))


async def walk(list_folder: Lister, folder: str) -> list[FoundFile]:
    """All files and folders below a folder, each folder before what is in it."""
    found = []
    for entry in sorted(await list_folder(folder), key=lambda entry: entry.name):
        path = join(folder, entry.name)
        found.append(FoundFile(path, entry))
        if entry.is_folder:
            found.extend(await walk(list_folder, path))
    return found
