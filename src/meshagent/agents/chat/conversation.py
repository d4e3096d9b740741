"""One thread of a chat bot: its messages one after the other, each answered by a turn of the model."""

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

__all__ = ["ChatSettings", "Conversation", "Opened"]

log = logging.getLogger(__name__)

FAILURE: Final = "Sorry, something went wrong and I could not answer."
STOPPED_NOTE: Final = "[the user stopped this answer here]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatSettings:
    """How conversations are led.

    Attributes:
        stream_interval: Seconds between two updates of an answer that is being written.
        patience: Seconds to wait for a text to appear in the thread that a message told of.
        max_waiting: Messages of a thread that may wait for their turn; one more is refused.
        max_history: How many messages of an existing thread the model reads.
        idle_timeout: Seconds after which a thread without messages is closed; the next message opens it again.
    """

    stream_interval: float = 0.1
    patience: float = 0.5
    max_waiting: int = 100
    max_history: int = 200
    idle_timeout: float = 900.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A user looks at the thread."""


_Item = tuple[RemoteParticipant, ChatMessage | Opened]


class Conversation:
    """A thread that is open. Messages wait in a bounded queue; turns run one at a time.

    Args:
        bot: Whose conversation it is.
        path: The thread document.
    """

    def __init__(self, bot: ChatBot, path: str, settings: ChatSettings) -> None:
        self.path = path
        self._bot = bot
        self._room = bot.room
        self._settings = settings
        self._waiting: asyncio.Queue[_Item] = asyncio.Queue(settings.max_waiting)
        self._turn: asyncio.Task[None] | None = None

    # -- from outside

    def post(self, sender: RemoteParticipant, item: ChatMessage | Opened) -> None:
        """Put a message in line; LimitExceededError if too many wait."""
        try:
            self._waiting.put_nowait((sender, item))
        except asyncio.QueueFull:
            limit = self._settings.max_waiting
            raise LimitExceededError(f"{limit} messages of this thread wait already", limit=limit) from None

    def cancel_turn(self) -> None:
        """Stop the answer that is being given, if there is one. Messages in line stay there."""
        if self._turn is not None:
            self._turn.cancel()

    @property
    def has_waiting(self) -> bool:
        return not self._waiting.empty()

    # -- the conversation

    async def run(self) -> None:
        """Lead the conversation until nobody has said anything for long."""
        sender, first = await self._waiting.get()
        try:
            document = await self._room.sync.open(self.path)
        except RoomException as error:
            log.warning("%s cannot open the thread %s: %s", self._bot.name, self.path, error)
            self._tell(sender, f"{FAILURE} The thread cannot be opened: {error}")
            return
        try:
            thread = _OpenThread(self, ThreadDocument(document))
            await self._handle(thread, sender, first)
            while (item := await self._next()) is not None:
                await self._handle(thread, *item)
        except InvalidStateError as error:
            log.warning("%s cannot use the thread %s: %s", self._bot.name, self.path, error)
            self._tell(sender, f"{FAILURE} {error}")
        finally:
            await self._room.sync.close(self.path)

    async def _next(self) -> _Item | None:
        try:
            async with asyncio.timeout(self._settings.idle_timeout):
                return await self._waiting.get()
        except TimeoutError:
            return None

    async def _handle(self, thread: _OpenThread, sender: RemoteParticipant, item: ChatMessage | Opened) -> None:
        if isinstance(item, Opened):
            thread.greet(sender)
            return
        present = self._present(sender)
        self._turn = turn = asyncio.get_running_loop().create_task(
            thread.answer(sender if present is None else present, item), name=f"{self._bot.name} in {self.path}"
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
        """Tell that there is no answer, and why as far as that is fit for users."""
        if isinstance(error, RoomException):
            log.warning("%s could not answer in %s: %s", self._bot.name, self.path, error)
            text = f"{FAILURE} {error}"
        else:
            log.error("%s could not answer in %s", self._bot.name, self.path, exc_info=error)
            text = FAILURE
        thread.write(text)
        self._tell(sender, text)

    def _present(self, sender: RemoteParticipant) -> RemoteParticipant | None:
        """The sender as it is in the room now: it may have come back under a new id while the message waited."""
        others = self._room.messaging.remote_participants
        same = [other for other in others if other.id == sender.id]
        named = [other for other in others if name_of(other) and name_of(other) == name_of(sender)]
        return next(iter([*same, *named]), None)

    def _tell(self, to: RemoteParticipant, text: str) -> None:
        self._room.messaging.send_message_nowait(
            to=to, type=protocol.CHAT, message=ChatMessage(path=self.path, text=text).to_json()
        )


class _OpenThread:
    """The document of a conversation, and what its model knows of it."""

    def __init__(self, conversation: Conversation, thread: ThreadDocument) -> None:
        self._conversation = conversation
        self._bot = conversation._bot
        self._room = conversation._room
        self._settings = conversation._settings
        self._thread = thread
        self._history = ThreadHistory(thread, patience=self._settings.patience, limit=self._settings.max_history)
        self._chat = self._bot.init_chat_context()
        self._authors: set[str] = set()
        self._greeted = False

    def greet(self, sender: RemoteParticipant) -> None:
        """Say the greeting, once, unless the conversation has begun."""
        greeting = self._bot.auto_greet_message
        if greeting is None or self._greeted:
            return
        self._greeted = True
        own = own_name(self._room)
        if any(message.author == own for message in self._thread.messages()):
            return
        self.write(greeting)
        self._chat.append_assistant_message(greeting)
        self._conversation._tell(sender, greeting)

    def write(self, text: str) -> Element:
        """Write a message of the agent's own into the thread."""
        element = self._thread.append_message(author=own_name(self._room), text=text)
        self._history.wrote(element.id)
        return element

    async def answer(self, sender: RemoteParticipant, said: ChatMessage) -> None:
        """One turn; whatever its end, the users are told that it is over."""
        other_agents = [name_of(other) for other in self._online() if other.role == "agent"]
        if not protocol.is_addressed_to(said.text, own_name(self._room), other_agents):
            log.debug("a message in %s is for another agent", self._conversation.path)
            return
        self._show_thinking(sender, thinking=True)
        try:
            await self._answer(sender, said)
            await self._room.sync.flush(self._conversation.path)  # who sees that the turn is over sees all of it
        finally:
            self._show_thinking(sender, thinking=False)

    async def _answer(self, sender: RemoteParticipant, said: ChatMessage) -> None:
        for message in await self._history.take(name_of(sender), said):
            await self._read(message, is_current=message.text.strip() == said.text.strip())
        chat = self._chat
        answer = StreamedAnswer(lambda: self.write(""), interval=self._settings.stream_interval)
        try:
            await self._bot.respond(
                path=self._conversation.path,
                chat_context=chat,
                participant=sender,
                message=said,
                event_handler=answer.on_event,
            )
        finally:
            answer.end()
            if answer.unfinished_text:
                chat.append_assistant_message(f"{answer.unfinished_text} {STOPPED_NOTE}")

    async def _read(self, message: ThreadMessage, *, is_current: bool) -> None:
        """Let the model read a message of the thread."""
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
            several = len(self._authors) > 1
            self._chat.append_user_message(f"{message.author}: {message.text}" if several else message.text)

    # -- who is there

    def _online(self) -> list[RemoteParticipant]:
        members = set(self._thread.members())
        return [other for other in self._room.messaging.remote_participants if name_of(other) in members]

    def _show_thinking(self, sender: RemoteParticipant, *, thinking: bool) -> None:
        listeners = {other.id: other for other in [sender, *self._online()]}
        for listener in listeners.values():
            self._room.messaging.send_message_nowait(
                to=listener,
                type=protocol.THINKING,
                message={"path": self._conversation.path, "thinking": thinking},
            )
