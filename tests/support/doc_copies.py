"""A participant's copy of a document with the updates it sent, and random edits of it."""

from __future__ import annotations

from typing import Any

from meshagent.api.documents.nodes import Element, Text
from meshagent.api.documents.runtime import RuntimeDocument
from meshagent.api.documents.server_document import ServerDocument
from tests.support.doc_schemas import page_schema


class Copy:
    """A document and the updates it sent."""

    def __init__(self, data: bytes | None = None, json: Any = None) -> None:
        self.sent: list[str] = []
        self.document = RuntimeDocument(page_schema(), self.sent.append, data=data, json=json)
        self.root = self.document.root

    def text(self, content: str = "") -> Text:
        element = self.root.append_child("text")
        [text] = element.get_children()
        assert isinstance(text, Text)
        if content:
            text.insert(0, content)
        return text

    def reopened(self) -> dict[str, Any]:
        """The document as somebody else reads it from its state."""
        reader = ServerDocument(page_schema())
        reader.load([self.document.get_state()])
        return reader.to_json(include_ids=True)


def all_elements(root: Element) -> list[Element]:
    found = [root]
    for element in found:
        found += [child for child in element.get_children() if isinstance(child, Element)]
    return found


def edit(copy: Copy, kind: int, a: int, b: int, content: str) -> None:
    """Make one random edit that the document allows at this moment."""
    elements = all_elements(copy.root)
    element = elements[a % len(elements)]
    texts = [child for e in elements for child in e.get_children() if isinstance(child, Text)]
    container = element if element.tag_name in ("page", "box") else copy.root
    size = len(container.get_children())
    match kind:
        case 0 | 1:
            container.insert_child_at(b % (size + 1), ["p", "text", "box"][a % 3])
        case 2:
            container.append_json({"text": {"runs": [{"text": {"delta": [{"insert": content or "x"}]}}]}})
        case 3 if element is not copy.root:
            element.delete()
        case 4 if element.tag_name == "p":
            element["n"] = b
        case 5 if element.tag_name == "p":
            element._remove_attribute("n")
        case 6:
            copy.root["title"] = content
        case 7 | 8 if texts:
            texts[a % len(texts)].insert(b, content, {"b": b} if b % 2 else None)
        case 9 if texts:
            texts[a % len(texts)].delete(b, a)
        case 10 if texts:
            texts[a % len(texts)].format(b, a, {"b": None if b % 3 == 0 else b % 3})
        case 11:
            if copy.document.undo() and a % 2:
                copy.document.redo()
        case _:
            pass
