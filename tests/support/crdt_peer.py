"""A participant's copy of a document, made with the public CRDT binding and none of this project's code."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pycrdt


class CrdtPeer:
    """Writes a document as any Yjs client would; `sent` holds its updates, one for each transaction."""

    def __init__(self, client_id: int | None = None, state: bytes | None = None) -> None:
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=client_id)
        self.root = self.doc.get("xml", type=pycrdt.XmlFragment)
        self.root_map: pycrdt.Map[Any] = self.doc.get("xml", type=pycrdt.Map)
        self.sent: list[bytes] = []
        self.seen: list[Any] = []
        self._remote = False
        if state is not None:
            self.doc.apply_update(state)
        self._subscription = self.doc.observe(self._on_update)

    def _on_update(self, event: Any) -> None:
        if not self._remote:
            self.sent.append(event.update)

    def receive(self, update: bytes) -> None:
        """Apply a remote update and note what the tree looks like after it."""
        self._remote = True
        self.doc.apply_update(update)
        self._remote = False
        self.seen.append(self.tree)

    @property
    def tree(self) -> Any:
        """The whole tree as plain values, attributes of the root last."""
        return [*map(_plain, self.root.children), self.root_map.to_py()]

    def take(self) -> bytes:
        """The one update made since the last call."""
        [update] = self.sent
        self.sent.clear()
        return update

    @contextmanager
    def edit(self) -> Iterator[None]:
        """Put several edits into one update."""
        with self.doc.transaction():
            yield

    def add(self, tag: str, parent: Any = None, /, **attributes: Any) -> pycrdt.XmlElement:
        """Append an element; a `text` element gets its text node. Attribute `id_` is `$id`."""
        with self.edit():
            container: pycrdt.XmlFragment | pycrdt.XmlElement = self.root if parent is None else parent
            element = container.children.append(pycrdt.XmlElement(tag))
            element.attributes["$id"] = attributes.pop("id_", None) or str(uuid.uuid4())
            for name, value in attributes.items():
                element.attributes[name] = value
            if tag == "text":
                element.children.append(pycrdt.XmlText(""))
        return element


def _plain(node: Any) -> Any:
    attributes = dict(node.attributes)
    if isinstance(node, pycrdt.XmlText):
        return [attributes, *node.diff()]
    return {str(node.tag): attributes, "children": [_plain(child) for child in node.children]}
