"""Documents backed by a CRDT, and the registry that finds them by id.

Source: protocol 7, 8.5.
"""

from __future__ import annotations

import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from weakref import WeakValueDictionary

from meshagent.api.documents.crdt_doc import MalformedUpdateError
from meshagent.api.documents.document import Document, Emission
from meshagent.api.documents.schema import MeshSchema
from meshagent.api.documents.tree import parse_document
from meshagent.api.documents.xml_document import Notification, ServerXmlDocument
from meshagent.api.errors import InvalidStateError, NotFoundError

__all__ = ["DocumentRuntime", "RuntimeDocument", "runtime"]

OnDocumentSync = Callable[[str], Any]


class RuntimeDocument(Document):
    """A participant's copy of a document.

    Every public call that edits is one transaction and one update.

    Args:
        schema: The schema of the document.
        on_document_sync: Called with each local change as a base64 update, in order. Remote changes are not
            reported back.
        id: Local name of the document; random by default.
        data: Initial state, a Yjs v1 update.
        json: Initial content in the form of protocol 8.3; a local change.
    """

    def __init__(
        self,
        schema: MeshSchema,
        on_document_sync: OnDocumentSync | None = None,
        id: str | None = None,
        data: bytes | None = None,
        json: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(schema, self._on_broadcast)
        self.id: str = id or str(uuid.uuid4())
        self._on_document_sync = on_document_sync
        self._emissions: list[Emission] = []
        self._undo_enabled = False
        self._xml = ServerXmlDocument(notify_changes=self._on_notification)
        _documents[self.id] = self
        if data is not None:
            self.apply_update(data)
        if json is not None:
            self._fill(parse_document(schema, json))

    def send_changes(self, changes: Sequence[Mapping[str, Any]]) -> None:
        """Make edits (protocol 8.5) in one transaction.

        Raises:
            NotFoundError: A change names an element that does not exist.
            InvalidRequestError: A change holds a value that a document cannot hold.
        """
        try:
            self._xml.apply_changes(changes)
        finally:
            self._publish()

    def apply_update(self, update: bytes) -> None:
        """Apply a remote update (Yjs v1); `MalformedUpdateError` if it cannot be read."""
        try:
            self._xml.apply_update(update)
        finally:
            self._publish()

    def apply_backend_changes(self, data: str) -> None:
        """Apply a remote update in base64."""
        try:
            update = b64decode(data, validate=True)
        except ValueError as error:  # binascii.Error, or a text that is not ASCII
            raise MalformedUpdateError(f"not base64: {error}") from error
        self.apply_update(update)

    def get_state(self, vector: bytes | None = None) -> bytes:
        """The whole state as an update, or what a copy with that state vector lacks."""
        return self._xml.get_state(vector)

    def get_state_vector(self) -> bytes:
        """The state vector: how many changes of each author this copy has."""
        return self._xml.get_state_vector()

    def enable_undo(self, *, merge_within: float = 0.5) -> None:
        """Record local edits from now on; those within `merge_within` seconds are undone together.

        Off by default: recording keeps all that was deleted or overwritten in memory.
        """
        self._xml.track_undo(merge_within=merge_within)
        self._undo_enabled = True

    def undo(self) -> bool:
        """Undo the latest local edits; False if there are none.

        Raises:
            InvalidStateError: `enable_undo` was not called.
        """
        return self._step_back(self._xml.undo)

    def redo(self) -> bool:
        """Redo what was undone last; False if nothing was. Errors as `undo`."""
        return self._step_back(self._xml.redo)

    def close(self) -> None:
        """Release the CRDT. The elements stay readable; edits are refused. Closing again does nothing."""
        if _documents.get(self.id) is self:
            del _documents[self.id]
        self._xml.close()

    def _step_back(self, step: Callable[[], bool]) -> bool:
        if not self._undo_enabled:
            raise InvalidStateError("the document does not record edits: call enable_undo() first")
        try:
            return step()
        finally:
            self._publish()

    def _on_broadcast(self, payload: Mapping[str, Any]) -> None:
        self.send_changes(payload["changes"])

    def _on_notification(self, notification: Notification) -> None:
        self._emissions += self._apply(notification)

    def _publish(self) -> None:
        """Send local changes, then call the handlers, whose own edits are sent later."""
        update = self._xml.take_update()
        emissions, self._emissions = self._emissions, []
        if update is not None and self._on_document_sync is not None:
            self._on_document_sync(b64encode(update).decode())
        for emission in emissions:
            emission()


_documents: WeakValueDictionary[str, RuntimeDocument] = WeakValueDictionary()
"""The open documents of the process by id, until they are closed or garbage collected."""


class DocumentRuntime:
    """Makes documents and finds them by id. All instances share one registry."""

    def __init__(self) -> None:
        self._made: WeakValueDictionary[str, RuntimeDocument] = WeakValueDictionary()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the documents made by this instance."""
        for document in list(self._made.values()):
            document.close()
        self._made.clear()

    def new_document(
        self,
        schema: MeshSchema,
        id: str | None = None,
        data: bytes | None = None,
        on_document_sync: OnDocumentSync | None = None,
        json: Mapping[str, Any] | None = None,
        factory: Callable[..., RuntimeDocument] | None = None,
    ) -> RuntimeDocument:
        """Create a document. Arguments as for `RuntimeDocument`; `factory` is a class to use instead of it."""
        make = RuntimeDocument if factory is None else factory
        document = make(schema=schema, on_document_sync=on_document_sync, id=id, data=data, json=json)
        self._made[document.id] = document
        return document

    def get_doc(self, id: str) -> RuntimeDocument:
        """The open document with that id; `NotFoundError` if there is none."""
        document = _documents.get(id)
        if document is None:
            raise NotFoundError(f"document {id!r} is not open")
        return document

    def on_document_sync(self, document_id: str, base64: str) -> None:
        """Call the `on_document_sync` of a document, as a local change does."""
        document = self.get_doc(document_id)
        if document._on_document_sync is not None:
            document._on_document_sync(base64)

    def apply_backend_changes(self, document_id: str, base64: str) -> None:
        """Apply a remote update in base64 to a document."""
        self.get_doc(document_id).apply_backend_changes(base64)

    def get_state(self, id: str, vector: bytes | None = None) -> bytes:
        """See `RuntimeDocument.get_state`."""
        return self.get_doc(id).get_state(vector)

    def get_state_vector(self, id: str) -> bytes:
        """See `RuntimeDocument.get_state_vector`."""
        return self.get_doc(id).get_state_vector()

    def apply_changes(self, changes: Mapping[str, Any]) -> None:
        """Apply `{"documentID", "changes"}` to the document it names (protocol 8.5)."""
        self.get_doc(changes["documentID"]).send_changes(changes["changes"])


runtime = DocumentRuntime()
"""The shared instance of existing programs."""
