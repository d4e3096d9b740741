"""The JSON form of a room's document, kept until the document changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from meshagent.api.documents.crdt_doc import CrdtDoc
from meshagent.api.documents.json_reader import JsonReader
from meshagent.api.documents.json_view import without_ids
from meshagent.api.documents.schema import MeshSchema

__all__ = ["KeptView"]


class KeptView:
    """What was read of a document last.

    Attributes:
        content: The document with ids; None if it has changed since.
        has_own_ids: Whether each element had an id of its own when it was read.
    """

    __slots__ = ("_changes", "_plain", "_version", "content", "has_own_ids")

    def __init__(self) -> None:
        self.content: dict[str, Any] | None = None
        self.has_own_ids = False
        self._plain: dict[int, Any] = {}
        self._version: str | None = None
        self._changes = 0

    def forget(self) -> None:
        """The document has changed."""
        self._changes += 1
        self.content, self._plain, self._version = None, {}, None

    def replace(self, content: dict[str, Any], before: dict[int, Any]) -> None:
        """The document has changed to `content`, which shares what has not changed; `before` is what `plain` was."""
        self.content, self._plain, self._version = content, before, None

    def read(self, doc: CrdtDoc, schema: MeshSchema) -> Iterator[None]:
        """Read the document in steps; nothing is kept if it changes between them."""
        changes = self._changes
        reader = JsonReader(doc, schema)
        for step in reader.steps():
            yield step
            if self._changes != changes or doc.closed:
                return
        self.content, self._plain, self._version = reader.content, reader.plain, None
        self.has_own_ids = reader.has_own_ids

    @property
    def plain(self) -> dict[int, Any]:
        """The form without ids of each element, by identity."""
        return self._plain

    def without_ids(self, schema: MeshSchema) -> dict[str, Any]:
        """The document without ids; it must be there."""
        assert self.content is not None
        whole = self._plain.get(id(self.content))
        if whole is not None and whole[0] is self.content:
            kept: dict[str, Any] = whole[1]
            return kept  # and what is known of its parts stays known
        seen: dict[int, Any] = {}
        plain: dict[str, Any] = without_ids(self.content, schema, self._plain, seen)
        self._plain = seen
        return plain

    def version(self) -> str:
        """Names the content, however its attributes are ordered in memory; it must be there."""
        if self._version is None:
            encoded = msgspec.json.encode(self.content, order="sorted")
            self._version = hashlib.sha256(encoded).hexdigest()[:32]
        return self._version
