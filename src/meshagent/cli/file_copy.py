"""`Copier`: copies files between this machine and rooms, for `meshagent storage cp`."""

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
from meshagent.api.visible_text import visible_line
from meshagent.cli.context import RoomTarget, find_room_access, ready_token, room_session
from meshagent.cli.output import CommandError, ExitCode, UsageError, console
from meshagent.cli.paths import RoomPath, expand, is_pattern, is_room_path, join, name_of, parse_room_path, walk
from meshagent.cli.room_http import CHUNK_BYTES, HttpRoom, http_room

Advance = Callable[[int], None]
"""Called with the number of bytes copied since the last call."""


def at_room(target: RoomTarget, room: str | None) -> RoomTarget:
    """Return the target with another room, if one is given."""
    return target if room is None else replace(target, room=room)


def has_room(target: RoomTarget) -> bool:
    """Whether an option, an environment variable or a token determines the room."""
    return bool(target.room) or ready_token(target) is not None


@dataclass(frozen=True, slots=True)
class _CopyJob:
    """One file to copy, from a room or this machine to a room or this machine."""

    source: RoomPath | Path
    destination: RoomPath | Path
    size: int | None


@dataclass(frozen=True, slots=True)
class _Session:
    """Connections to one room: a room client for listings, HTTP for contents."""

    room: RoomClient
    http: HttpRoom


class Copier:
    """Copies files. Joins each room involved once. Use it as an async context manager.

    A file appears at its destination only when it is complete.
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
        """Copy files and return their number.

        Raises:
            UsageError: A source is a folder and `recursive` is false, or there are several sources and the destination
                is not a folder.
            CommandError: A source does not exist, or a destination exists and `overwrite` is false.
        """
        target = self._parse_path(destination)
        into_folder = destination.endswith("/") or await self._is_folder(target)
        jobs = [job for source in sources for job in await self._jobs(source, target, into_folder=into_folder)]
        if len(jobs) > 1 and not into_folder and not self._recursive:
            raise UsageError(f"{destination} is not a folder: add a slash to create it")
        for job in jobs:
            with self._progress(job) as advance:
                await self._run(job, advance)
        return len(jobs)

    # -- planning

    def _parse_path(self, text: str) -> RoomPath | Path:
        if is_room_path(text):
            return parse_room_path(text, default_room=self._default_room)
        return Path(text).expanduser()

    async def _jobs(self, source: str, target: RoomPath | Path, *, into_folder: bool) -> list[_CopyJob]:
        if is_room_path(source):
            return await self._jobs_from_room(
                parse_room_path(source, default_room=self._default_room), target, into_folder
            )
        return self._jobs_from_local(source, target, into_folder)

    async def _jobs_from_room(self, source: RoomPath, target: RoomPath | Path, into_folder: bool) -> list[_CopyJob]:
        storage = (await self._session(source.room)).room.storage
        if is_pattern(source.path):
            found = [(file.path, file.entry) for file in await expand(storage.list, source.path)]
        else:
            entry = await storage.stat(source.path)
            found = [] if entry is None else [(source.path, entry)]
        if not found:
            raise CommandError(f"no such file or folder in the room: {source.path!r}", code=ExitCode.NOT_FOUND)
        jobs = []
        for path, entry in found:
            base = _inside(target, name_of(path)) if into_folder else target
            if not entry.is_folder:
                jobs.append(_CopyJob(RoomPath(source.room, path), base, entry.size))
                continue
            self._require_recursive(path)
            for file in await walk(storage.list, path):
                if not file.entry.is_folder:
                    relative = file.path.removeprefix(path).lstrip("/")
                    jobs.append(_CopyJob(RoomPath(source.room, file.path), _inside(base, relative), file.entry.size))
        return jobs

    def _jobs_from_local(self, source: str, target: RoomPath | Path, into_folder: bool) -> list[_CopyJob]:
        pattern = str(Path(source).expanduser())
        # An existing file is never a pattern, even if its name contains brackets.
        found = (
            [Path(pattern)]
            if os.path.exists(pattern)
            else [Path(path) for path in sorted(glob(pattern, recursive=True))]
        )
        if not found:
            raise CommandError(f"no such file on this machine: {source!r}", code=ExitCode.NOT_FOUND)
        jobs = []
        for path in found:
            base = _inside(target, path.name) if into_folder else target
            if not path.is_dir():
                jobs.append(_CopyJob(path, base, path.stat().st_size))
                continue
            self._require_recursive(str(path))
            for file in sorted(path.rglob("*")):
                if file.is_file():
                    relative = file.relative_to(path).as_posix()
                    jobs.append(_CopyJob(file, _inside(base, relative), file.stat().st_size))
        return jobs

    def _require_recursive(self, path: str) -> None:
        if not self._recursive:
            raise UsageError(f"{path} is a folder: use -r to copy it with its contents")

    async def _is_folder(self, place: RoomPath | Path) -> bool:
        if isinstance(place, Path):
            return await asyncio.to_thread(place.is_dir)
        if not place.path:
            return True
        entry = await (await self._session(place.room)).room.storage.stat(place.path)
        return entry is not None and entry.is_folder

    # -- copying

    async def _session(self, room: str | None) -> _Session:
        if room not in self._sessions:
            target = at_room(self._target, room)
            http = await self._stack.enter_async_context(http_room(await find_room_access(target)))
            client = await self._stack.enter_async_context(room_session(target))
            self._sessions[room] = _Session(client, http)
        return self._sessions[room]

    async def _run(self, job: _CopyJob, advance: Advance) -> None:
        source, destination = job.source, job.destination
        if isinstance(destination, Path):
            if not self._overwrite and destination.exists():
                raise CommandError(f"{destination} already exists", code=ExitCode.CONFLICT)
            await _store(destination, self._content(source, advance))
        elif isinstance(source, Path):
            await self._upload(source, destination, advance)
        else:  # from room to room, through a temporary file, because an upload must announce its size
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
    def _progress(self, job: _CopyJob) -> Iterator[Advance]:
        """Show a progress bar on standard error if that is a terminal."""
        terminal = console(stderr=True)
        if self._quiet or not terminal.is_terminal:
            yield lambda _: None
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=terminal) as progress:
            task = progress.add_task(visible_line(_label(job.source)), total=job.size)
            yield lambda count: progress.advance(task, count)


def _inside(folder: RoomPath | Path, relative: str) -> RoomPath | Path:
    """Return the path of `relative` inside a folder. Names from a room must not escape a folder on this machine.

    Raises:
        CommandError: The name would escape the folder, or is not valid on this machine.
    """
    if isinstance(folder, RoomPath):
        return RoomPath(folder.room, join(folder.path, relative))
    parts = relative.split("/")
    if any(part in ("", ".", "..") or os.sep in part or (os.altsep and os.altsep in part) for part in parts):
        raise CommandError(f"{relative!r} is not a valid file name on this machine")
    return folder.joinpath(*parts)


def _label(source: RoomPath | Path) -> str:
    return source.name if isinstance(source, Path) else name_of(source.path)


async def _read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk


async def _store(path: Path, pieces: AsyncIterator[bytes]) -> None:
    """Write a file atomically: to a temporary file that is renamed when complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            async for piece in pieces:
                await asyncio.to_thread(file.write, piece)
        _set_default_mode(temporary)
        os.replace(temporary, path)
    except BaseException:
        _discard(temporary)
        raise


def _discard(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _set_default_mode(path: str) -> None:
    """Give a temporary file, which is created private, the mode of a regular new file."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)
