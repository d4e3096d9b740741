"""`Conversation`: one open thread of a chat bot, which answers its messages one at a time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from meshagent.agents.chat import protocol
from meshagent.agents.chat.attachments import append_attachment, attachment_note
from meshagent.agents.chat.history import ThreadHistory
from meshagent.agents.chat.protocol import ChatMessage
from meshagent.agents.chat.streaming import StreamedAnswer
from meshagent.agents.chat.thread import ThreadDocument, ThreadMessage
from meshagent.agents.participants import name_of, own_name
from meshagent.api.documents.nodes import Element
from meshagent.api.errors import InvalidStateError, LimitExceededError, RoomException
from meshagent.api.room.participants import RemoteParticipant

if TYPE_CHECKING:
    from meshagent.agents.chat.bot import ChatBot

__all__ = ["ChatSettings", "Conversation", "ThreadOpened"]

log = logging.getLogger(__name__)

FAILURE: Final = "Sorry, something went wrong and I could not answer."
STOPPED_NOTE: Final = "[the user stopped this answer here]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """Timeouts and limits of conversations.

    Attributes:
        stream_interval: Seconds between two updates of the answer in the thread document.
        document_timeout: Seconds to wait for a message to appear in the thread document after the notification.
        max_pending: Messages per thread that may wait for an answer; one more is rejected.
        max_history: Number of messages of an existing thread that the model reads.
        idle_timeout: Seconds without messages after which a thread is closed. The next message opens it again.
    """

    stream_interval: float = 0.1
    document_timeout: float = 0.5
    max_pending: int = 100
    max_history: int = 200
    idle_timeout: float = 900.0


@dataclass(frozen=True, slots=True)
class ThreadOpened:
    """A user has opened the thread."""


_Item = tuple[RemoteParticipant, ChatMessage | ThreadOpened]


class Conversation:
    """An open thread. Messages wait in a bounded queue and are answered one at a time.

    Args:
        bot: The bot that answers.
        path: Path of the thread document.
        settings: Timeouts and limits.
    """

    def __init__(self, bot: ChatBot, path: str, settings: ChatSettings) -> None:
        self.path = path
        self._bot = bot
        self._room = bot.room
        self._settings = settings
        self._pending: asyncio.Queue[_Item] = asyncio.Queue(settings.max_pending)
        self._turn: asyncio.Task[None] | None = None

    # -- called by the bot

    def post(self, sender: RemoteParticipant, item: ChatMessage | ThreadOpened) -> None:
        """Queue a message; LimitExceededError if the queue is full."""
        try:
            self._pending.put_nowait((sender, item))
        except asyncio.QueueFull:
            limit = self._settings.max_pending
            raise LimitExceededError(f"limit of {limit} waiting messages per thread reached", limit=limit) from None

    def cancel_turn(self) -> None:
        """Stop the current answer, if any. Queued messages stay queued."""
        if self._turn is not None:
            self._turn.cancel()

    @property
    def has_pending(self) -> bool:
        return not self._pending.empty()

    # -- the conversation

    async def run(self) -> None:
        """Answer messages until none has arrived for `idle_timeout` seconds."""
        sender, first = await self._pending.get()
        try:
            document = await self._room.sync.open(self.path)
        except RoomException as error:
            log.warning("%s cannot open thread %s: %s", self._bot.name, self.path, error)
            self._send_chat(sender, f"{FAILURE} The thread cannot be opened: {error}")
            return
        try:
            thread = _OpenThread(self, ThreadDocument(document))
            await self._handle(thread, sender, first)
            while (item := await self._next()) is not None:
                await self._handle(thread, *item)
        except InvalidStateError as error:
            log.warning("%s cannot use thread %s: %s", self._bot.name, self.path, error)
            self._send_chat(sender, f"{FAILURE} {error}")
        finally:
            await self._room.sync.close(self.path)

    async def _next(self) -> _Item | None:
        try:
            async with asyncio.timeout(self._settings.idle_timeout):
                return await self._pending.get()
        except TimeoutError:
            return None

    async def _handle(self, thread: _OpenThread, sender: RemoteParticipant, item: ChatMessage | ThreadOpened) -> None:
        if isinstance(item, ThreadOpened):
            thread.greet(sender)
            return
        current = self._current_participant(sender)
        self._turn = turn = asyncio.get_running_loop().create_task(
            thread.answer(sender if current is None else current, item), name=f"{self._bot.name} in {self.path}"
        )
        try:
            await asyncio.wait([turn])
        finally:
            if not turn.done():
                turn.cancel()
                await asyncio.wait([turn])
            self._turn = None
        if not turn.cancelled() and (error := turn.exception()) is not None:
            self._report(thread, sender, error)

    def _report(self, thread: _OpenThread, sender: RemoteParticipant, error: BaseException) -> None:
        """Tell the user that answering failed. Only the text of a RoomException is meant for users."""
        if isinstance(error, RoomException):
            log.warning("%s could not answer in %s: %s", self._bot.name, self.path, error)
            text = f"{FAILURE} {error}"
        else:
            log.error("%s could not answer in %s", self._bot.name, self.path, exc_info=error)
            text = FAILURE
        thread.write(text)
        self._send_chat(sender, text)

    def _current_participant(self, sender: RemoteParticipant) -> RemoteParticipant | None:
        """Return the sender's current participant: it may have reconnected with a new id while the message waited."""
        others = self._room.messaging.remote_participants
        same_id = [other for other in others if other.id == sender.id]
        same_name = [other for other in others if name_of(other) and name_of(other) == name_of(sender)]
        return next(iter([*same_id, *same_name]), None)

    def _send_chat(self, to: RemoteParticipant, text: str) -> None:
        self._room.messaging.send_message_nowait(
            to=to, type=protocol.CHAT, message=ChatMessage(path=self.path, text=text).to_json()
        )


