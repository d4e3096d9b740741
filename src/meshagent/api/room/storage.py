"""The room's files: `room.storage` (protocol 6)."""

from __future__ import annotations

import builtins
from datetime import UTC, datetime
from functools import partial

import msgspec

from meshagent.api.contracts import storage as api
from meshagent.api.contracts.content import FileBody
from meshagent.api.contracts.storage import EntryResult, StatResult
from meshagent.api.room.core import RoomCore
from meshagent.api.room.events import EventSource
from meshagent.api.room.files import FileHandle, FileOpening, OpenFiles, StorageEntry

__all__ = ["StorageClient"]


class StorageClient(EventSource):
    """Files of the room; use it as `room.storage`. Paths are relative to the room, with `/` between names.

    Events, for everyone's changes, one's own included: `file.updated` and `file.deleted` (path, participant_id),
    `file.moved` (source_path, destination_path, participant_id).

    Errors of all methods: as `RoomClient.call`; `NotFoundError`, `AlreadyExistsError`.
    """

    def __init__(self, *, room: RoomCore) -> None:
        super().__init__(room.spawn)
        self._room = room
        self._files = OpenFiles(room)
        for event in (api.FILE_UPDATED, api.FILE_DELETED):
            room.listen(event, partial(self._on_change, event.name))
        room.listen(api.FILE_MOVED, partial(self._on_change, api.FILE_MOVED.name))

    async def exists(self, path: str) -> bool:
        """Whether a file or folder exists at `path`."""
        return (await self._room.call(api.EXISTS, api.PathRequest(path=path))).exists

    async def stat(self, path: str) -> StorageEntry | None:
        """The file or folder at `path`, None if there is none."""
        result = await self._room.call(api.STAT, api.PathRequest(path=path))
        return _entry(result) if result.exists else None

    async def list(self, path: str) -> builtins.list[StorageEntry]:
        """The entries of a folder, not of its subfolders; empty if the folder does not exist."""
        result = await self._room.call(api.LIST, api.PathRequest(path=path))
        return [_entry(file) for file in result.files]

    def open(self, path: str, overwrite: bool = False) -> FileOpening:
        """Open a file for writing. Others see it when it is closed, and then all of it at once.

        Either `async with room.storage.open(path=…) as file: await file.write(…)`, which closes it at the end
        and publishes nothing if the block raises; or `handle = await room.storage.open(path=…)`, then `write`
        and `close`.

        Args:
            path: The file. Missing folders are created.
            overwrite: Replace an existing file; otherwise it is an `AlreadyExistsError`.
        """
        return FileOpening(lambda: self._files.open(path, overwrite=overwrite, client=self))

    async def write(self, handle: FileHandle, data: bytes | str) -> None:
        """Append to an open file; text is encoded as UTF-8. Large data is sent in pieces, several at a time.

        Writes of one handle are stored in the order of the calls. After an error, the file has an unknown part of
        the data: discard it.
        """
        await self._files.write(handle, data.encode() if isinstance(data, str) else bytes(data))

    async def close(self, handle: FileHandle) -> None:
        """Close an open file, which makes it visible to others."""
        await self._files.close(handle)

    async def discard(self, handle: FileHandle) -> None:
        """Discard an open file. Servers other than this project's may publish it instead."""
        await self._files.close(handle, discard=True)

    async def download(self, path: str) -> FileBody:
        """Read a whole file: its name, type and bytes."""
        return await self._room.call(api.DOWNLOAD, api.PathRequest(path=path))

    async def download_url(self, path: str, download: bool = False) -> str:
        """A URL to download the file without a token, valid for a limited time.

        With `download`, browsers save the file instead of showing it.
        """
        return (await self._room.call(api.DOWNLOAD_URL, api.DownloadUrlRequest(path=path, download=download))).url

    async def delete(self, path: str, recursive: bool = False) -> None:
        """Delete a file or an empty folder; with `recursive` a folder with its content."""
        await self._room.call(api.DELETE, api.DeleteRequest(path=path, recursive=recursive))

    async def move(self, source_path: str, destination_path: str, overwrite: bool = False) -> None:
        """Move or rename a file."""
        request = api.MoveRequest(source_path=source_path, destination_path=destination_path, overwrite=overwrite)
        await self._room.call(api.MOVE, request)

    # -- events

    def _on_change(self, event_name: str, event: api.FileEvent | api.FileMovedEvent, payload: bytes) -> None:
        self.emit(event_name.removeprefix("storage."), **msgspec.structs.asdict(event))


def _entry(found: EntryResult | StatResult) -> StorageEntry:
    return StorageEntry(
        name=found.name or "",
        is_folder=bool(found.is_folder),
        created_at=_time(found.created_at),
        updated_at=_time(found.updated_at),
        size=found.size,
    )


def _time(text: str | None) -> datetime:
    """Parse a time of the server; without an offset it is UTC."""
    moment = datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, tz=UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
