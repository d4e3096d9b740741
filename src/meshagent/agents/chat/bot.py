"""`ChatBot`: an agent that users chat with in threads (protocol 17)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.chat import protocol
from meshagent.agents.chat.conversation import ChatSettings, Conversation, ThreadOpened
from meshagent.agents.chat.protocol import ChatMessage
from meshagent.agents.chat.toolkits import room_toolkits
from meshagent.agents.default_llm import llm_or_default
from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.api.errors import InvalidRequestError, LimitExceededError
from meshagent.api.room.descriptions import RequiredSchema, Requirement
from meshagent.api.room.tasks import OwnedTasks
from meshagent.llm.events import EventHandler
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient
    from meshagent.api.room.messaging import RoomMessage
    from meshagent.api.room.participants import RemoteParticipant

__all__ = ["ChatBot"]

log = logging.getLogger(__name__)

MAX_THREADS: Final = 1000
EMPTY_STATE_TITLE: Final = "How can I help you?"


class ChatBot(SingleRoomAgent):
    """Answers users in threads. Threads are independent of each other and run concurrently.

    A thread is a document. A user writes a message into it and notifies the agent; the answer is streamed into the
    document. `cancel` stops the current answer and nothing else. If a message mentions agents of the thread as
    `@name`, only those answer.

    Args:
        llm_adapter: The model. Default: the room's, see `llm_or_default`.
        tool_adapter: Converts tool responses to text for the model.
        toolkits: Toolkits the model may use, besides those named in `requires` and those chosen by the user.
        rules: Instructions for the model.
        auto_greet_message: Greeting for a user who opens a thread in which the agent has not written yet.
        empty_state_title: What user interfaces show while a thread is empty.
        settings: Timeouts and limits.

    Other arguments: as `SingleRoomAgent`.
    """

    def __init__(
        self,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        requires: Sequence[Requirement] = (),
        labels: Sequence[str] = (),
        llm_adapter: LLMAdapter | None = None,
        tool_adapter: ToolResponseAdapter | None = None,
        toolkits: Sequence[Toolkit] = (),
        rules: Sequence[str] = (),
        auto_greet_message: str | None = None,
        empty_state_title: str | None = None,
        settings: ChatSettings | None = None,
    ) -> None:
        super().__init__(
            name=name,
            title=title,
            description=description,
            requires=[RequiredSchema(name="thread"), *requires],
            labels=labels,
        )
        self.toolkits = list(toolkits)
        self.rules = list(rules)
        self.auto_greet_message = auto_greet_message
        self.empty_state_title = EMPTY_STATE_TITLE if empty_state_title is None else empty_state_title
        self._given_llm = llm_adapter
        self._tool_adapter = tool_adapter
        self._settings = ChatSettings() if settings is None else settings
        self._conversations: dict[str, Conversation] = {}
        self._tasks = OwnedTasks()

    # -- hooks for subclasses

    def init_chat_context(self) -> AgentChatContext:
        """Return a new conversation that contains the rules; called once for each thread that is opened."""
        chat = self.llm_adapter.create_chat_context()
        chat.append_rules(self.rules)
        return chat

    async def get_thread_toolkits(self, *, participant: RemoteParticipant, message: ChatMessage) -> list[Toolkit]:
        """Return the toolkits the model may use to answer one message of `participant`.

        Raises:
            NotFoundError: A required toolkit has left the room.
        """
        hosted = await room_toolkits(self.room, self.requires, message.toolkits, participant.id)
        return [*self.toolkits, *hosted]

    async def respond(
        self,
        *,
        path: str,
        chat_context: AgentChatContext,
        participant: RemoteParticipant,
        message: ChatMessage,
        event_handler: EventHandler,
    ) -> None:
        """Answer a message.

        Args:
            path: Path of the thread document.
            chat_context: The conversation, including this message; the model's messages are appended.
            participant: The author of the message.
            message: The `chat` message.
            event_handler: Writes the model's text into the thread.

        Raises:
            Exception: Any failure; the user is told that it failed, with the text if it is a RoomException.
        """
        toolkits = await self.get_thread_toolkits(participant=participant, message=message)
        is_present = any(other.id == participant.id for other in self.room.messaging.remote_participants)
        context = _with_current_file(chat_context, participant)
        message_count = len(context.messages)
        try:
            await self.llm_adapter.next(
                context=context,
                room=self.room,
                toolkits=toolkits,
                tool_adapter=self._tool_adapter,
                event_handler=event_handler,
                on_behalf_of=participant if is_present else None,
            )
        finally:
            chat_context.messages.extend(context.messages[message_count:])

    # -- lifecycle

    async def start(self, *, room: RoomClient) -> None:
        """As `SingleRoomAgent.start`. On return the agent is visible and answers."""
        self.llm_adapter = llm_or_default(self._given_llm, room)
        await super().start(room=room)
        room.messaging.on("message", self._on_message)
        try:
            await room.local_participant.set_attribute("empty_state_title", self.empty_state_title)
            await room.messaging.enable()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Cancel all answers and close the threads."""
        if self._room is not None:
            self._room.messaging.off("message", self._on_message)
        self._conversations = {}  # keeps `_ended` from restarting them
        try:
            await self._tasks.close()
        finally:
            await super().stop()

    # -- messages

    def _on_message(self, message: RoomMessage) -> None:
        if message.type not in (protocol.CHAT, protocol.OPENED, protocol.CANCEL):
            return
        sender = self._sender(message.from_participant_id)
        if sender is None:
            log.info("%s ignores a message from a participant that is not visible", self.name)
            return
        try:
            match message.type:
                case protocol.CHAT:
                    chat = ChatMessage.from_json(message.message)
                    self._post(chat.path, sender, chat)
                case protocol.OPENED if self.auto_greet_message is not None:
                    self._post(protocol.thread_path(message.message), sender, ThreadOpened())
                case protocol.CANCEL:
                    self._cancel(protocol.thread_path(message.message))
        except InvalidRequestError as error:
            log.info("%s ignores a message: %s", self.name, error)
        except LimitExceededError as error:
            log.warning("%s rejects a message: %s", self.name, error)
            self._reject(sender, message, error)

    def _sender(self, participant_id: str) -> RemoteParticipant | None:
        for participant in self.room.messaging.remote_participants:
            if participant.id == participant_id:
                return participant
        return None

    def _post(self, path: str, sender: RemoteParticipant, item: ChatMessage | ThreadOpened) -> None:
        conversation = self._conversations.get(path)
        if conversation is None:
            if len(self._conversations) >= MAX_THREADS:
                raise LimitExceededError(f"limit of {MAX_THREADS} open threads reached", limit=MAX_THREADS)
            conversation = self._conversations[path] = Conversation(self, path, self._settings)
            conversation.post(sender, item)
            self._start(conversation)
        else:
            conversation.post(sender, item)

    def _start(self, conversation: Conversation) -> None:
        task = self._tasks.start(conversation.run(), f"{self.name} in {conversation.path}")
        task.add_done_callback(lambda _: self._ended(conversation))

    def _ended(self, conversation: Conversation) -> None:
        if self._conversations.get(conversation.path) is not conversation:
            return  # the agent has stopped
        if conversation.has_pending:
            self._start(conversation)  # a message arrived between the idle timeout and this callback
        else:
            del self._conversations[conversation.path]

    def _cancel(self, path: str) -> None:
        conversation = self._conversations.get(path)
        if conversation is not None:
            conversation.cancel_turn()

    def _reject(self, sender: RemoteParticipant, message: RoomMessage, error: LimitExceededError) -> None:
        text = f"Sorry, I am too busy to answer: {error}."
        answer: Any = ChatMessage(path=protocol.thread_path(message.message), text=text).to_json()
        self.room.messaging.send_message_nowait(to=sender, type=protocol.CHAT, message=answer)


def _with_current_file(chat_context: AgentChatContext, participant: RemoteParticipant) -> AgentChatContext:
    """Return a copy that also tells which file the user is viewing. A copy, as this holds for one turn only."""
    current_file = participant.get_attribute("current_file")
    context = AgentChatContext(messages=chat_context.messages, rules=chat_context.rules)
    if isinstance(current_file, str) and current_file:
        context.append_rules([f"The user is looking at the file {current_file!r} of the room right now."])
    return context
