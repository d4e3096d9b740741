"""`sync.open`: a document as a duplex stream (protocol 14.8)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections import deque
from typing import Any

import msgspec

from meshagent.api import jsontext
from meshagent.api.documents.lives import DocumentEndedError
from meshagent.api.errors import InvalidRequestError, PermissionDeniedError, RoomException
from meshagent.server.dispatch.contents import binary_content, close_content, closes_stream
from meshagent.server.dispatch.document_updates import update_base64
from meshagent.server.dispatch.invoke.stream import Stream
from meshagent.server.dispatch.invoke.stream_tasks import Inbox, Spawn
from meshagent.server.kernel.futures import pass_on
from meshagent.server.kernel.json_cost import check_values
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.services.documents.ports import Update
from meshagent.server.services.documents.service import DocumentsService, DocumentSubscription

log = logging.getLogger(__name__)


class _Start(msgspec.Struct, frozen=True, kw_only=True):
    kind: str
    path: str
    create: bool = True
    vector: str | None = None
    schema: dict[str, Any] | None = None
    schema_path: str | None = None
    initial_json: Any = None


class DocumentStream:
    """One client's stream of one document (a `StreamInput` and a `Subscriber`).

    A task opens the document. From then on updates are applied in the connection's reader, in order.

    Args:
        stream: The stream.
        documents: Opens the document.
        spawn: Runs a task of the room.
    """

    __slots__ = (
        "_acknowledgements",
        "_documents",
        "_started",
        "_stream",
        "_subscription",
        "_sync_header",
        "_task",
        "_waiting",
    )

    def __init__(self, stream: Stream, documents: DocumentsService, spawn: Spawn) -> None:
        self._stream = stream
        self._documents = documents
        self._subscription: DocumentSubscription | None = None
        self._started = False
        self._sync_header = b""
        self._waiting = Inbox()
        self._acknowledgements: deque[asyncio.Future[None]] = deque()  # of the items that wait, but not of the start
        stream.open()
        self._task = spawn(self._open(), name="open a document")

    # --- the client's side ---------------------------------------------------------------------------

    def receive(self, item: EncodedContent) -> asyncio.Future[None] | None:
        if self._subscription is not None:
            return self._take(self._subscription, closes_stream(item.header), item.payload)
        self._waiting.put(item)
        if not self._started:
            self._started = True
            return None
        acknowledged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._acknowledgements.append(acknowledged)
        return acknowledged

    def _take(self, subscription: DocumentSubscription, is_close: bool, update: bytes) -> asyncio.Future[None] | None:
        if is_close:
            subscription.close()
            self._stream.close()
            return None
        participant = self._stream.participant
        if not participant.scope.can_write_document(subscription.document.path):
            raise PermissionDeniedError(f"the token does not allow editing {subscription.document.path}")
        return subscription.apply(_decode_base64(update), participant.id)

    def cancel(self) -> None:
        self._task.cancel()
        self._give_up_waiting()
        if self._subscription is not None:
            self._subscription.close()

    async def _open(self) -> None:
        try:
            start, _ = await self._waiting.start(_Start)
            subscription = await self._join(start)
            while not self._waiting.is_empty:
                item = await self._waiting.next()
                durable = self._take(subscription, item.is_close, item.payload)
                _settle(self._acknowledgements.popleft(), durable)
        except RoomException as error:
            self._fail(error)
        except Exception:
            log.exception("%r failed to open its document", self._stream)
            self._fail(RoomException("the document could not be opened; the server's log says more"))

    def _fail(self, error: RoomException) -> None:
        self._stream.fail(error)
        self._give_up_waiting()
        if self._subscription is not None:
            self._subscription.close()

    def _give_up_waiting(self) -> None:
        """Nothing more is taken: the stream has failed, which the client was told, or the client has left."""
        while self._acknowledgements:
            self._acknowledgements.popleft().cancel()

    async def _join(self, start: _Start) -> DocumentSubscription:
        scope = self._stream.participant.scope
        scope.require_sync(start.path, write=False)
        create = start.create and scope.can_write_document(start.path)
        vector = _decode_base64(start.vector.encode()) if start.vector else None
        async with self._documents.joining(
            start.path,
            vector=vector,
            create=create,
            initial_json=_initial_content(start.initial_json),
            schema=start.schema or None,
        ) as document:
            path = document.path
            header = {"type": "binary", "headers": {"kind": "sync", "path": path}}
            self._sync_header = jsontext.dumps(header)
            self._subscription = subscription = self._documents.subscribe(document, self)
            state = base64.b64encode(document.document.encode_state(vector))
            self._stream.reply(binary_content({"kind": "state", "path": path, "schema": document.schema_json}, state))
            return subscription

    # --- the document's side -------------------------------------------------------------------------

    def push(self, update: Update) -> None:
        self._stream.push(EncodedContent(self._sync_header, update_base64(update)))

    def ended(self, error: DocumentEndedError | None) -> None:
        if error is None:
            self._stream.close(close_content("the room ended"))
        else:
            self._stream.fail(error)

    def moved(self, error: DocumentEndedError) -> bool:
        self._stream.fail(error)
        return True


def _settle(acknowledged: asyncio.Future[None], durable: asyncio.Future[None] | None) -> None:
    """Complete the acknowledgement of an item that waited with what came of it."""

    if durable is None:
        acknowledged.set_result(None)
    else:
        pass_on(durable, acknowledged)


def _decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidRequestError("a document update must be base64 text") from None


def _initial_content(value: Any) -> dict[str, Any] | None:
    """Initial content, which clients send as an object or as its JSON text."""
    if isinstance(value, str):
        check_values(value.encode())
        value = jsontext.loads(value)
    if value is None or isinstance(value, dict):
        return value
    raise InvalidRequestError("initial_json must be an object")
