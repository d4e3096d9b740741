"""A registry of CRDT documents by id, for programs that edit them with change operations only."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import Any

from meshagent.api.documents.crdt_doc import MalformedUpdateError
from meshagent.api.documents.xml_document import Notification, ServerXmlDocument
from meshagent.api.errors import AlreadyExistsError, NotFoundError

__all__ = [
    "Documents",
    "ProtocolMap",
    "apply_backend_changes",
    "apply_changes",
    "get_state",
    "get_state_vector",
    "register_document",
    "unregister_document",
]

SendToBackend = Callable[[str, str], Any]
SendToClient = Callable[[str, Notification], Any]


class ProtocolMap:
    """Registered documents by id. They stay until they are unregistered."""

    def __init__(self) -> None:
        self._documents: dict[str, tuple[ServerXmlDocument, SendToBackend | None]] = {}

    def __contains__(self, doc_id: object) -> bool:
        return doc_id in self._documents

    def __getitem__(self, doc_id: str) -> ServerXmlDocument:
        return self._entry(doc_id)[0]

    def __len__(self) -> int:
        return len(self._documents)

    def register(
        self,
        doc_id: str,
        base64_state: str | None,
        undo: bool = False,
        *,
        send_update_to_backend: SendToBackend | None = None,
        send_update_to_client: SendToClient | None = None,
    ) -> ServerXmlDocument:
        """Add a document.

        Args:
            doc_id: Its id.
            base64_state: Its initial state, an update in base64; None for an empty document.
            undo: Whether local changes can be undone.
            send_update_to_backend: Called with the id and each local change, an update in base64.
            send_update_to_client: Called with the id and each notification (protocol 8.6).

        Raises:
            AlreadyExistsError: There is one with that id.
            MalformedUpdateError: The state cannot be read.
        """
        if doc_id in self._documents:
            raise AlreadyExistsError(f"document {doc_id!r} is already registered")
        to_client = send_update_to_client

        def notify(notification: Notification) -> None:
            if to_client is not None:
                to_client(doc_id, notification)

        document = ServerXmlDocument(undo=undo, notify_changes=notify)
        if base64_state:
            document.apply_update(_decode(base64_state))
        self._documents[doc_id] = document, send_update_to_backend
        return document

    def unregister(self, doc_id: str) -> None:
        """Close and remove a document; `NotFoundError` if there is none."""
        document, _ = self._entry(doc_id)
        del self._documents[doc_id]
        document.close()

    def apply_changes(self, payload: Mapping[str, Any]) -> None:
        """Apply `{"documentID", "changes"}` (protocol 8.5)."""
        doc_id = payload["documentID"]
        document, send = self._entry(doc_id)
        try:
            document.apply_changes(payload["changes"])
        finally:
            update = document.take_update()
            if update is not None and send is not None:
                send(doc_id, b64encode(update).decode())

    def _entry(self, doc_id: str) -> tuple[ServerXmlDocument, SendToBackend | None]:
        entry = self._documents.get(doc_id)
        if entry is None:
            raise NotFoundError(f"document {doc_id!r} is not registered")
        return entry


Documents = ProtocolMap()
"""The registry that the functions of this module use."""


def register_document(
    doc_id: str,
    base64_state: str | None,
    undo: bool = False,
    *,
    send_update_to_backend: SendToBackend | None = None,
    send_update_to_client: SendToClient | None = None,
) -> ServerXmlDocument:
    """See `ProtocolMap.register`."""
    return Documents.register(
        doc_id,
        base64_state,
        undo,
        send_update_to_backend=send_update_to_backend,
        send_update_to_client=send_update_to_client,
    )


def unregister_document(doc_id: str) -> None:
    """See `ProtocolMap.unregister`."""
    Documents.unregister(doc_id)


def apply_changes(payload: Mapping[str, Any]) -> None:
    """See `ProtocolMap.apply_changes`."""
    Documents.apply_changes(payload)


def apply_backend_changes(doc_id: str, changes_b64: str) -> None:
    """Apply a remote update in base64."""
    Documents[doc_id].apply_update(_decode(changes_b64))


def get_state(doc_id: str, vector_b64: str | None = None) -> str:
    """The state of a document in base64, or what a copy with that state vector lacks."""
    vector = None if vector_b64 is None else _decode(vector_b64)
    return b64encode(Documents[doc_id].get_state(vector)).decode()


def get_state_vector(doc_id: str) -> str:
    """The state vector of a document in base64."""
    return b64encode(Documents[doc_id].get_state_vector()).decode()


def _decode(data: str) -> bytes:
    try:
        return b64decode(data, validate=True)
    except ValueError as error:  # binascii.Error, or a text that is not ASCII
        raise MalformedUpdateError(f"not base64: {error}") from error
