"""`storage.upload` and `storage.download` as streams (protocol 14.7)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from meshagent.api.errors import InvalidRequestError
from meshagent.server.dispatch.contents import binary_content
from meshagent.server.dispatch.invoke.stream import Stream
from meshagent.server.dispatch.invoke.stream_tasks import Inbox, receive_upload, send_download
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.storage import StorageService
from meshagent.server.stores.files import FileWriter

DEFAULT_CHUNK_BYTES = 64 * 1024
MAX_CHUNK_BYTES = 512 * 1024

_PULL = binary_content({"kind": "pull", "chunk_size": DEFAULT_CHUNK_BYTES})


class _UploadStart(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    path: str
    overwrite: bool = False
    size: int | None = None


class _DownloadStart(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    path: str
    chunk_size: int = DEFAULT_CHUNK_BYTES


class _FileUpload:
    """An upload that is published as a file when it is complete."""

    def __init__(
        self, storage: StorageService, writer: FileWriter, path: str, overwrite: bool, author: Participant
    ) -> None:
        self._storage = storage
        self._writer = writer
        self._path = path
        self._overwrite = overwrite
        self._author = author
        self._finished = False

    async def write(self, data: bytes) -> None:
        await self._writer.write(data)

    async def finish(self) -> None:
        self._finished = True
        publishing = self._storage.publish(
            self._writer,
            self._path,
            overwrite=self._overwrite,
            participant_id=self._author.id,
            scope=self._author.scope,
        )
        await self._storage.run_shielded(publishing)

    async def discard(self) -> None:
        if not self._finished:
            await self._storage.abandon_write(self._writer)


class UploadHandler:
    """Serves `storage.upload`: pulls the content and publishes it at the client's close."""

    def __init__(self, storage: StorageService) -> None:
        self._storage = storage

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        start, _ = await inbox.start(_UploadStart)
        stream.participant.scope.require_storage_write(start.path)
        path = await self._storage.check_target(start.path, overwrite=start.overwrite)
        writer = await self._storage.start_write()
        upload = _FileUpload(self._storage, writer, path, start.overwrite, stream.participant)
        await receive_upload(stream, inbox, upload, size=start.size, pull=_PULL)


class DownloadHandler:
    """Serves `storage.download`: says what comes, then gives a piece for each pull."""

    def __init__(self, storage: StorageService) -> None:
        self._storage = storage

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        start, _ = await inbox.start(_DownloadStart)
        stream.participant.scope.require_storage_read(start.path)
        if start.chunk_size <= 0:
            raise InvalidRequestError("chunk_size must be a positive number of bytes")
        async with await self._storage.read(start.path) as file:
            header = {"kind": "start", "name": file.name, "mime_type": file.media_type, "size": file.size}
            stream.reply(binary_content(header))
            pieces = file.chunks(chunk_bytes=min(start.chunk_size, MAX_CHUNK_BYTES))
            await send_download(stream, inbox, _as_items(pieces), close_is_pulled=False)


async def _as_items(pieces: AsyncIterator[bytes]) -> AsyncIterator[EncodedContent]:
    async for piece in pieces:
        yield binary_content({"kind": "data"}, piece)
