"""What of a thread a model has read, so that it reads everything once (spec chat-protocol 5)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from meshagent.agents.chat.protocol import ChatMessage
from meshagent.agents.chat.thread import ThreadDocument, ThreadMessage

__all__ = ["ThreadHistory"]


class ThreadHistory:
    """Tells what is new in a thread each time a user says something.

    A user's text comes twice: in the document, and in the `chat` message that tells of it. Usually the document is
    first, for it is written first; it may also come later, or never from programs that only send messages.

    Args:
        thread: The thread.
        patience: Seconds to wait for a text that is not in the document yet.
        limit: How many messages of an existing thread the model reads; the latest.
    """

    def __init__(self, thread: ThreadDocument, *, patience: float, limit: int) -> None:
        self._thread = thread
        self._patience = patience
        self._limit = limit
        self._read: set[str] = set()
        self._expected: Counter[tuple[str, str]] = Counter()
        self._is_new = True
        self._message_only: set[str] = set()

    def wrote(self, element_id: str | None) -> None:
        """The agent itself wrote a message: it need not read it."""
        self._read.add(element_id or "")

    async def take(self, sender: str, said: ChatMessage) -> list[ThreadMessage]:
        """The messages that nobody has read to the model, the last of them what `sender` just said.

        What comes after it in the document is left for the message that tells of it.
        """
        position = self._find(sender, said.text)
        if position is None and sender not in self._message_only:
            position = await self._wait_for(sender, said.text)
        unread = self._unread()
        if position is None:
            self._message_only.add(sender)
            self._expected[sender, said.text.strip()] += 1
            before = unread if self._is_new else []
            taken = [*before, ThreadMessage("", sender, said.text, said.attachments)]
        else:
            self._message_only.discard(sender)
            taken = unread[: position + 1]
        self._read.update(message.element_id for message in taken)
        if self._is_new:
            taken = taken[-self._limit :]
        self._is_new = False
        return taken

    def _unread(self) -> list[ThreadMessage]:
        """Unread messages, without those that were read from a `chat` message before they were in the document."""
        unread = []
        for message in self._thread.messages():
            if message.element_id in self._read:
                continue
            key = (message.author, message.text.strip())
            if self._expected[key] > 0:
                self._expected[key] -= 1
                self._read.add(message.element_id)
                self._message_only.discard(message.author)
            else:
                unread.append(message)
        return unread

    def _find(self, sender: str, text: str) -> int | None:
        """Where in `_unread()` a text is: the latest one in a thread that is read for the first time, else the
        oldest, for messages are answered in order."""
        places = [
            index
            for index, message in enumerate(self._unread())
            if message.author == sender and message.text.strip() == text.strip()
        ]
        if not places:
            return None
        return places[-1] if self._is_new else places[0]

    async def _wait_for(self, sender: str, text: str) -> int | None:
        changed = asyncio.Event()

        def on_change(*args: Any) -> None:
            changed.set()

        document = self._thread.document
        for event in ("inserted", "updated"):
            document.on(event)(on_change)
        try:
            async with asyncio.timeout(self._patience):
                while (position := self._find(sender, text)) is None:
                    changed.clear()
                    await changed.wait()
                return position
        except TimeoutError:
            return None
        finally:
            for event in ("inserted", "updated"):
                document.off(event, on_change)
