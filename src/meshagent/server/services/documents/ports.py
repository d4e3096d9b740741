"""What the document service needs of others, and what it tells its subscribers."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol


class DocumentFiles(Protocol):
    """The room's files, as far as documents need them: schemas are read there, and states are shown there."""

    async def read_file(self, path: str) -> bytes | None:
        """The content of a file, or None if there is none."""
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
        """What `encode` makes of this update; it is called once for each key."""
        frames = self._encoded.get(key)
        if frames is None:
            frames = self._encoded[key] = encode(self)
        return frames


class Subscriber(Protocol):
    """Somebody who has a document open."""

    def push(self, update: Update) -> None:
        """Take a change that somebody else made; must not wait and must not raise."""
        ...

    def ended(self, reason: str) -> None:
        """The document is gone, for instance deleted; nothing follows."""
        ...
