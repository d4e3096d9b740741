"""Files that are open for writing, and the entries of listings (protocol 6)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar

import msgspec

from meshagent.api.contracts import storage as api
from meshagent.api.contracts.operation import Empty, Operation
from meshagent.api.errors import ConnectionLostError, InvalidStateError
from meshagent.api.room.core import RoomCore
from meshagent.api.wire.packets import DATA_SIZE

__all__ = ["FileHandle", "FileWriter", "FileOpening", "OpenFiles", "StorageEntry"]

RequestT = TypeVar("RequestT", bound=msgspec.Struct)

WRITE_SIZE: Final = 2 * DATA_SIZE - 1024
"""Bytes of one `storage.write`: two full packets with the request's header."""

WRITES_IN_FLIGHT: Final = 8
"""Pieces of one write that are sent before the first is answered."""


@dataclass(frozen=True)  # not slotted: programs read `vars(entry)`
class StorageEntry:
    """A file or folder. Times have a time zone; `size` is in bytes, None for folders and if it is not known."""

    name: str
    is_folder: bool
    created_at: datetime
    updated_at: datetime
    size: int | None = None


class FileWriter(Protocol):
    """Writes to files that are open; a `StorageClient` does."""

    async def write(self, handle: FileHandle, data: bytes | str) -> None:
        """Append to an open file."""
        ...

    async def close(self, handle: FileHandle) -> None:
        """Close an open file, which makes it visible to others."""
        ...

    async def discard(self, handle: FileHandle) -> None:
        """Discard an open file."""
        ...


class FileHandle:
    """A file that is open for writing. Others see it when it is closed.

    Attributes:
        id: Identifies the open file, on the connection that opened it only.
    """

    def __init__(self, id: str | int, client: FileWriter | None = None, *, connection: int | None = None) -> None:
        self.id = id
        self._client = client
        self._connection = connection
        self._writing = asyncio.Lock()
        self._closed = False

    async def write(self, data: bytes | str) -> None:
        """Append; see `StorageClient.write`.

        Raises:
            InvalidStateError: The file is closed; other errors as `RoomClient.call`.
        """
        if self._closed:
            raise InvalidStateError("the file is closed")
        await self._storage().write(handle=self, data=data)

    async def close(self) -> None:
        """Close the file, which makes it visible to others. Closing it again does nothing."""
        if not self._closed:
            self._closed = True
            await self._storage().close(handle=self)

    async def discard(self) -> None:
        """Discard the file, unless it is closed."""
        if not self._closed:
            self._closed = True
            await self._storage().discard(handle=self)

    def _storage(self) -> FileWriter:
        if self._client is None:
            raise InvalidStateError("this handle was not opened by a room client")
        return self._client


class OpenFiles:
    """Makes the requests that belong to open files."""

    def __init__(self, room: RoomCore) -> None:
        self._room = room

    async def open(self, path: str, *, overwrite: bool, client: FileWriter) -> FileHandle:
        """Open a file for writing; its handle's own methods go to `client`."""
        result = await self._room.call(api.OPEN, api.OpenRequest(path=path, overwrite=overwrite))
        return FileHandle(result.handle, client, connection=self._room.connection_number)

    async def write(self, handle: FileHandle, data: bytes) -> None:
        """See `StorageClient.write`."""
        request = api.HandleRequest(handle=handle.id)
        async with handle._writing:
            under_way: deque[asyncio.Task[Empty]] = deque()
            try:
                for piece in _pieces(data):
                    if len(under_way) >= WRITES_IN_FLIGHT:
                        await under_way.popleft()
                    # Tasks start in the order in which they are made, so the pieces are sent in order.
                    under_way.append(asyncio.create_task(self._request(handle, api.WRITE, request, piece)))
                while under_way:
                    await under_way.popleft()
            finally:
                await _abandon(under_way)

    async def close(self, handle: FileHandle, *, discard: bool = False) -> None:
        """Close a file or, with `discard`, discard it, once all writes are answered."""
        async with handle._writing:
            await self._request(handle, api.CLOSE, api.CloseRequest(handle=handle.id, discard=discard))

    async def _request(
        self, handle: FileHandle, operation: Operation[RequestT, Empty], request: RequestT, payload: bytes = b""
    ) -> Empty:
        """Request something for an open file, but only on the connection on which it is open.

        The number of a handle may mean another file on the next connection.
        """
        if handle._connection is None:
            return await self._room.call(operation, request, payload)
        if handle._connection != self._room.connection_number:
            raise ConnectionLostError("the connection was lost while the file was open: nothing was stored")
        return await self._room.call_now(operation, request, payload)


def _pieces(data: bytes) -> Iterator[bytes]:
    """`data` in the sizes in which it is written; one empty piece for no data."""
    yield data[:WRITE_SIZE]
    for start in range(WRITE_SIZE, len(data), WRITE_SIZE):
        yield data[start : start + WRITE_SIZE]


async def _abandon(tasks: Iterable[asyncio.Task[Empty]]) -> None:
    """Cancel tasks whose results nobody will see."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class FileOpening:
    """What `storage.open` returns: await it for a `FileHandle`, or enter it to have the file closed at the end.

    The file is opened once, when this is first awaited or entered. If the block raises, the file is not closed, and
    the room discards it when the connection ends.
    """

    def __init__(self, open_file: Callable[[], Awaitable[FileHandle]]) -> None:
        self._open_file = open_file
        self._handle: FileHandle | None = None
        self._started = False

    def __await__(self) -> Generator[Any, None, FileHandle]:
        return self._open().__await__()

    async def __aenter__(self) -> FileHandle:
        return await self._open()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None and self._handle is not None:
            await self._handle.close()

    async def _open(self) -> FileHandle:
        if self._handle is None:
            if self._started:
                raise InvalidStateError("the file could not be opened: call `open` again")
            self._started = True
            self._handle = await self._open_file()
        return self._handle
