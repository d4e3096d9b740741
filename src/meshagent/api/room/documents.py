"""One open document of a room client: sending its edits, and restoring it after a lost connection."""

from __future__ import annotations

import asyncio
import binascii
import logging
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pycrdt

from meshagent.api.contracts import documents as api
from meshagent.api.documents.crdt_doc import MalformedUpdateError, merge_updates
from meshagent.api.documents.lives import Change, DocumentEndedError
from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.documents.schema import MeshSchema
from meshagent.api.errors import ConnectionLostError, PermissionDeniedError, RequestTimeoutError, RoomException
from meshagent.api.room.core import RoomCore
from meshagent.api.room.reconnect import ReconnectPolicy

__all__ = ["MeshDocument", "OpenDocument"]

log = logging.getLogger(__name__)

EMPTY_UPDATE: Final = b"\x00\x00"
MAX_EARLY_UPDATES: Final = 10_000
REFUSAL_RETRIES: Final = ReconnectPolicy(max_attempts=6)


class MeshDocument(RuntimeDocument):
    """A document of a room that this client has opened. Edits are sent to the room automatically.

    Events: `ended(error)` when the document was deleted, replaced or moved; besides those of `Document`.

    Attributes:
        synchronized: Done when the content of the room was received.
        read_only: Whether the room refuses edits of this participant; they raise `PermissionDeniedError`.
        ended: What happened to the document, None while it is there. Once it has ended, the content stays readable and
            edits raise this error.
        unsent: The edits that the room did not take before the document ended, as an update; empty if there are none.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.synchronized: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.read_only = False
        self.ended: DocumentEndedError | None = None
        self.unsent = b""

    def send_changes(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """As `RuntimeDocument.send_changes`.

        Raises:
            DocumentEndedError: The document was deleted, replaced or moved.
            PermissionDeniedError: The token of the participant allows only reading it.
        """
        if self.ended is not None:
            raise self.ended
        if self.read_only:
            raise PermissionDeniedError("the token does not allow editing this document")
        super().send_changes(changes)


class OpenDocument:
    """One document, the number of its users, and its synchronization with the room.

    While connected, local edits are sent one update at a time; edits made while one is on its way are merged into
    the next. While the connection is lost, edits stay in the document: when it is back, state vectors tell what the
    room lacks, so no edit is lost or applied twice.
    """

    def __init__(self, path: str, room: RoomCore, *, create: bool) -> None:
        self.path = path
        self.users = 0
        self.document: MeshDocument | None = None
        self.opening: asyncio.Task[MeshDocument] | None = None
        self._room = room
        self._create = create
        self._early: list[bytes] = []  # came before the answer to `room.connect` was read
        self._online = False
        self._edits: list[str] = []  # base64, not sent yet
        self._sender: asyncio.Task[None] | None = None
        self._changed_offline = False
        self._known_vector = b"\x00"  # what the room certainly has
        self._life: str | None = None
        self._early_end: DocumentEndedError | None = None
        self._restored: asyncio.Future[bytes] | None = None
        self._refusal: RoomException | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    # -- opening and closing

    async def open(self) -> MeshDocument:
        """Subscribe to the document, and return it once it has the content of the room."""
        request = api.ConnectRequest(path=self.path, create=self._create, track=True)
        result = await self._room.call(api.CONNECT, request)
        if self._early_end is not None:
            raise self._early_end
        self._life = result.life
        schema = MeshSchema.from_json(result.schema)
        document = self.document = MeshDocument(schema=schema, on_document_sync=self._edited)
        document.read_only = result.read_only
        early, self._early = self._early, []
        for update in early:
            self.receive(update)
        await document.synchronized
        return document

    def close(self) -> None:
        """Refuse edits from now on; the content stays readable."""
        self._online = False
        if not self._settled.is_set():
            log.warning("edits of %s did not reach the room", self.path)
        self._stop_sending()
        if self.document is not None:
            self.document.close()
            if not self.document.synchronized.done():
                self.document.synchronized.cancel()

    async def flush(self) -> None:
        """Wait until the room has all edits.

        Raises:
            DocumentEndedError: The document was deleted, replaced or moved before that.
            RoomException: The room refused an edit.
            RequestTimeoutError: The connection is lost and does not come back in time.
        """
        try:
            async with asyncio.timeout(self._room.request_timeout):
                while not self._settled.is_set():  # a wake-up may come after the next edit
                    await self._settled.wait()
        except TimeoutError:
            raise RequestTimeoutError(f"edits of {self.path} did not reach the room in time") from None
        if self._refusal is not None:
            raise self._refusal

    # -- receiving

    def receive(self, payload: bytes) -> None:
        """Apply an update that came from the room, base64 text."""
        document = self.document
        if document is None:
            if len(self._early) < MAX_EARLY_UPDATES:
                self._early.append(payload)
            return
        try:
            update = b64decode(payload, validate=True)
            document.apply_update(update)
        except (MalformedUpdateError, binascii.Error) as error:
            log.error("cannot read an update of %s: %s", self.path, error)
            self._fail_opening(RoomException(f"cannot read the content of {self.path}: {error}"))
            return
        if self._restored is not None:
            if not self._restored.done():
                self._restored.set_result(update)
        elif not document.synchronized.done():
            self._known_vector = document.get_state_vector()
            self._online = True
            document.synchronized.set_result(None)

    def _fail_opening(self, error: RoomException) -> None:
        """Fail whoever waits for the content of the room."""
        waiting: list[asyncio.Future[Any]] = [] if self._restored is None else [self._restored]
        if self.document is not None:
            waiting.append(self.document.synchronized)
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen, also where the request itself failed first

    # -- sending

    def _edited(self, update: str) -> None:
        """Send a local edit, or remember it while there is no connection. `update` is base64 text."""
        self._settled.clear()
        if not self._online:
            self._changed_offline = True
            return
        self._edits.append(update)
        if self._sender is None:
            self._sender = self._room.spawn(self._send_edits(), f"edits of {self.path}")

    async def _send_edits(self) -> None:
        try:
            while self._edits and self._online:
                edits, self._edits = self._edits, []
                payload = edits[0].encode() if len(edits) == 1 else _merged(edits)
                await self._send(payload)
                self._acknowledged()
        except ConnectionLostError:
            self._changed_offline = True  # `restore` sends what did not arrive
        except RoomException as error:
            self._refused(error)
        finally:
            if self._sender is asyncio.current_task():
                self._sender = None

    def _acknowledged(self) -> None:
        """Note that the room has an update; without newer edits it has everything that this copy has."""
        if not self._edits and self.document is not None:
            self._known_vector = self.document.get_state_vector()
            self._settled.set()

    def _stop_sending(self) -> None:
        """Stop sending. Whether the last update has arrived is found out by `restore`."""
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
            self._changed_offline = True

    async def _send(self, payload: bytes) -> None:
        """Send one update; repeat it after refusals that may be temporary."""
        for delay in REFUSAL_RETRIES.delays():
            try:
                await self._room.call_now(api.SYNC, api.SyncRequest(path=self.path), payload)
            except ConnectionLostError:
                raise
            except RoomException as error:
                if not error.retryable:
                    raise
                log.warning("the room refused an edit of %s for now: %s", self.path, error)
                await asyncio.sleep(delay)
            else:
                return
        await self._room.call_now(api.SYNC, api.SyncRequest(path=self.path), payload)

    def _refused(self, error: RoomException) -> None:
        """Stop synchronizing: the room refused an edit, so this copy differs from the room's."""
        log.error("the room refused an edit of %s: %s", self.path, error)
        self._refusal = error
        self._online = False
        self._edits.clear()
        self._settled.set()
        self._room.emit("document.error", path=self.path, error=error)

    def ended(self, error: DocumentEndedError) -> None:
        """Stop synchronizing: the document was deleted, replaced or moved. Its content stays as it is here."""
        document = self.document
        if document is None:
            self._early_end = error
            return
        if self._refusal is not None or document.ended is not None:
            return
        self._fail_opening(error)
        self._online = False
        self._stop_sending()
        self._edits.clear()
        if not self._settled.is_set():
            self._refusal = error
            document.unsent = document.get_state(self._known_vector)
        document.ended = error
        document.emit("ended", error)
        self._settled.set()
        log.warning("%s", error)
        self._room.emit("document.ended", path=self.path, error=error)

    # -- after a lost connection

    def connection_lost(self) -> None:
        """Keep edits in the document until `restore` is called."""
        self._online = False
        self._edits.clear()
        self._stop_sending()
        self._fail_opening(ConnectionLostError(f"the connection closed while {self.path} was being opened"))

    async def restore(self, *, same_run: bool) -> None:
        """Subscribe again, receive missed edits, and send those that the room lacks.

        Args:
            same_run: The room has been running since, so it still has everything that it acknowledged. Otherwise the
                state vector in its answer says what it lacks, or else its whole state is requested.
        """
        document = self.document
        if document is None or self._refusal is not None or document.ended is not None:
            return
        tells_vector = self._life is not None
        vector = b64encode(document.get_state_vector()).decode() if same_run or tells_vector else None
        self._restored = asyncio.get_running_loop().create_future()
        try:
            request = api.ConnectRequest(
                path=self.path, create=self._create, vector=vector, track=True, life=self._life
            )
            result = await self._room.call_now(api.CONNECT, request)
            if result.ended is not None:
                self.ended(ended_error(self.path, result.ended, result.new_path))
                return
            received = await self._restored
        finally:
            self._restored = None
        if result.vector is not None:
            self._known_vector = b64decode(result.vector)
        elif not same_run:
            self._known_vector = pycrdt.get_state(received)
        self._go_online(document, same_run=same_run)

    def _go_online(self, document: MeshDocument, *, same_run: bool) -> None:
        self._online = True
        behind = self._changed_offline or not same_run
        missing = document.get_state(self._known_vector) if behind else EMPTY_UPDATE
        self._changed_offline = False
        if missing == EMPTY_UPDATE:
            self._settled.set()
        else:
            self._edited(b64encode(missing).decode())


def ended_error(path: str, change: Change, new_path: str | None) -> DocumentEndedError:
    """The error for what the room says about a document that has ended."""
    where = f" to {new_path}" if new_path else ""
    return DocumentEndedError(f"the document {path} was {change}{where}", change=change, new_path=new_path)


def _merged(edits: list[str]) -> bytes:
    return b64encode(merge_updates(*(b64decode(edit) for edit in edits)))
