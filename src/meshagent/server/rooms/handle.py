"""What the rest of the server may ask of a room, wherever the room runs.

HTTP routes and the administration reach rooms through these ports alone. Every method is awaitable, and takes and
returns plain data, so that the same port can reach a room in another process: `rooms.local` is the one for rooms of
this process. Each method checks the grants of the scope that it is given. The bytes of files are streamed; a
participant's connection is the one thing that a room and its caller share (see `RoomHandle.join`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

from meshagent.api.contracts.content import Body
from meshagent.api.errors import UnavailableError
from meshagent.api.tokens.scope import ApiScope
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.room_key import RoomKey
from meshagent.server.stores.conditions import ChangeCondition
from meshagent.server.stores.files import FileInfo
from meshagent.server.websocket.handler import WebSocketHandler

__all__ = [
    "BuiltInKind",
    "DocumentAccess",
    "DocumentChange",
    "DocumentState",
    "FileAccess",
    "FileContent",
    "ParticipantInfo",
    "RoomCounts",
    "RoomFinder",
    "RoomHandle",
    "RoomLocator",
    "RoomRunsError",
    "RoomStatus",
    "ToolAccess",
    "ToolDescription",
]


BuiltInKind = Literal["schemas", "toolkits"]
"""What the server has built in, as URLs name it."""


class RoomRunsError(UnavailableError):
    """The room runs already, and the token wants one that does not."""

    code = "room_runs"


class FileContent(Protocol):
    """A file open for reading; it stays as it is even if its path is replaced meanwhile. Close it."""

    @property
    def path(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def media_type(self) -> str: ...

    @property
    def info(self) -> FileInfo: ...

    def fileno(self) -> int | None:
        """Descriptor for sendfile, valid until `close`; None if the file is not on this machine."""
        ...

    async def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes `start … stop`; all of them by default."""
        ...

    def chunks(self, start: int = 0, stop: int | None = None, *, chunk_bytes: int = ...) -> AsyncIterator[bytes]:
        """The bytes `start … stop`, piece by piece."""
        ...

    async def close(self) -> None:
        """Release the file; closing twice is harmless."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


class FileAccess(Protocol):
    """The files of a room. Paths may be spelled in any way.

    Every method raises PermissionDeniedError where the scope does not allow what it does.
    """

    async def open(self, path: str, scope: ApiScope) -> FileContent:
        """The file, open.

        Raises:
            NotFoundError: There is no file at `path`; a folder is none.
        """
        ...

    async def list_folder(self, path: str, scope: ApiScope, *, must_exist: bool = False) -> Sequence[FileInfo]:
        """What is directly in a folder, by name; nothing for a folder that does not exist.

        Raises:
            NotFoundError: `must_exist`, and it does not.
            ConflictError: `path` is a file.
        """
        ...

    async def write(
        self,
        path: str,
        content: AsyncIterator[bytes],
        scope: ApiScope,
        *,
        overwrite: bool = True,
        condition: ChangeCondition | None = None,
        announced_size: int | None = None,
    ) -> FileInfo:
        """Store a file: all of it or, when `content` raises or the caller is cancelled before its end, nothing.

        Args:
            path: Where.
            content: Its bytes. Not read if the file cannot be stored.
            scope: What the caller may do.
            overwrite: Whether a file at the path may be replaced.
            condition: What must hold; checked before the content is read, and in the step that stores it.
            announced_size: How many bytes will come, where that is known.

        Raises:
            AlreadyExistsError: There is a file, and `overwrite` is false.
            ConflictError: `path` is a folder, or a part of it is a file.
            LimitExceededError: The content is, or is announced to be, larger than files may be.
            PreconditionFailedError: `condition` does not hold.
            StoreFailedError: The disk refused.
        """
        ...

    async def delete(
        self, path: str, scope: ApiScope, *, recursive: bool = False, condition: ChangeCondition | None = None
    ) -> None:
        """Delete a file or an empty folder; with `recursive` a folder and all that is in it.

        Raises:
            NotFoundError: There is nothing at `path`.
            ConflictError: The folder is not empty, and `recursive` is false.
            InvalidRequestError: `path` is the root.
            PreconditionFailedError: `condition` does not hold.
        """
        ...

    async def move(self, source: str, destination: str, scope: ApiScope, *, overwrite: bool = False) -> None:
        """Give a file or folder another path. `overwrite` replaces a file by a file.

        Raises:
            NotFoundError: There is nothing at `source`.
            AlreadyExistsError: There is something at `destination`, and `overwrite` is false.
            ConflictError: A folder would be replaced or moved into itself, or a part of the path is a file.
            InvalidRequestError: One of the paths is the root.
        """
        ...


@dataclass(frozen=True, slots=True)
class DocumentChange:
    """A change of a document, as JSON.

    Attributes:
        kind: `json-patch` (RFC 6902), `merge-patch` (RFC 7396), or the whole new content.
        content: A list of operations for a JSON Patch, else an object.
    """

    kind: Literal["json-patch", "merge-patch", "replacement"]
    content: Any


@dataclass(frozen=True, slots=True)
class DocumentState:
    """A document as JSON, root tag first, and its version: the same for the same content, ids of elements included."""

    content: dict[str, Any]
    version: str


class DocumentAccess(Protocol):
    """The documents of a room, as JSON with the root tag first.

    Every method raises PermissionDeniedError where the scope does not allow what it does, NotFoundError if there is
    no document at the path, and CorruptDataError if its log cannot be trusted.
    """

    async def describe(self, path: str, scope: ApiScope, *, include_ids: bool = False) -> DocumentState:
        """The document; with `include_ids` each element has its `$id`."""
        ...

    async def change(
        self, path: str, change: DocumentChange, scope: ApiScope, *, condition: ChangeCondition | None = None
    ) -> DocumentState:
        """Change the document in one step, by as few edits as possible; returns it as it is then.

        `condition` is checked in the same step; a document has versions, but no time of its last change.

        Raises:
            ConflictError: A test of a JSON Patch failed; nothing changed.
            InvalidRequestError: The patch cannot be applied, or its result does not fit the schema; nothing changed.
            PreconditionFailedError: `condition` does not hold; nothing changed.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDescription:
    """A tool that takes JSON arguments; the schema is that of its arguments, `defs` what it refers to."""

    toolkit: str
    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    defs: Mapping[str, Any] = field(default_factory=dict)