class _OpenThread:
    """The thread document of a conversation, and the model's context."""

    def __init__(self, conversation: Conversation, thread: ThreadDocument) -> None:
        self._conversation = conversation
        self._bot = conversation._bot
        self._room = conversation._room
        self._settings = conversation._settings
        self._thread = thread
        self._history = ThreadHistory(
            thread, document_timeout=self._settings.document_timeout, limit=self._settings.max_history
        )
        self._chat = self._bot.init_chat_context()
        self._authors: set[str] = set()
        self._greeted = False

    def greet(self, sender: RemoteParticipant) -> None:
        """Write the greeting once, unless the agent has already written in the thread."""
        greeting = self._bot.auto_greet_message
        if greeting is None or self._greeted:
            return
        self._greeted = True
        own = own_name(self._room)
        if any(message.author == own for message in self._thread.messages()):
            return
        self.write(greeting)
        self._chat.append_assistant_message(greeting)
        self._conversation._send_chat(sender, greeting)

    def write(self, text: str) -> Element:
        """Write a message of the agent into the thread."""
        element = self._thread.append_message(author=own_name(self._room), text=text)
        self._history.mark_read(element.id)
        return element

    async def answer(self, sender: RemoteParticipant, chat_message: ChatMessage) -> None:
        """Answer one message. Users see the agent thinking until the turn ends, however it ends."""
        other_agents = [name_of(other) for other in self._online_members() if other.role == "agent"]
        if not protocol.is_addressed_to(chat_message.text, own_name(self._room), other_agents):
            log.debug("message in %s is addressed to another agent", self._conversation.path)
            return
        self._show_thinking(sender, thinking=True)
        try:
            await self._answer(sender, chat_message)
            # Send the answer first, so that clients have all of it when the turn ends.
            await self._room.sync.flush(self._conversation.path)
        finally:
            self._show_thinking(sender, thinking=False)

    async def _answer(self, sender: RemoteParticipant, chat_message: ChatMessage) -> None:
        for message in await self._history.read_new(name_of(sender), chat_message):
            await self._append(message, is_current=message.text.strip() == chat_message.text.strip())
        chat = self._chat
        answer = StreamedAnswer(lambda: self.write(""), interval=self._settings.stream_interval)
        try:
            await self._bot.respond(
                path=self._conversation.path,
                chat_context=chat,
                participant=sender,
                message=chat_message,
                event_handler=answer.on_event,
            )
        finally:
            answer.end()
            if answer.unfinished_text:
                chat.append_assistant_message(f"{answer.unfinished_text} {STOPPED_NOTE}")

    async def _append(self, message: ThreadMessage, *, is_current: bool) -> None:
        """Add a message of the thread to the model's context, with its attachments' content if it is current."""
        if message.author == own_name(self._room):
            self._chat.append_assistant_message(message.text)
            return
        self._authors.add(message.author)
        for path in message.attachments:
            if is_current:
                await append_attachment(self._chat, self._room, message.author, path)
            else:
                self._chat.append_user_message(attachment_note(message.author, path))
        if message.text:
            has_several_authors = len(self._authors) > 1
            self._chat.append_user_message(f"{message.author}: {message.text}" if has_several_authors else message.text)

    # -- presence

    def _online_members(self) -> list[RemoteParticipant]:
        members = set(self._thread.members())
        return [other for other in self._room.messaging.remote_participants if name_of(other) in members]

    def _show_thinking(self, sender: RemoteParticipant, *, thinking: bool) -> None:
        listeners = {other.id: other for other in [sender, *self._online_members()]}
        for listener in listeners.values():
            self._room.messaging.send_message_nowait(
                to=listener,
                type=protocol.THINKING,
                message={"path": self._conversation.path, "thinking": thinking},
            )
