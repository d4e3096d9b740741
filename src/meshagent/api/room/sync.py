"""Shared documents: `room.sync` (protocol 7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from meshagent.api.contracts import documents as api
from meshagent.api.errors import ConnectionLostError, InvalidStateError, RoomException
from meshagent.api.room._done import DONE, Done
from meshagent.api.room.core import ConnectionHooks, RoomCore
from meshagent.api.room.documents import MeshDocument, OpenDocument, ended_error

__all__ = ["MeshDocument", "SyncClient"]

log = logging.getLogger(__name__)


class SyncClient:
    """Use it as `room.sync`. Open documents survive reconnecting, with the edits that were made meanwhile.

    Errors of all methods: as `RoomClient.call`; `NotFoundError`, `AlreadyExistsError`.
    """

    def __init__(self, *, room: RoomCore) -> None:
        self._room = room
        self._open: dict[str, OpenDocument] = {}
        room.listen(api.UPDATED, self._on_update)
        room.listen(api.ENDED, self._on_ended)
        room.follow_connection(
            ConnectionHooks(
                name="documents",
                lost=self._connection_lost,
                restore=self._restore,
                before_leave=self._flush_all,
                left=self._leave,
            )
        )

    def start(self) -> Done:
        """Do nothing: the client works as soon as the room is ready. May be awaited."""
        return DONE

    def stop(self) -> Done:
        """Do nothing: the client works until the room is left. May be awaited."""
        return DONE

    async def create(self, path: str, json: Mapping[str, Any] | None = None) -> None:
        """Create a document; the extension of `path` names its schema.

        Args:
            path: A path where nothing exists yet.
            json: Its content, one key, the root's tag; see protocol 8.3 for the form.
        """
        request = api.CreateRequest(path=_normalized(path), json=None if json is None else dict(json))
        await self._room.call(api.CREATE, request)

    async def open(self, path: str, create: bool = True) -> MeshDocument:
        """Open a document and return it. Edits of others arrive in it, and edits made here go to the others.

        Opening it again returns the same object; it is closed when `close` was called as often as `open`. When the
        document is deleted, replaced or moved, the room emits `document.ended(path, error)`, and the object keeps its
        content (`MeshDocument.ended`, `MeshDocument.unsent`); close it before opening what is there now.

        Args:
            path: The document; its extension names its schema.
            create: Create a missing document; otherwise it is a `NotFoundError`.
        """
        path = _normalized(path)
        entry = self._open.get(path)
        if entry is None:
            entry = self._open[path] = OpenDocument(path, self._room, create=create)
            entry.opening = self._room.spawn(entry.open(), f"opening {path}", quiet=True)
        entry.users += 1
        assert entry.opening is not None
        try:
            return await asyncio.shield(entry.opening)
        except BaseException:
            entry.users -= 1
            if entry.users == 0 or entry.opening.done():
                self._drop(entry)
            raise

    async def close(self, path: str) -> None:
        """Undo one `open`. The last one sends pending edits, waits for their answers, and closes the document.

        Raises:
            InvalidStateError: The document is not open.
            RoomException: The room refused an edit, which is lost; the document is closed.
        """
        path = _normalized(path)
        entry = self._open.get(path)
        if entry is None or entry.users == 0:
            raise InvalidStateError(f"the document {path!r} is not open")
        entry.users -= 1
        if entry.users:
            return
        try:
            await entry.flush()
        finally:
            if entry.users == 0:  # nobody opened it meanwhile
                self._forget(entry)
                await self._disconnect(entry)

    async def flush(self, path: str) -> None:
        """Wait until the room has all edits of an open document; errors as `close`."""
        entry = self._open.get(_normalized(path))
        if entry is None:
            raise InvalidStateError(f"the document {path!r} is not open")
        await entry.flush()

    async def sync(self, path: str, data: bytes | str) -> None:
        """Send an update as base64 text or bytes. Open documents send their own updates."""
        payload = data.encode() if isinstance(data, str) else data
        await self._room.call(api.SYNC, api.SyncRequest(path=_normalized(path)), payload)

    def get_open_documents(self) -> dict[str, MeshDocument]:
        """The open documents by path."""
        return {path: entry.document for path, entry in self._open.items() if entry.document is not None}

    # -- one document

    def _drop(self, entry: OpenDocument) -> None:
        """Drop a document that could not be opened, or whose opening everybody has cancelled."""
        self._forget(entry)
        assert entry.opening is not None
        if not entry.opening.done():  # the room may have subscribed us already
            entry.opening.cancel()
            self._room.spawn(self._disconnect(entry), f"closing {entry.path}", quiet=True)

    def _forget(self, entry: OpenDocument) -> None:
        if self._open.get(entry.path) is entry:
            del self._open[entry.path]
        entry.close()

    async def _disconnect(self, entry: OpenDocument) -> None:
        try:
            await self._room.call_now(api.DISCONNECT, api.DisconnectRequest(path=entry.path))
        except RoomException as error:
            log.info("cannot tell the room that %s is closed: %s", entry.path, error)

    # -- the connection

    def _on_update(self, event: api.SyncRequest, payload: bytes) -> None:
        path = _normalized(event.path)
        entry = self._open.get(path)
        if entry is None:
            log.debug("ignored an update of %s, which is not open any more", path)
        else:
            entry.receive(payload)

    def _on_ended(self, event: api.EndedNotice, payload: bytes) -> None:
        entry = self._open.get(_normalized(event.path))
        if entry is not None:
            entry.ended(ended_error(entry.path, event.change, event.new_path))

    async def _flush_all(self) -> None:
        """Wait until the room has all edits."""
        for entry in list(self._open.values()):
            try:
                await entry.flush()
            except RoomException as error:
                log.error("edits of %s are lost: %s", entry.path, error)

    def _connection_lost(self) -> None:
        for entry in self._open.values():
            entry.connection_lost()

    async def _restore(self, same_run: bool) -> None:
        """Open the documents again on the new connection, and exchange missing edits."""
        for entry in list(self._open.values()):
            try:
                await entry.restore(same_run=same_run)
            except ConnectionLostError:
                raise
            except RoomException as error:
                log.warning("reconnected without the document %s: %s", entry.path, error)

    def _leave(self) -> None:
        for entry in list(self._open.values()):
            self._forget(entry)


def _normalized(path: str) -> str:
    """`path` without what does not distinguish it: outer and doubled slashes, dots that mean `here`."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))
