"""`ChatThread`: the user's side of a chat with an agent: thread document and chat messages (protocol 17)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from meshagent.cli.output import CommandError

if TYPE_CHECKING:
    from meshagent.api.documents.nodes import Element
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.messaging import RoomMessage
    from meshagent.api.room.participants import RemoteParticipant
    from meshagent.api.room.sync import MeshDocument


@dataclass(frozen=True, slots=True)
class ThreadEvent:
    """Something to show to the user.

    Attributes:
        kind: `text`: new text of a message; `note`: a command, a widget or a file; `thinking` and `done`: the agent's
            turn starts and ends; `left`: the agent left the room.
        author: The author.
        text: The new text.
        element: The message that the text was added to.
    """

    kind: str
    author: str = ""
    text: str = ""
    element: Any = None


def thread_path(agent: str, user: str) -> str:
    """Return the default path of the thread between a user and an agent."""
    return f".threads/{_slug(agent)}/{_slug(user)}.thread"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "unnamed"


class ChatThread:
    """An open thread with one agent. Calls `on_event` with what to show, in order.

    Args:
        room: The room, with messaging enabled.
        agent: The agent that answers.
        path: Path of the thread document.
        document: The open thread document.
        on_event: Called with each event.
    """

    def __init__(
        self,
        room: RoomClient,
        agent: RemoteParticipant,
        path: str,
        document: MeshDocument,
        on_event: Callable[[ThreadEvent], None],
    ) -> None:
        self._room = room
        self._agent = agent
        self._path = path
        self._document = document
        self._on_event = on_event
        self._name = str(room.local_participant.get_attribute("name"))
        self._messages = _child(document, "messages")
        self._shown: dict[Element, str] = {}
        self._add_members()
        document.on("inserted")(self._on_inserted)
        document.on("updated")(self._on_updated)
        room.messaging.on("message", self._on_message)
        room.messaging.on("participant_removed", self._on_participant_removed)

    def history(self, count: int) -> list[tuple[str, str]]:
        """Return author and text of the last messages, oldest first. They are not reported as events."""
        elements = [child for child in self._elements(self._messages) if child.tag_name == "message"]
        for element in elements:
            self._shown[element] = _text(element)
        return [(_author(element), _text(element)) for element in elements[-count:]] if count else []

    async def opened(self) -> None:
        """Tell the agent that the user has opened the thread, so that it can greet."""
        await self._send("opened", {"path": self._path})

    async def say(self, text: str, attachments: Sequence[str] = ()) -> None:
        """Write a message and notify the agent. `attachments` are paths in the room's storage."""
        message = self._messages.append_child(
            "message",
            {
                "id": str(uuid.uuid4()),
                "text": text,
                "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
                "author_name": self._name,
                "author_ref": None,
            },
        )
        self._shown[message] = text
        for path in attachments:
            message.append_child("file", {"path": path})
        await self._room.sync.flush(self._path)  # the document must have the message before the agent is notified
        files = [{"path": path} for path in attachments]
        await self._send("chat", {"path": self._path, "text": text, "attachments": files})

    async def cancel(self) -> None:
        """Ask the agent to stop its current answer."""
        await self._send("cancel", {"path": self._path})

    def close(self) -> None:
        """Stop reporting events."""
        self._room.messaging.off("message", self._on_message)
        self._room.messaging.off("participant_removed", self._on_participant_removed)
        self._on_event = lambda event: None

    async def _send(self, kind: str, message: dict[str, Any]) -> None:
        await self._room.messaging.send_message(to=self._agent, type=kind, message=message)

    # -- the document

    def _add_members(self) -> None:
        """Add the user and the agent to the thread's members, if missing."""
        members = _child(self._document, "members")
        present = {member.get_attribute("name") for member in self._elements(members)}
        for name in (self._name, self._agent.get_attribute("name")):
            if name not in present:
                members.append_child("member", {"name": name})

    def _on_inserted(self, node: Any) -> None:
        from meshagent.api.documents.nodes import Element

        if not isinstance(node, Element) or node in self._shown:
            return
        if node.tag_name == "file" and node.parent is not None and _author(node.parent) != self._name:
            self._note(f"file {node.get_attribute('path')}")
        elif node.tag_name == "exec":
            self._note(f"$ {node.get_attribute('command')}")
        elif node.tag_name == "ui":
            self._note(f"widget {node.get_attribute('widget')}: {node.get_attribute('data')}")
        elif node.tag_name == "message":
            self._report_text(node)

    def _on_updated(self, node: Any, attribute: str) -> None:
        if node.tag_name == "message" and attribute == "text":
            self._report_text(node)
        elif node.tag_name == "exec" and attribute == "result":
            self._note(str(node.get_attribute("result")))

    def _report_text(self, message: Element) -> None:
        """Report the new text of a message, unless the user wrote it."""
        if _author(message) == self._name:
            return
        text, before = _text(message), self._shown.get(message, "")
        self._shown[message] = text
        if text == before:
            return
        added = text[len(before) :] if text.startswith(before) else f"\n{text}"
        self._on_event(ThreadEvent("text", _author(message), added, message))

    def _note(self, text: str) -> None:
        self._on_event(ThreadEvent("note", text=text))

    def _elements(self, parent: Element) -> list[Element]:
        from meshagent.api.documents.nodes import Element

        return [child for child in parent.get_children() if isinstance(child, Element)]

    # -- room messages and presence

    def _on_message(self, message: RoomMessage) -> None:
        content = message.message
        if message.from_participant_id != self._agent.id or not isinstance(content, dict):
            return
        if message.type == "thinking" and content.get("path") == self._path:
            self._on_event(ThreadEvent("thinking" if content.get("thinking") else "done"))

    def _on_participant_removed(self, participant: RemoteParticipant) -> None:
        if participant.id == self._agent.id:
            self._on_event(ThreadEvent("left", author=str(participant.get_attribute("name"))))


def _child(document: MeshDocument, tag: str) -> Element:
    from meshagent.api.documents.nodes import Element

    for child in document.root.get_children():
        if isinstance(child, Element) and child.tag_name == tag:
            return child
    raise CommandError(f"not a thread document: element {tag!r} is missing")


def _author(element: Element) -> str:
    return str(element.get_attribute("author_name", ""))


def _text(element: Element) -> str:
    return str(element.get_attribute("text") or "")
