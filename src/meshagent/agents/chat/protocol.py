"""Messages between user interfaces and chat agents (protocol 17.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from meshagent.api.errors import InvalidRequestError
from meshagent.api.jsontext import Json

__all__ = [
    "CANCEL",
    "CHAT",
    "OPENED",
    "THINKING",
    "THREAD_SUFFIX",
    "TYPING",
    "ChatMessage",
    "ToolkitChoice",
    "is_addressed_to",
    "thread_path",
]

CHAT: Final = "chat"
OPENED: Final = "opened"
TYPING: Final = "typing"
THINKING: Final = "thinking"
CANCEL: Final = "cancel"

THREAD_SUFFIX: Final = ".thread"


@dataclass(frozen=True, slots=True)
class ToolkitChoice:
    """A toolkit that the user chose for a message: with all of its tools, or only those listed."""

    name: str
    tools: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """A `chat` message: notifies an agent of what a user has written into a thread.

    Attributes:
        path: Path of the thread document.
        text: The user's text; may be empty if there are attachments.
        attachments: Paths of files in the room's storage.
        toolkits: Toolkits to use for the answer, in addition to the agent's own.
    """

    path: str
    text: str
    attachments: tuple[str, ...] = ()
    toolkits: tuple[ToolkitChoice, ...] = ()

    @staticmethod
    def from_json(message: Json) -> ChatMessage:
        """Parse a message; InvalidRequestError if it is not a valid `chat` message."""
        path = thread_path(message)
        assert isinstance(message, dict)
        text = message.get("text") or ""
        if not isinstance(text, str):
            raise InvalidRequestError("`text` of a chat message must be a string")
        return ChatMessage(
            path=path,
            text=text,
            attachments=tuple(_attachments(message.get("attachments"))),
            toolkits=tuple(_choices(message.get("toolkits"))),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the message as JSON."""
        choices = [
            {"toolkit": choice.name, "tools": None if choice.tools is None else list(choice.tools)}
            for choice in self.toolkits
        ]
        return {
            "path": self.path,
            "text": self.text,
            "attachments": [{"path": path} for path in self.attachments],
            **({"toolkits": choices} if choices else {}),
        }


def thread_path(message: Json) -> str:
    """Return the path of the thread that a message refers to; InvalidRequestError if it names none."""
    path = message.get("path") if isinstance(message, dict) else None
    if not isinstance(path, str) or not path.endswith(THREAD_SUFFIX):
        raise InvalidRequestError(f"chat message needs the `path` of a thread, ending in {THREAD_SUFFIX}")
    return path.strip("/")


def is_addressed_to(text: str, name: str, other_agents: Iterable[str]) -> bool:
    """Whether the agent `name` should answer a text.

    All agents answer unless the text mentions some of them as `@name`; then only those do.
    """
    if _mentions(text, name):
        return True
    return not any(_mentions(text, other) for other in other_agents)


def _mentions(text: str, name: str) -> bool:
    return bool(name) and re.search(rf"(?<!\w)@{re.escape(name)}(?![\w-])", text, re.IGNORECASE) is not None


def _attachments(value: Any) -> Iterable[str]:
    for entry in _list(value, "attachments"):
        path = entry.get("path") if isinstance(entry, dict) else entry
        if not isinstance(path, str):
            raise InvalidRequestError("each attachment must have a `path`")
        yield path


def _choices(value: Any) -> Iterable[ToolkitChoice]:
    for entry in _list(value, "toolkits"):
        name = entry.get("toolkit") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise InvalidRequestError("each entry of `toolkits` must have a `toolkit` name")
        tools = entry.get("tools")
        yield ToolkitChoice(name, None if tools is None else tuple(str(tool) for tool in _list(tools, "tools")))


def _list(value: Any, name: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise InvalidRequestError(f"`{name}` of a chat message must be a list")
    return value or []
