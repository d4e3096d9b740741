"""`sync.open`: a document as a duplex stream (spec room-protocol-current 2.9)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, PermissionDeniedError, RoomException
from meshagent.server.dispatch.invoke.messages import binary_chunk, close_chunk
from meshagent.server.dispatch.invoke.output import CallerOutput
from meshagent.server.dispatch.invoke.streams import Inbox, Item
from meshagent.server.kernel.dispatcher import Caller
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.pending_calls import Chunk
from meshagent.server.services.documents.ports import Update
from meshagent.server.services.documents.service import DocumentSession, DocumentsService

log = logging.getLogger(__name__)


class _Start(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    path: str
    create: bool = True
    vector: str | None = None
    schema: dict[str, Any] | None = None
    schema_path: str | None = None
    initial_json: Any = None


class SyncCall:
    """One client's stream of one document; updates are applied in the reader, in order."""

    __slots__ = ("_documents", "_participant", "_session", "_sync_header", "_task", "_waiting", "output")

    def __init__(
        self, documents: DocumentsService, participant: Participant, output: CallerOutput, spawn: Callable[..., Any]
    ) -> None:
        self._documents = documents
        self._participant = participant
        self._session: DocumentSession | None = None
        self._sync_header = b""
        self._waiting = Inbox()
        self.output = output
        output.open()
        self._task: asyncio.Task[None] = spawn(self._open(), name="open a document")

    # --- the client's side ---------------------------------------------------------------------------

    def chunk(self, chunk: Chunk) -> asyncio.Future[None] | None:
        item = Item(chunk)
        if self._session is None:
            self._waiting.put(item)
            return None
        return self._take(item)

    def _take(self, item: Item) -> asyncio.Future[None] | None:
        session = self._session
        assert session is not None
        if item.is_close:
            session.close()
            self.output.send(close_chunk())
            return None
        if not self._participant.scope.can_write_document(session.document.path):
            raise PermissionDeniedError(f"the token does not allow editing {session.document.path}")
        return session.apply(_decoded(item.payload), self._participant.id)

    def abandon(self) -> None:
        self._task.cancel()
        if self._session is not None:
            self._session.close()

    async def _open(self) -> None:
        try:
            start, _ = await self._waiting.start(_Start)
            await self._join(start)
            while not self._waiting.is_empty:
                self._take(await self._waiting.next())
        except RoomException as error:
            self.output.failed(error)
        except Exception:
            log.exception("a document stream of %r failed", self._participant)
            self.output.failed(RoomException("the document could not be opened; the server's log says more"))

    async def _join(self, start: _Start) -> None:
        scope = self._participant.scope
        scope.require_sync(start.path, write=False)
        create = start.create and scope.can_write_document(start.path)
        vector = _decoded(start.vector.encode()) if start.vector else None
        async with self._documents.using(
            start.path, create=create, initial_json=_initial(start.initial_json), schema=start.schema or None
        ) as document:
            path = document.path
            header = {"type": "binary", "headers": {"kind": "sync", "path": path}}
            self._sync_header = jsontext.dumps(header)
            self._session = self._documents.subscribe(document, self)
            state = base64.b64encode(document.document.encode_state(vector))
            self.output.send(binary_chunk({"kind": "state", "path": path, "schema": document.schema_json}, state))

    # --- the document's side -------------------------------------------------------------------------

    def push(self, update: Update) -> None:
        self.output.send(Chunk(self._sync_header, update.base64))

    def ended(self, reason: str) -> None:
        self.output.send(close_chunk(message=reason))


class SyncStreams:
    """Begins `sync.open` calls."""

    def __init__(self, documents: DocumentsService) -> None:
        self._documents = documents

    def begin(self, caller: Caller, output: CallerOutput, spawn: Callable[..., Any]) -> SyncCall:
        return SyncCall(self._documents, caller.participant, output, spawn)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidRequestError("an update is base64 text") from None


def _initial(value: Any) -> dict[str, Any] | None:
    """Initial content, which clients send as an object or as its JSON text."""
    if isinstance(value, str):
        value = jsontext.loads(value)
    if value is None or isinstance(value, dict):
        return value
    raise InvalidRequestError("initial_json must be an object")
