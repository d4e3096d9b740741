"""Storage: the room's files for its participants (protocol 6)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

from meshagent.api.contracts import storage as api
from meshagent.api.contracts.content import FileBody
from meshagent.api.contracts.operation import EMPTY, Empty
from meshagent.api.errors import InvalidStateError, LimitExceededError, NotFoundError
from meshagent.api.tokens.grants import StorageAction
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.context import RoomContext
from meshagent.server.kernel.operations import Grant, ServedOperation, StreamedFile, serve, serve_payload
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.file_observers import FileObservers
from meshagent.server.services.room_files import OpenedFile, RoomFiles
from meshagent.server.stores.files import FileStore, FileWriter
from meshagent.server.stores.paths import normalize_path

__all__ = ["OpenedFile", "SignUrl", "StorageService"]

SignUrl = Callable[[str, bool], str]
"""Makes a download URL for a path; with the flag a browser saves the file instead of showing it."""

STREAMED_FROM_BYTES = 1024 * 1024
"""Larger downloads are streamed."""


class _Upload:
    """An open handle for writing; keeps writes in order."""

    __slots__ = ("_order", "overwrite", "path", "received", "writer")

    def __init__(self, path: str, overwrite: bool, writer: FileWriter) -> None:
        self.path = path
        self.overwrite = overwrite
        self.writer = writer
        self.received = 0
        """Bytes received, including those that are not written yet."""
        self._order = asyncio.Lock()  # first in, first out

    async def append(self, content: bytes, *, received_before: int) -> Empty:
        async with self._order:
            if self.writer.size != received_before:
                raise InvalidStateError("an earlier write to the file failed")
            await self.writer.write(content)
        return EMPTY

    async def written(self) -> None:
        """Wait for pending writes.

        Raises:
            InvalidStateError: One of them failed or was cancelled, so the content has a gap.
        """
        async with self._order:
            if self.writer.size != self.received:
                raise InvalidStateError("a write to the file failed, so nothing was stored")


class _OpenFiles:
    """The open files of one connection."""

    __slots__ = ("downloads", "uploads")

    def __init__(self) -> None:
        self.uploads: dict[int, _Upload] = {}
        self.downloads: set[OpenedFile] = set()

    @property
    def size(self) -> int:
        return len(self.uploads) + len(self.downloads)


class StorageService(RoomFiles):
    """Serves the `storage.*` operations of one room; its public methods are for the rest of the server.

    A handle belongs to the connection that opened it; when the connection ends, its content is discarded. Writes are
    appended in order of arrival; if one fails, closing the handle fails too and stores nothing.

    Args:
        room: The room.
        files: Stores them.
        sign_url: Makes download URLs.
        max_file_bytes: Largest file.
        max_open_handles: Files that one connection may have open, large downloads included.
        observers: Told of what happens to files.
    """

    def __init__(
        self,
        room: RoomContext,
        files: FileStore,
        *,
        sign_url: SignUrl,
        max_file_bytes: int = 5 * 1024**3,
        max_open_handles: int = 256,
        observers: FileObservers | None = None,
    ) -> None:
        super().__init__(room, files, max_file_bytes=max_file_bytes, observers=observers)
        self._sign_url = sign_url
        self._max_open_handles = max_open_handles
        self._open_files: dict[str, _OpenFiles] = {}
        self._handles = itertools.count(1)

    def operations(self) -> list[ServedOperation]:
        return [
            serve(api.EXISTS, self._exists, grant=_path_grant("list")),
            serve(api.STAT, self._stat, grant=_path_grant("list")),
            serve(api.LIST, self._list, grant=_path_grant("list")),
            serve(api.OPEN, self._open, grant=_path_grant("write")),
            serve_payload(api.WRITE, self._write, grant=None),
            serve(api.CLOSE, self._close, grant=None),
            serve(api.DOWNLOAD, self._download, grant=_path_grant("read")),
            serve(api.DOWNLOAD_URL, self._download_url, grant=_path_grant("presign")),
            serve(api.DELETE, self._delete_for, grant=_path_grant("delete")),
            serve(api.MOVE, self._move_for, grant=_move_grant),
        ]

    def left(self, participant: Participant) -> None:
        open_files = self._open_files.pop(participant.id, None)
        if open_files is not None:
            self.run_shielded(self._release(open_files))

    async def close(self) -> None:
        """Discard open files and wait for changes in progress; documents can still be saved afterwards."""
        for open_files in self._open_files.values():
            self.run_shielded(self._release(open_files))
        self._open_files.clear()
        await self.wait_for_changes()

    async def require_below(self, scope: ApiScope, path: str, *actions: StorageAction) -> None:
        """Check that a token allows `actions` on every file in a folder, since rules may differ by path.

        Raises:
            PermissionDeniedError: A file is not accessible.
        """
        storage = scope.storage
        if storage is None or (storage.paths is None and storage.files is None):
            return  # the same for all paths, and already checked
        info = await self._files.stat(path)
        if info is None or not info.is_folder:
            return
        for file in await self.files_below(path):
            for action in actions:
                scope.require_storage(file, action)

    async def require_move(self, scope: ApiScope, request: api.MoveRequest) -> None:
        """Check that a token allows a move, for every file in a folder; errors as in `require_below`."""
        _move_grant(scope, request)
        await self.require_below(scope, request.source_path, "read", "delete")

    # --- reading -------------------------------------------------------------------------------------

    async def _exists(self, caller: Participant, request: api.PathRequest) -> api.ExistsResult:
        return api.ExistsResult(exists=await self.exists(request.path))

    async def _stat(self, caller: Participant, request: api.PathRequest) -> api.StatResult:
        info = await self.stat(request.path)
        if info is None:
            return api.StatResult(exists=False)
        return api.StatResult(exists=True, **info.fields())

    async def _list(self, caller: Participant, request: api.PathRequest) -> api.ListResult:
        entries = await self.list_folder(request.path)
        return api.ListResult(files=[api.EntryResult(**info.fields()) for info in entries])

    async def _download(self, caller: Participant, request: api.PathRequest) -> FileBody | StreamedFile:
        file = await self.read(request.path)
        if file.size <= STREAMED_FROM_BYTES:
            async with file:
                return FileBody(data=await file.read(), name=file.name, mime_type=file.media_type)
        try:
            open_files = self._open_files_below_limit(caller)
        except BaseException:
            await file.close()
            raise
        open_files.downloads.add(file)
        return StreamedFile(file.name, file.media_type, file.size, _chunks_then_close(file, open_files))

    async def _download_url(self, caller: Participant, request: api.DownloadUrlRequest) -> api.UrlResult:
        info = await self._files.stat(request.path)
        if info is None or info.is_folder:
            raise NotFoundError(f"file {request.path!r} not found")
        return api.UrlResult(url=self._sign_url(normalize_path(request.path), request.download))

    # --- writing -------------------------------------------------------------------------------------

    async def _open(self, caller: Participant, request: api.OpenRequest) -> api.HandleResult:
        path = await self.check_target(request.path, overwrite=request.overwrite)
        writer = await self.start_write()
        handle = next(self._handles)
        self._open_files_below_limit(caller).uploads[handle] = _Upload(path, request.overwrite, writer)
        return api.HandleResult(handle=handle)

    def _write(self, caller: Participant, request: api.HandleRequest, payload: bytes) -> Awaitable[Empty]:
        upload = self._uploads(caller).get(_number(request.handle))
        if upload is None:
            raise _no_handle(request.handle)
        before = upload.received
        upload.received += len(payload)
        return upload.append(payload, received_before=before)

    def _close(self, caller: Participant, request: api.CloseRequest) -> Awaitable[Empty]:
        upload = self._uploads(caller).pop(_number(request.handle), None)
        if upload is None:
            raise _no_handle(request.handle)
        if request.discard:
            return self.run_shielded(self._discard(upload))
        return self.run_shielded(self._finish_upload(upload, caller))

    async def _discard(self, upload: _Upload) -> Empty:
        await self._files.discard(upload.writer)
        return EMPTY

    async def _finish_upload(self, upload: _Upload, caller: Participant) -> Empty:
        try:
            await upload.written()
            await self.publish(
                upload.writer,
                upload.path,
                overwrite=upload.overwrite,
                participant_id=caller.id,
                scope=caller.scope,
            )
        except BaseException:
            await self._files.discard(upload.writer)
            raise
        return EMPTY

    # --- deleting and moving -------------------------------------------------------------------------

    async def _delete_for(self, caller: Participant, request: api.DeleteRequest) -> Empty:
        if request.recursive:
            await self.require_below(caller.scope, request.path, "delete")
        await self.delete(request.path, recursive=request.recursive, participant_id=caller.id)
        return EMPTY

    async def _move_for(self, caller: Participant, request: api.MoveRequest) -> Empty:
        await self.require_below(caller.scope, request.source_path, "read", "delete")
        await self.move(
            request.source_path,
            request.destination_path,
            overwrite=request.overwrite,
            participant_id=caller.id,
            scope=caller.scope,
        )
        return EMPTY

    # --- open files of a connection ------------------------------------------------------------------

    def _uploads(self, caller: Participant) -> dict[int, _Upload]:
        open_files = self._open_files.get(caller.id)
        return {} if open_files is None else open_files.uploads

    def _open_files_below_limit(self, caller: Participant) -> _OpenFiles:
        if caller.id not in self._room.participants:
            raise InvalidStateError("the connection is closed")  # the file would never be released
        open_files = self._open_files.get(caller.id)
        if open_files is None:
            open_files = self._open_files[caller.id] = _OpenFiles()
        if open_files.size >= self._max_open_handles:
            raise LimitExceededError(
                f"this connection already has {self._max_open_handles} open files", limit=self._max_open_handles
            )
        return open_files

    async def _release(self, open_files: _OpenFiles) -> None:
        for upload in open_files.uploads.values():
            await self._files.discard(upload.writer)
        for download in list(open_files.downloads):
            await download.close()


async def _chunks_then_close(file: OpenedFile, open_files: _OpenFiles) -> AsyncIterator[bytes]:
    try:
        async for chunk in file.chunks():
            yield chunk
    finally:
        open_files.downloads.discard(file)
        await file.close()


def _path_grant(action: StorageAction) -> Grant:
    return lambda scope, request: scope.require_storage(normalize_path(request.path), action)


def _move_grant(scope: ApiScope, request: api.MoveRequest) -> None:
    source = normalize_path(request.source_path)
    scope.require_storage(source, "read")
    scope.require_storage(source, "delete")
    scope.require_storage(normalize_path(request.destination_path), "write")


def _number(handle: str | int) -> int:
    """A handle as a number; some clients send it as text."""
    if isinstance(handle, int):
        return handle
    return int(handle) if len(handle) < 20 and handle.isascii() and handle.isdigit() else 0


def _no_handle(handle: str | int) -> InvalidStateError:
    return InvalidStateError(f"file handle {str(handle)[:50]!r} is not open on this connection")
