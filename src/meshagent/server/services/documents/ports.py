"""Ports of the document service: the files that it needs, and its subscribers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from meshagent.api.documents.lives import DocumentEndedError


class DocumentFiles(Protocol):
    """The room's files, as documents need them: schemas are read from files, and states are saved as files."""

    async def read_file(self, path: str) -> bytes | None:
        """The content of a file, or None."""
        ...

    async def publish_document(self, path: str, state: bytes, *, participant_id: str | None) -> None:
        """Write a document's state as the file at its path, and announce the change."""
        ...


class Update:
    """One change of a document on its way to subscribers, who share each form that it is encoded to."""

    __slots__ = ("_encoded", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._encoded: dict[Hashable, bytes] = {}

    def encoded(self, key: Hashable, encode: Callable[[Update], bytes]) -> bytes:
        """The result of `encode`, which is called once for each key."""
        frames = self._encoded.get(key)
        if frames is None:
            frames = self._encoded[key] = encode(self)
        return frames


class Subscriber(Protocol):
    """A subscriber of an open document."""

    def push(self, update: Update) -> None:
        """Receive a change that another subscriber made; must not wait or raise."""
        ...

    def ended(self, error: DocumentEndedError | None) -> None:
        """The document was deleted or replaced, or else the room ends; no more calls follow."""
        ...

    def moved(self, error: DocumentEndedError) -> bool:
        """The document has another path; returns whether the subscription ends, or else goes on as it was."""
        ...
