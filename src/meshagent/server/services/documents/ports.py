"""What the document service needs of others, and what it tells its subscribers."""

from __future__ import annotations

import base64
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
    """One effective change of a document on its way to subscribers; what it is encoded to is kept for all of them."""

    __slots__ = ("_base64", "_encoded", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._base64: bytes | None = None
        self._encoded: dict[Hashable, bytes] = {}

    @property
    def base64(self) -> bytes:
        """The update as base64 text, the form in which both dialects carry it."""
        if self._base64 is None:
            self._base64 = base64.b64encode(self.data)
        return self._base64

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
