"""Files of a room while they are written, and what listings say of them (spec room-protocol 5.4, 10.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from meshagent.api.errors import InvalidStateError

if TYPE_CHECKING:
    from meshagent.api.room.storage import StorageClient

__all__ = ["FileHandle", "Opening", "StorageEntry"]


@dataclass(frozen=True)  # not slotted: programs read `vars(entry)`
class StorageEntry:
    """A file or a folder. Times are aware; `size` is in bytes, None for folders and where it is not known."""

    name: str
    is_folder: bool
    created_at: datetime
    updated_at: datetime
    size: int | None = None


class FileHandle:
    """A file that is being written. Nobody sees it before it is closed.

    Attributes:
        id: The room's name for it, of use only on the connection that opened it.
    """

    def __init__(self, id: str | int, client: StorageClient | None = None, *, connection: int | None = None) -> None:
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
        """Publish what was written. Closing twice is harmless."""
        if not self._closed:
            self._closed = True
            await self._storage().close(handle=self)

    async def discard(self) -> None:
        """Throw away what was written, unless the file is closed."""
        if not self._closed:
            self._closed = True
            await self._storage().discard(handle=self)

    def _storage(self) -> StorageClient:
        if self._client is None:
            raise InvalidStateError("this handle was not opened by a room client")
        return self._client


class Opening:
    """What `storage.open` returns: await it for a `FileHandle`, or enter it to have the file closed at the end.

    The file is opened when this is awaited or entered, once, however often that happens. If the block raises, the
    file is not published: it stays unclosed, and the room discards it when the connection ends.
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
                raise InvalidStateError("this was awaited before, and the file is not open: call `open` again")
            self._started = True
            self._handle = await self._open_file()
        return self._handle
