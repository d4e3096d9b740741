"""Open files of the local file store: a reader, and a writer into a temporary file."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal, Protocol, Self, TypeVar

from meshagent.api.errors import InvalidStateError, LimitExceededError
from meshagent.server.stores.disk import Disk
from meshagent.server.stores.files import DEFAULT_CHUNK_BYTES, FileInfo, FileReader, FileWriter

__all__ = ["LocalReader", "LocalWriter", "RunOffLoop"]

T = TypeVar("T")

_BUFFER_BYTES = 256 * 1024
_HELD_BYTES = 64 * 1024


class RunOffLoop(Protocol):
    """Calls a function in the store's threads and gives its result, with errors of the disk typed."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]: ...


class LocalReader(FileReader):
    """A file opened by `LocalFileStore`; reads leave the event loop.

    A small file is read when it is opened, since a thread switch costs more than the read.
    """

    def __init__(self, info: FileInfo, descriptor: int, run: RunOffLoop) -> None:
        """Take over `descriptor`. Runs off the loop."""
        self._info = info
        self._size = info.size or 0
        self._descriptor: int | None = descriptor
        self._run = run
        self._held = os.pread(descriptor, self._size, 0) if self._size <= _HELD_BYTES else None
        self._lock = threading.Lock()  # a read must not use a descriptor that was closed and reused

    @property
    def info(self) -> FileInfo:
        return self._info

    @property
    def size(self) -> int:
        return self._size

    async def read(self, offset: int, length: int) -> bytes:
        if self._held is not None and self._descriptor is not None:
            return self._held[offset : offset + length]
        return await self._run(lambda: self._read(offset, length))

    async def iter_chunks(
        self, chunk_bytes: int = DEFAULT_CHUNK_BYTES, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        end = self._size if stop is None else min(stop, self._size)
        for offset in range(start, end, chunk_bytes):
            yield await self.read(offset, min(chunk_bytes, end - offset))

    def fileno(self) -> int | None:
        return self._descriptor

    async def close(self) -> None:
        if self._held is not None:
            self.close_now()
        else:  # closing a deleted file frees its blocks, which takes time
            await self._run(self.close_now)

    def close_now(self) -> None:
        """Close at once, in the calling thread."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)

    def _read(self, offset: int, length: int) -> bytes:
        with self._lock:
            if self._descriptor is None:
                raise InvalidStateError("the file was closed")
            content = os.pread(self._descriptor, length, offset)
            while len(content) < min(length, self._size - offset):  # one call gives at most 2 GiB
                more = os.pread(self._descriptor, length - len(content), offset + len(content))
                if not more:
                    break
                content += more
            return content

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()


class LocalWriter(FileWriter):
    """Content for `LocalFileStore`: buffered up to 256 KiB, then written to a temporary file.

    The temporary file is created when the buffer is first written out, so a small file costs one thread switch.
    """

    def __init__(self, temp_folder: Path, disk: Disk, run: RunOffLoop, max_bytes: int | None) -> None:
        self._path = temp_folder / f"write-{secrets.token_hex(16)}"
        self._disk = disk
        self._run = run
        self._max_bytes = max_bytes
        self._size = 0
        self._buffer = bytearray()
        self._state: Literal["open", "broken", "publishing", "discarded"] = "open"
        self._order = asyncio.Lock()  # keeps writes in order while one is being written out
        # Used by threads: the thread of a cancelled caller may run in parallel with the next one.
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._removed = False

    @property
    def size(self) -> int:
        return self._size

    async def write(self, content: bytes | memoryview) -> None:
        async with self._order:
            self._require_open()
            if self._max_bytes is not None and self._size + len(content) > self._max_bytes:
                raise LimitExceededError("the file is too large", limit=self._max_bytes)
            self._size += len(content)
            if not self._buffer and len(content) >= _BUFFER_BYTES:
                await self._write_out(content)  # large enough to write without copying
                return
            self._buffer += content
            if len(self._buffer) >= _BUFFER_BYTES:
                held, self._buffer = self._buffer, bytearray()
                await self._write_out(held)

    def begin_publish(self) -> None:
        """Accept no more content; `publish` takes over the writer.

        Raises:
            InvalidStateError: It was published or discarded, or a write failed.
        """
        self._require_open()
        self._state = "publishing"

    def begin_discard(self) -> bool:
        """Accept no more content; returns whether there is something to `remove`."""
        if self._state in ("publishing", "discarded"):
            return False
        self._state = "discarded"
        return True

    def complete(self) -> tuple[int, Path]:
        """Write out the buffer; returns descriptor and path of the temporary file. Runs in a thread."""
        descriptor = self._append(self._buffer)
        return descriptor, self._path

    def remove(self) -> None:
        """Close and delete the temporary file, if it has not been published. Runs in a thread."""
        with self._lock:
            self._removed = True
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)
                self._path.unlink(missing_ok=True)

    def _require_open(self) -> None:
        if self._state != "open":
            raise InvalidStateError("the file was closed, or a write to it failed")

    async def _write_out(self, content: bytes | bytearray | memoryview) -> None:
        try:
            await self._run(lambda: self._append(content))
        except BaseException:  # unknown how much was written
            if self._state == "open":
                self._state = "broken"
            raise

    def _append(self, content: bytes | bytearray | memoryview) -> int:
        with self._lock:
            if self._removed:
                raise InvalidStateError("the file was discarded")
            if self._descriptor is None:
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self._descriptor = os.open(self._path, flags, 0o600)
            self._disk.write_all(self._descriptor, content)
            return self._descriptor
