"""`ThreadHistory`: tracks which messages of a thread the model has read (protocol 17.4)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from meshagent.agents.chat.protocol import ChatMessage
from meshagent.agents.chat.thread import ThreadDocument, ThreadMessage

__all__ = ["ThreadHistory"]


class ThreadHistory:
    """Returns what is new in a thread each time a user sends a message, so that the model reads everything once.

    A user's text arrives twice: in the thread document and in the `chat` message. Clients write the document first, so
    it usually arrives first; but it may arrive later, or never if a program only sends `chat` messages.

    Args:
        thread: The thread.
        document_timeout: Seconds to wait for a text that is not yet in the document.
        limit: Number of messages of an existing thread that the model reads: the latest ones.
    """

    def __init__(self, thread: ThreadDocument, *, document_timeout: float, limit: int) -> None:
        self._thread = thread
        self._document_timeout = document_timeout
        self._limit = limit
        self._read: set[str] = set()
        # Texts by author that were read from a `chat` message and must be skipped when the document shows them.
        self._expected: Counter[tuple[str, str]] = Counter()
        self._is_new = True
        # Senders that do not write into the document: their next message is not waited for.
        self._message_only: set[str] = set()

    def mark_read(self, element_id: str | None) -> None:
        """Mark a message that the agent itself wrote."""
        self._read.add(element_id or "")

    async def read_new(self, sender: str, chat_message: ChatMessage) -> list[ThreadMessage]:
        """Return the messages that the model has not read, up to and including the one `sender` just sent.

        Messages after it in the document are left for their own `chat` message.
        """
        position = self._find(sender, chat_message.text)
        if position is None and sender not in self._message_only:
            position = await self._wait_for(sender, chat_message.text)
        unread = self._unread()
        if position is None:
            self._message_only.add(sender)
            self._expected[sender, chat_message.text.strip()] += 1
            before = unread if self._is_new else []
            messages = [*before, ThreadMessage("", sender, chat_message.text, chat_message.attachments)]
        else:
            self._message_only.discard(sender)
            messages = unread[: position + 1]
        self._read.update(message.element_id for message in messages)
        if self._is_new:
            messages = messages[-self._limit :]
        self._is_new = False
        return messages

    def _unread(self) -> list[ThreadMessage]:
        """Return unread messages, except those already read from a `chat` message before they reached the document."""
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
        """Return the index of a text in `_unread()`, or None.

        If the text occurs more than once, the latest is meant in a thread that is read for the first time; else the
        oldest, because messages are answered in order.
        """
        positions = [
            index
            for index, message in enumerate(self._unread())
            if message.author == sender and message.text.strip() == text.strip()
        ]
        if not positions:
            return None
        return positions[-1] if self._is_new else positions[0]

    async def _wait_for(self, sender: str, text: str) -> int | None:
        changed = asyncio.Event()

        def on_change(*args: Any) -> None:
            changed.set()

        document = self._thread.document
        for event in ("inserted", "updated"):
            document.on(event)(on_change)
        try:
            async with asyncio.timeout(self._document_timeout):
                while (position := self._find(sender, text)) is None:
                    changed.clear()
                    await changed.wait()
                return position
        except TimeoutError:
            return None
        finally:
            for event in ("inserted", "updated"):
                document.off(event, on_change)
