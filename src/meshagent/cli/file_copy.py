"""Copying files between this machine and rooms: what `meshagent storage cp` does."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from glob import glob
from pathlib import Path
from types import TracebackType
from typing import Self

from meshagent.api.room.client import RoomClient
from meshagent.cli.context import RoomTarget, find_entry, ready_token, room_session
from meshagent.cli.output import CommandError, ExitCode, UsageError, console
from meshagent.cli.paths import RoomPath, expand, is_pattern, is_room_path, join, name_of, parse_room_path, walk
from meshagent.cli.room_http import CHUNK_BYTES, HttpRoom, http_room

Advance = Callable[[int], None]
"""Told how many more bytes have arrived."""


def at_room(target: RoomTarget, room: str | None) -> RoomTarget:
    """The target with another room, where one is named."""
    return target if room is None else replace(target, room=room)


def has_room(target: RoomTarget) -> bool:
    """Whether the options, a variable or a token name the room."""
    return bool(target.room) or ready_token(target) is not None


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to be copied: from a room or this machine, to a room or this machine."""

    source: RoomPath | Path
    destination: RoomPath | Path
    size: int | None


@dataclass(frozen=True, slots=True)
class _Session:
    """A room that is joined, and its HTTP addresses."""

    room: RoomClient
    http: HttpRoom


