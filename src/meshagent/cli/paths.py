"""Parse and expand paths: `room://…` is in a room, everything else on this machine.

In `room://PATH`, the room is determined by `--room`, an environment variable or a token. Without these, the first
segment of the path is the room: `room://ROOM/PATH`.
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
    """A path in a room. `room` is None if the command's options determine the room."""

    room: str | None
    path: str


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file or folder of a room with its full path."""

    path: str
    entry: StorageEntry


def is_room_path(text: str) -> bool:
    """Whether `text` is a path in a room."""
    return text.startswith(SCHEME)


def parse_room_path(text: str, *, default_room: str | None) -> RoomPath:
    """Parse `room://…`, or a plain path in the default room.

    Raises:
        UsageError: The room is not determined.
    """
    if not is_room_path(text):
        return RoomPath(None, normal(text))
    rest = text.removeprefix(SCHEME)
    if default_room:
        return RoomPath(None, normal(rest))
    room, _, path = rest.partition("/")
    if not room:
        raise UsageError(f"{text!r} does not name a room: use --room, or room://ROOM/PATH")
    return RoomPath(room, normal(path))


def normal(path: str) -> str:
    """Return a room path without leading, trailing and repeated slashes."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def join(folder: str, name: str) -> str:
    """Return the path of `name` in a folder. The empty path is the room's root folder."""
    return f"{folder}/{name}" if folder else name


def name_of(path: str) -> str:
    """Return the last segment of a path."""
    return path.rpartition("/")[2]


def is_pattern(path: str) -> bool:
    """Whether the path contains wildcards: `*`, `?`, `[…]`, or `**` for any number of folders."""
    return any(character in path for character in "*?[")


async def expand(list_folder: Lister, pattern: str) -> list[FoundFile]:
    """Return what a pattern matches, sorted by path. Hidden names only match patterns that start with a dot."""
    found: dict[str, FoundFile] = {}
    async for match in _matches(list_folder, "", pattern.split("/")):
        found[match.path] = match
    return [found[path] for path in sorted(found)]


async def _matches(list_folder: Lister, folder: str, parts: Sequence[str]) -> AsyncIterator[FoundFile]:
    part, rest = parts[0], parts[1:]
    if part == "**":
        async for match in _matches(list_folder, folder, rest or ["*"]):
            yield match
    elif rest and not is_pattern(part):  # a literal folder need not be listed
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
    """Return all files and folders below a folder, each folder before its contents."""
    found = []
    for entry in sorted(await list_folder(folder), key=lambda entry: entry.name):
        path = join(folder, entry.name)
        found.append(FoundFile(path, entry))
        if entry.is_folder:
            found.extend(await walk(list_folder, path))
    return found
