"""A person at a chat user interface, and clients of a real room (protocol 17.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from meshagent.agents.chat import ThreadDocument
from meshagent.api import MeshDocument, RoomClient, RoomMessage, WebSocketClientProtocol
from meshagent.api.room.reconnect import ReconnectPolicy
from meshagent.api.tokens.scope import ApiScope
from tests.support.server import TestServer

AT_ONCE = ReconnectPolicy(initial_delay=0.01, max_delay=0.05)
PATIENCE = 30.0


class Startable(Protocol):
    async def start(self, *, room: RoomClient) -> None: ...

    async def stop(self) -> None: ...


@asynccontextmanager
async def joined(
    server: TestServer, name: str, *, role: str | None = None, room: str = "room"
) -> AsyncIterator[RoomClient]:
    """A client that is in the room for the length of the block."""
    token = server.token(name, room=room, role=role, scope=ApiScope.full() if role == "agent" else None)
    protocol = WebSocketClientProtocol(url=server.room_url(room), token=token)
    async with RoomClient(protocol=protocol, reconnect=AT_ONCE) as client:
        yield client


@asynccontextmanager
async def working(
    server: TestServer, agent: Startable, *, name: str = "bot", room: str = "room"
) -> AsyncIterator[RoomClient]:
    """An agent at work in the room, on a client of its own."""
    async with joined(server, name, role="agent", room=room) as client:
        await agent.start(room=client)
        try:
            yield client
        finally:
            await agent.stop()


class Person:
    """Somebody who chats: writes into threads as a user interface does, and reads the answers there."""

    def __init__(self, room: RoomClient) -> None:
        self.room = room
        self.name = str(room.local_participant.get_attribute("name"))
        self.received: list[RoomMessage] = []
        self._changed = asyncio.Event()
        room.messaging.on("message", self._on_message)
        for event in ("participant_added", "participant_removed"):
            room.messaging.on(event, self._changed.set)

    def _on_message(self, message: RoomMessage) -> None:
        self.received.append(message)
        self._changed.set()

    async def open(self, path: str, *members: str) -> ThreadDocument:
        """Open a thread and make oneself and `members` its members."""
        document = await self.room.sync.open(path)
        self.follow(document)
        thread = ThreadDocument(document)
        for member in (self.name, *members):
            thread.add_member(member)
        return thread

    def follow(self, document: MeshDocument) -> None:
        """Let `until` look again when a document changes."""
        for event in ("inserted", "updated", "deleted"):
            document.on(event)(lambda *_: self._changed.set())

    async def say(
        self,
        thread: ThreadDocument,
        path: str,
        text: str,
        *,
        attachments: Sequence[str] = (),
        in_document: bool = True,
        **extra: Any,
    ) -> None:
        """Write into the thread, and tell the members that are here."""
        if in_document:
            thread.append_message(author=self.name, text=text, message_id="given", attachments=attachments)
        message = {"path": path, "text": text, "attachments": [{"path": file} for file in attachments], **extra}
        await self.tell(thread, "chat", message)

    async def tell(self, thread: ThreadDocument, kind: str, message: dict[str, Any]) -> None:
        """Send a message to all members that are here."""
        for other in self.room.messaging.remote_participants:
            if other.get_attribute("name") in thread.members():
                await self.room.messaging.send_message(to=other, type=kind, message=message)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something holds that depends on threads and messages."""
        async with asyncio.timeout(PATIENCE):
            while not is_so():
                self._changed.clear()
                await self._changed.wait()

    async def thinking(self, path: str, *, times: int = 1) -> None:
        """Wait until turns in a thread have begun as often."""
        await self.until(lambda: self.signals(path).count(True) >= times)

    async def finished(self, path: str, *, times: int = 1) -> None:
        """Wait until turns in a thread have ended as often."""
        await self.until(lambda: self.signals(path).count(False) >= times)

    def signals(self, path: str) -> list[bool]:
        """The `thinking` messages of a thread."""
        return [m.message["thinking"] for m in self.received if m.type == "thinking" and m.message["path"] == path]

    async def answers(self, thread: ThreadDocument, author: str, count: int) -> list[str]:
        """What an author has said, when that is as many messages."""
        await self.until(lambda: len(texts(thread, author)) >= count)
        return texts(thread, author)


@asynccontextmanager
async def person(server: TestServer, name: str, *, room: str = "room") -> AsyncIterator[Person]:
    """Somebody with a chat user interface in the room."""
    async with joined(server, name, room=room) as client:
        somebody = Person(client)
        await client.messaging.enable()
        yield somebody


def texts(thread: ThreadDocument, author: str) -> list[str]:
    """What an author has said in a thread."""
    return [message.text for message in thread.messages() if message.author == author]