class Copier:
    """Copies files; joins each room that it meets once. Use it as an async context manager.

    A file appears at its destination when all of it has arrived, never before.
    """

    def __init__(self, target: RoomTarget, *, recursive: bool, overwrite: bool, quiet: bool) -> None:
        self._target = target
        self._recursive = recursive
        self._overwrite = overwrite
        self._quiet = quiet
        self._default_room = target.room or ("given" if has_room(target) else None)
        self._sessions: dict[str | None, _Session] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def copy(self, sources: Sequence[str], destination: str) -> int:
        """Copy; returns how many files.

        Raises:
            UsageError: A folder without `recursive`, or several sources to what is no folder.
            CommandError: A source does not exist, or the destination does and is not to be replaced.
        """
        target = self._place(destination)
        into_folder = destination.endswith("/") or await self._is_folder(target)
        jobs = [job for source in sources for job in await self._jobs(source, target, into_folder=into_folder)]
        if len(jobs) > 1 and not into_folder and not self._recursive:
            raise UsageError(f"{destination} is not a folder: end it with a slash to make it one")
        for job in jobs:
            with self._progress(job) as advance:
                await self._run(job, advance)
        return len(jobs)

    # -- what is to be done

    def _place(self, text: str) -> RoomPath | Path:
        if is_room_path(text):
            return parse_room_path(text, default_room=self._default_room)
        return Path(text).expanduser()

    async def _jobs(self, source: str, target: RoomPath | Path, *, into_folder: bool) -> list[_Job]:
        if is_room_path(source):
            return await self._jobs_from_room(
                parse_room_path(source, default_room=self._default_room), target, into_folder
            )
        return self._jobs_from_here(source, target, into_folder)

    async def _jobs_from_room(self, source: RoomPath, target: RoomPath | Path, into_folder: bool) -> list[_Job]:
        storage = (await self._session(source.room)).room.storage
        if is_pattern(source.path):
            found = [(file.path, file.entry) for file in await expand(storage.list, source.path)]
        else:
            entry = await storage.stat(source.path)
            found = [] if entry is None else [(source.path, entry)]
        if not found:
            raise CommandError(f"there is nothing at room path {source.path!r}", code=ExitCode.NOT_FOUND)
        jobs = []
        for path, entry in found:
            base = _inside(target, name_of(path)) if into_folder else target
            if not entry.is_folder:
                jobs.append(_Job(RoomPath(source.room, path), base, entry.size))
                continue
            self._require_recursive(path)
            for file in await walk(storage.list, path):
                if not file.entry.is_folder:
                    relative = file.path.removeprefix(path).lstrip("/")
                    jobs.append(_Job(RoomPath(source.room, file.path), _inside(base, relative), file.entry.size))
        return jobs

    def _jobs_from_here(self, source: str, target: RoomPath | Path, into_folder: bool) -> list[_Job]:
        pattern = str(Path(source).expanduser())
        # A file whose name has brackets is a file and no pattern.
        found = (
            [Path(pattern)]
            if os.path.exists(pattern)
            else [Path(path) for path in sorted(glob(pattern, recursive=True))]
        )
        if not found:
            raise CommandError(f"there is no file {source!r} on this machine", code=ExitCode.NOT_FOUND)
        jobs = []
        for path in found:
            base = _inside(target, path.name) if into_folder else target
            if not path.is_dir():
                jobs.append(_Job(path, base, path.stat().st_size))
                continue
            self._require_recursive(str(path))
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    relative = file.relative_to(path).as_posix()
                    jobs.append(_Job(file, _inside(base, relative), file.stat().st_size))
        return jobs

    def _require_recursive(self, path: str) -> None:
        if not self._recursive:
            raise UsageError(f"{path} is a folder: give -r to copy it with all that is in it")

    async def _is_folder(self, place: RoomPath | Path) -> bool:
        if isinstance(place, Path):
            return await asyncio.to_thread(place.is_dir)
        if not place.path:
            return True
        entry = await (await self._session(place.room)).room.storage.stat(place.path)
        return entry is not None and entry.is_folder

    # -- doing it

    async def _session(self, room: str | None) -> _Session:
        if room not in self._sessions:
            target = at_room(self._target, room)
            http = await self._stack.enter_async_context(http_room(await find_entry(target)))
            client = await self._stack.enter_async_context(room_session(target))
            self._sessions[room] = _Session(client, http)
        return self._sessions[room]

    async def _run(self, job: _Job, advance: Advance) -> None:
        source, destination = job.source, job.destination
        if isinstance(destination, Path):
            if not self._overwrite and destination.exists():
                raise CommandError(f"{destination} exists already", code=ExitCode.CONFLICT)
            await _store(destination, self._content(source, advance))
        elif isinstance(source, Path):
            await self._upload(source, destination, advance)
        else:  # from room to room: by way of this machine, for an upload says its size first
            with tempfile.TemporaryDirectory() as folder:
                between = Path(folder, "file")
                await _store(between, self._content(source, advance))
                await self._upload(between, destination, lambda _: None)

    async def _content(self, source: RoomPath | Path, advance: Advance) -> AsyncIterator[bytes]:
        if isinstance(source, Path):
            pieces = _read(source)
        else:
            pieces = (await self._session(source.room)).http.download(source.path)
        async for piece in pieces:
            yield piece
            advance(len(piece))

    async def _upload(self, source: Path, destination: RoomPath, advance: Advance) -> None:
        http = (await self._session(destination.room)).http
        size = (await asyncio.to_thread(source.stat)).st_size
        await http.upload(destination.path, self._content(source, advance), size, overwrite=self._overwrite)

    @contextmanager
    def _progress(self, job: _Job) -> Iterator[Advance]:
        """A bar on standard error, if that is a terminal."""
        terminal = console(stderr=True)
        if self._quiet or not terminal.is_terminal:
            yield lambda _: None
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=terminal) as progress:
            task = progress.add_task(_label(job.source), total=job.size)
            yield lambda count: progress.advance(task, count)


def _inside(folder: RoomPath | Path, relative: str) -> RoomPath | Path:
    """A place below a folder. A name from a room cannot lead out of the folder on this machine.

    Raises:
        CommandError: It would.
    """
    if isinstance(folder, RoomPath):
        return RoomPath(folder.room, join(folder.path, relative))
    parts = relative.split("/")
    if any(part in ("", ".", "..") or os.sep in part or (os.altsep and os.altsep in part) for part in parts):
        raise CommandError(f"{relative!r} cannot be a file on this machine")
    return folder.joinpath(*parts)


def _label(source: RoomPath | Path) -> str:
    return source.name if isinstance(source, Path) else name_of(source.path)


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


async def _store(path: Path, pieces: AsyncIterator[bytes]) -> None:
    """Write a file under another name, and give it its own at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
        _give_usual_mode(temporary)
        os.replace(temporary, path)
    except BaseException:
        _discard(temporary)
        raise


def _discard(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _give_usual_mode(path: str) -> None:
    """The mode that a new file has here; temporary files are private."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)
