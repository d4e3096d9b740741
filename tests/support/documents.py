"""A participant's own copy of a document, kept with the CRDT library alone, as any Yjs client keeps one."""

from __future__ import annotations

import base64
from typing import Any, cast

from pycrdt import Doc, XmlElement, XmlFragment

from tests.support.wire_client import Received


class Copy:
    """A Yjs document with the root that the document model uses."""

    def __init__(self, state: bytes = b"") -> None:
        self.doc: Doc[Any] = Doc()
        self.root: XmlFragment = self.doc.get("xml", type=XmlFragment)
        if state:
            self.doc.apply_update(state)

    def append(self, tag: str, **attributes: Any) -> bytes:
        """Append an element in one transaction; the update that makes it elsewhere."""
        before = self.doc.get_state()
        with self.doc.transaction():
            self.root.children.append(XmlElement(tag, attributes))
        return self.doc.get_update(before)

    def apply(self, event: Received) -> None:
        """Take a `room.sync` event."""
        self.doc.apply_update(base64.b64decode(event.payload, validate=True))

    @property
    def elements(self) -> list[XmlElement]:
        return [child for child in self.root.children if isinstance(child, XmlElement)]

    @property
    def tags(self) -> list[str]:
        return [str(element.tag) for element in self.elements]

    @property
    def attributes(self) -> list[dict[str, Any]]:
        """The attributes of each element."""
        # The view's own annotations are wrong, and its indexing fails for nulls; iterating it is right.
        return [dict(cast(Any, element.attributes)) for element in self.elements]

    @property
    def numbers(self) -> list[Any]:
        """The attribute `n` of each element."""
        return [attributes.get("n") for attributes in self.attributes]


class NoFiles:
    """A room without schemas of its own; files of documents go nowhere."""

    async def read_file(self, path: str) -> bytes | None:
        return None

    async def publish_document(self, path: str, state: bytes, *, participant_id: str | None) -> None:
        return None
