"""`ThreadDocument`: members and messages of a thread (protocol 17.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from meshagent.api.documents.document import Document
from meshagent.api.documents.nodes import Element
from meshagent.api.errors import InvalidStateError

__all__ = ["ThreadDocument", "ThreadMessage"]

_MESSAGE: Final = "message"


@dataclass(frozen=True, slots=True)
class ThreadMessage:
    """A message in a thread.

    Attributes:
        element_id: Id of its element; empty for a message that is not in the document.
        author: Name of the author.
        text: The text.
        attachments: Paths of files in the room's storage.
    """

    element_id: str
    author: str
    text: str
    attachments: tuple[str, ...] = ()


class ThreadDocument:
    """A conversation between users and agents, stored in a document.

    Raises:
        InvalidStateError: The document has no `messages` element, so it was not created as a thread.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self._messages = self._section("messages")

    def members(self) -> list[str]:
        """Return the names of the members, in order and without duplicates."""
        found = [child.get_attribute("name") for child in _elements(self._section("members"))]
        return list(dict.fromkeys(name for name in found if isinstance(name, str)))

    def add_member(self, name: str) -> None:
        """Add a member unless there is one of that name."""
        if name not in self.members():
            self._section("members").append_child("member", {"name": name})

    def messages(self) -> list[ThreadMessage]:
        """Return all messages, oldest first."""
        return [_read(element) for element in _elements(self._messages) if element.tag_name == _MESSAGE]

    def append_message(
        self, *, author: str, text: str, message_id: str | None = None, attachments: Sequence[str] = ()
    ) -> Element:
        """Append a message and return its element, whose `text` may be updated later."""
        body: dict[str, Any] = {
            "text": text,
            "created_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "author_name": author,
            "author_ref": None,
            "attachments": [{"file": {"path": path}} for path in attachments],
        }
        if message_id is not None:
            body["id"] = message_id
        return self._messages.append_json({_MESSAGE: body})

    def _section(self, tag_name: str) -> Element:
        for element in _elements(self.document.root):
            if element.tag_name == tag_name:
                return element
        raise InvalidStateError(f"document is not a thread: element {tag_name!r} is missing")


def _elements(parent: Element) -> list[Element]:
    return [child for child in parent.get_children() if isinstance(child, Element)]


def _read(element: Element) -> ThreadMessage:
    files = [child.get_attribute("path") for child in _elements(element) if child.tag_name == "file"]
    return ThreadMessage(
        element_id=element.id or "",
        author=str(element.get_attribute("author_name") or ""),
        text=str(element.get_attribute("text") or ""),
        attachments=tuple(path for path in files if isinstance(path, str)),
    )
