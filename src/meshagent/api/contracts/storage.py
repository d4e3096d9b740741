"""`storage.*`: the room's files (protocol 6)."""

from __future__ import annotations

import msgspec

from meshagent.api.contracts.content import FileBody
from meshagent.api.contracts.operation import Empty, Event, Operation


class PathRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder; the empty path is the root folder."""

    path: str


class ExistsResult(msgspec.Struct, frozen=True, kw_only=True):
    exists: bool


class StatResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`{"exists": false}`, or the properties of one entry. Times are ISO 8601 with an offset; size in bytes."""

    exists: bool
    name: str | None = None
    is_folder: bool | None = None
    size: int | None = None
    created_at: str | None = None
    updated_at: str | None = None


class EntryResult(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a listing; `name` is the last part of the path. Folders have times but no size."""

    name: str
    is_folder: bool
    created_at: str
    updated_at: str
    size: int | None = None


class ListResult(msgspec.Struct, frozen=True, kw_only=True):
    files: list[EntryResult]


class OpenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Start writing a file. It becomes visible when it is closed; without `overwrite` it must not exist."""

    path: str
    overwrite: bool = False


class HandleResult(msgspec.Struct, frozen=True, kw_only=True):
    handle: str | int


class HandleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An open handle; the payload of `storage.write` is appended."""

    handle: str | int


class CloseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Publish the written content, or with `discard` delete it (an extension of this server)."""

    handle: str | int
    discard: bool = False


class DownloadUrlRequest(msgspec.Struct, frozen=True, kw_only=True):
    """With `download`, a browser saves the file instead of showing it."""

    path: str
    download: bool = False


class UrlResult(msgspec.Struct, frozen=True, kw_only=True):
    url: str


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Delete a file or an empty folder; with `recursive` a folder and its content."""

    path: str
    recursive: bool = False


class MoveRequest(msgspec.Struct, frozen=True, kw_only=True):
    source_path: str
    destination_path: str
    overwrite: bool = False


class FileEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A file was created, replaced or deleted; `participant_id` is None for the server itself."""

    path: str
    participant_id: str | None = None


class FileMovedEvent(msgspec.Struct, frozen=True, kw_only=True):
    source_path: str
    destination_path: str
    participant_id: str | None = None


EXISTS = Operation("storage.exists", PathRequest, ExistsResult)
STAT = Operation("storage.stat", PathRequest, StatResult)
LIST = Operation("storage.list", PathRequest, ListResult)
OPEN = Operation("storage.open", OpenRequest, HandleResult)
WRITE = Operation("storage.write", HandleRequest, Empty)
CLOSE = Operation("storage.close", CloseRequest, Empty)
DOWNLOAD = Operation("storage.download", PathRequest, FileBody)
DOWNLOAD_URL = Operation("storage.download_url", DownloadUrlRequest, UrlResult)
DELETE = Operation("storage.delete", DeleteRequest, Empty)
MOVE = Operation("storage.move", MoveRequest, Empty)

FILE_UPDATED = Event("storage.file.updated", FileEvent)
"""A file was created or replaced."""
FILE_DELETED = Event("storage.file.deleted", FileEvent)
FILE_MOVED = Event("storage.file.moved", FileMovedEvent)
