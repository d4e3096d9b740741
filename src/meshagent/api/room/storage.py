"""The room's files: `room.storage` (spec room-protocol 5.4, 10.5)."""

from __future__ import annotations

import asyncio
import builtins
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from meshagent.api.contracts import storage as api
from meshagent.api.contracts.content import FileBody
from meshagent.api.contracts.operation import Empty, Operation
from meshagent.api.contracts.storage import EntryResult, StatResult
from meshagent.api.errors import ConnectionLostError
from meshagent.api.room.events import EventSource
from meshagent.api.room.files import FileHandle, Opening, StorageEntry
from meshagent.api.transport.protocol import MessageHandler, Protocol
from meshagent.api.wire import envelope
from meshagent.api.wire.packets import DATA_SIZE

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["StorageClient"]

RequestT = TypeVar("RequestT", bound=msgspec.Struct)

WRITE_SIZE: Final = 2 * DATA_SIZE - 1024
"""Bytes of one `storage.write`: two full packets with the request's header."""

WRITES_IN_FLIGHT: Final = 8


class StorageClient(EventSource):
    """Use it as `room.storage`. Paths are relative to the room, with `/` between names.

    Events, for everyone's changes, one's own included: `file.updated` and `file.deleted` (path, participant_id),
    `file.moved` (source_path, destination_path, participant_id).

    Errors of all methods: as `RoomClient.call`; `NotFoundError`, `AlreadyExistsError`.
    """

    def __init__(self, *, room: RoomClient) -> None:
        super().__init__(room._tasks)
        self._room = room

    async def exists(self, path: str) -> bool:
        """Whether there is a file or a folder."""
        return (await self._room.call(api.EXISTS, api.PathRequest(path=path))).exists

    async def stat(self, path: str) -> StorageEntry | None:
        """What is at `path`; None if nothing is."""
        result = await self._room.call(api.STAT, api.PathRequest(path=path))
        return _entry(result) if result.exists else None

    async def list(self, path: str) -> builtins.list[StorageEntry]:
        """What a folder holds, not what its folders hold; empty for a folder that does not exist."""
        result = await self._room.call(api.LIST, api.PathRequest(path=path))
        return [_entry(file) for file in result.files]

    def open(self, path: str, overwrite: bool = False) -> Opening:
        """Write a file. Nobody sees it before it is closed, and then all of it at once.

        Either `async with room.storage.open(path=…) as file: await file.write(…)`, which closes it at the end
        and publishes nothing if the block raises; or `handle = await room.storage.open(path=…)`, then `write`
        and `close`.

        Args:
            path: The file. Folders on the way are made.
            overwrite: Whether a file that exists is replaced; else opening it is an `AlreadyExistsError`.
        """
        return Opening(lambda: self._open(path, overwrite))

    async def _open(self, path: str, overwrite: bool) -> FileHandle:
        result = await self._room.call(api.OPEN, api.OpenRequest(path=path, overwrite=overwrite))
        return FileHandle(result.handle, self, connection=self._room._connection)

    async def write(self, handle: FileHandle, data: bytes | str) -> None:
        """Append to an open file; text goes as UTF-8. Large data travels in pieces, several under way at once.

        Writes of one handle are stored in the order of the calls. After an error, the file has an unknown part
        of the data and should not be closed.
        """
        encoded = data.encode() if isinstance(data, str) else bytes(data)
        request = api.HandleRequest(handle=handle.id)
        async with handle._writing:
            under_way: deque[asyncio.Task[Empty]] = deque()
            try:
                for piece in _pieces(encoded):
                    if len(under_way) >= WRITES_IN_FLIGHT:
                        await under_way.popleft()
                    # Tasks start in the order in which they are made, so the pieces are sent in order.
                    under_way.append(asyncio.create_task(self._on_handle(handle, api.WRITE, request, piece)))
                while under_way:
                    await under_way.popleft()
            finally:
                await _abandon(under_way)

    async def close(self, handle: FileHandle) -> None:
        """Publish what was written."""
        async with handle._writing:
            await self._on_handle(handle, api.CLOSE, api.CloseRequest(handle=handle.id))

    async def discard(self, handle: FileHandle) -> None:
        """Throw away what was written; servers other than this project's may not know how."""
        async with handle._writing:
            await self._on_handle(handle, api.CLOSE, api.CloseRequest(handle=handle.id, discard=True))

    async def download(self, path: str) -> FileBody:
        """A whole file: its name, type and bytes."""
        return await self._room.call(api.DOWNLOAD, api.PathRequest(path=path))

    async def download_url(self, path: str, download: bool = False) -> str:
        """A URL that gives the file for a limited time without further credentials.

        With `download`, browsers save the file instead of showing it.
        """
        return (await self._room.call(api.DOWNLOAD_URL, api.DownloadUrlRequest(path=path, download=download))).url

    async def delete(self, path: str, recursive: bool = False) -> None:
        """Delete a file or an empty folder; with `recursive` a folder and all that is in it."""
        await self._room.call(api.DELETE, api.DeleteRequest(path=path, recursive=recursive))

    async def move(self, source_path: str, destination_path: str, overwrite: bool = False) -> None:
        """Move or rename a file."""
        request = api.MoveRequest(source_path=source_path, destination_path=destination_path, overwrite=overwrite)
        await self._room.call(api.MOVE, request)

    async def _on_handle(
        self, handle: FileHandle, operation: Operation[RequestT, Empty], request: RequestT, payload: bytes = b""
    ) -> Empty:
        """Ask for something about an open file, but only on the connection on which it is open.

        The number of a handle may mean another file on the next connection.
        """
        if handle._connection is None:
            return await self._room.call(operation, request, payload)
        if handle._connection != self._room._connection:
            raise ConnectionLostError("the connection ended while the file was open: nothing of it was stored")
        return await self._room._call_now(operation, request, payload)

    # -- events

    def _message_handlers(self) -> builtins.list[tuple[str, MessageHandler]]:
        return [
            (api.FILE_UPDATED.name, self._on_file_event),
            (api.FILE_DELETED.name, self._on_file_event),
            (api.FILE_MOVED.name, self._on_file_event),
        ]

    def _on_file_event(self, protocol: Protocol, message_id: int, message_type: str, data: bytes) -> None:
        header, _ = envelope.unpack(data)
        self.emit(message_type.removeprefix("storage."), **header)


def _pieces(data: bytes) -> Iterator[bytes]:
    """`data` in the sizes in which it is written; one empty piece for no data."""
    yield data[:WRITE_SIZE]
    for start in range(WRITE_SIZE, len(data), WRITE_SIZE):
        yield data[start : start + WRITE_SIZE]


async def _abandon(tasks: Iterable[asyncio.Task[Empty]]) -> None:
    """End tasks whose results nobody will see."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _entry(found: EntryResult | StatResult) -> StorageEntry:
    return StorageEntry(
        name=found.name or "",
        is_folder=bool(found.is_folder),
        created_at=_time(found.created_at),
        updated_at=_time(found.updated_at),
        size=found.size,
    )


def _time(text: str | None) -> datetime:
    """A time of the server; one without an offset counts as UTC."""
    moment = datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, tz=UTC)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