class ToolAccess(Protocol):
    """The tools that are hosted in a room, for callers that are not in the room.

    Every method raises PermissionDeniedError where the caller may not use tools.
    """

    async def list(self, caller: Admission) -> Sequence[ToolDescription]:
        """The tools with JSON arguments that the caller can see."""
        ...

    async def call(self, caller: Admission, toolkit: str, tool: str, arguments: Mapping[str, Any]) -> Body:
        """Call a tool and wait for its answer, without a time limit. Cancelling tells the tool's host.

        Raises:
            NotFoundError: There is no such tool.
            RoomException: The tool refused or failed, or its host left.
        """
        ...


@dataclass(frozen=True, slots=True)
class ParticipantInfo:
    """Somebody in a room."""

    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class RoomStatus:
    """A room as it is now: the id of its run, and who is in it, in order of arrival."""

    session_id: str
    participants: Sequence[ParticipantInfo]


class RoomHandle(Protocol):
    """One running room."""

    @property
    def files(self) -> FileAccess: ...

    @property
    def documents(self) -> DocumentAccess: ...

    @property
    def tools(self) -> ToolAccess: ...

    async def join(self, admission: Admission) -> WebSocketHandler:
        """The handler for a connection that is about to be accepted.

        The participant joins the room when the handler's `connected` is called. The handler receives whole packets
        and writes whole frames, and uses nothing else of its socket.

        Raises:
            LimitExceededError: The room is full.
            RoomRunsError: The token brings services of its own, which need a room that does not run yet.
        """
        ...

    async def install(self, kind: BuiltInKind, name: str, scope: ApiScope) -> None:
        """Put a built-in schema into the room, unless it has one of that name. Toolkits are there already.

        Raises:
            PermissionDeniedError: The scope does not allow calling services.
            NotFoundError: There is no built-in schema or toolkit of that name.
        """
        ...

    async def status(self) -> RoomStatus:
        """Which run of the room it is, and who is here."""
        ...

    async def disconnect(self, participant_id: str, reason: str) -> bool:
        """Disconnect a participant; returns whether there was one of that id."""
        ...

    async def disconnect_key(self, key_id: str, reason: str) -> None:
        """Disconnect everybody who came with a token of this key."""
        ...


@dataclass(frozen=True, slots=True)
class RoomCounts:
    """How many rooms run, and how many participants of each role are in them."""

    rooms: int
    participants: Mapping[str, int]


class RoomFinder(Protocol):
    """Reaches rooms that run already; starts none."""

    async def find(self, key: RoomKey) -> RoomHandle | None:
        """The room, if it runs."""
        ...

    async def of_project(self, project_id: str) -> Sequence[RoomHandle]:
        """All rooms of a project that run."""
        ...

    async def end(self, key: RoomKey, reason: str) -> bool:
        """End a room's run, whoever is in it; returns whether it ran."""
        ...

    def note(self, key: RoomKey, entry_type: str, data: Mapping[str, Any]) -> None:
        """Write an entry into the log of a room, if it runs. One way: returns at once, and says nothing of it."""
        ...

    async def counts(self) -> RoomCounts:
        """Figures of what runs here."""
        ...


class RoomLocator(Protocol):
    """Reaches any room, wherever it runs."""

    async def find(self, key: RoomKey) -> RoomHandle | None:
        """The room, if it runs. Nothing keeps it running: for a single call right afterwards, which costs no lease."""
        ...

    def open(self, key: RoomKey) -> AbstractAsyncContextManager[RoomHandle]:
        """The room, started if it does not run; it will not end for idleness within the block.

        Raises:
            LimitExceededError: Too many rooms run.
            UnavailableError: The server is shutting down, or the room's stores cannot be opened.
        """
        ...
