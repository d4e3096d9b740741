"""`Worker`: an agent that processes the messages of a queue, at least once each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.default_llm import llm_or_default
from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.api import jsontext
from meshagent.api.errors import ConnectionLostError, RequestTimeoutError, RoomException
from meshagent.api.jsontext import Json
from meshagent.api.room.descriptions import Requirement
from meshagent.api.room.tasks import OwnedTasks
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["Worker"]

log = logging.getLogger(__name__)


class Worker(SingleRoomAgent):
    """Receives messages from a queue and processes each one, by default with a language model.

    Processing continues across lost connections. A failed attempt is retried; after `max_attempts` the message moves
    to `failed_queue` as `{"message", "error"}`. When the agent stops, messages in progress get `stop_grace` seconds;
    then they are cancelled and returned to the queue, or, if the room has ended, when this agent is started again.
    So a message may be processed twice but is not dropped, with one exception: a message can be lost if the
    connection breaks while the server is sending it.

    Args:
        queue: Name of the queue; created if missing.
        llm_adapter: The model. Default: the room's, see `llm_or_default`.
        tool_adapter: Converts tool responses to text for the model.
        toolkits: Toolkits the model may use.
        rules: Instructions for the model.
        concurrency: Number of messages processed at a time.
        max_attempts: Number of attempts per message.
        retry_delay: Seconds before the second attempt; doubled for each further one.
        failed_queue: Queue for messages that failed `max_attempts` times. Default: `{queue}.failed`.
        stop_grace: Seconds that messages in progress get to finish when the agent stops.

    Other arguments: as `SingleRoomAgent`.
    """

    def __init__(
        self,
        *,
        queue: str,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        requires: Sequence[Requirement] = (),
        labels: Sequence[str] = (),
        llm_adapter: LLMAdapter | None = None,
        tool_adapter: ToolResponseAdapter | None = None,
        toolkits: Sequence[Toolkit] = (),
        rules: Sequence[str] = (),
        concurrency: int = 1,
        max_attempts: int = 3,
        retry_delay: float = 1.0,
        failed_queue: str | None = None,
        stop_grace: float = 5.0,
    ) -> None:
        super().__init__(name=name, title=title, description=description, requires=requires, labels=labels)
        self.queue = queue
        self.failed_queue = failed_queue if failed_queue is not None else f"{queue}.failed"
        self.toolkits = list(toolkits)
        self.rules = list(rules)
        self._given_llm = llm_adapter
        self._tool_adapter = tool_adapter
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._retry_delay = retry_delay
        self._stop_grace = stop_grace
        self._loops: list[_ReceiveLoop] = []
        self._tasks = OwnedTasks()
        self._unreturned: list[Json] = []  # messages that could not be returned to the queue because the room had ended

    # -- processing

    async def process_message(self, *, chat_context: AgentChatContext, message: Json, toolkits: list[Toolkit]) -> Any:
        """Process one message. Override it to work without a model. An exception makes the attempt fail.

        Args:
            chat_context: A new conversation that contains the rules.
            message: The message from the queue.
            toolkits: The agent's own and required toolkits.
        """
        chat_context.append_user_message(message if isinstance(message, str) else jsontext.dumps(message).decode())
        return await self.llm_adapter.next(
            context=chat_context, room=self.room, toolkits=toolkits, tool_adapter=self._tool_adapter
        )

    def init_chat_context(self) -> AgentChatContext:
        """Return a new conversation that contains the rules. Override it to add more."""
        chat = self.llm_adapter.create_chat_context()
        chat.append_rules(self.rules)
        return chat

    # -- lifecycle

    async def start(self, *, room: RoomClient) -> None:
        """As `SingleRoomAgent.start`. On return the agent receives messages."""
        self.llm_adapter = llm_or_default(self._given_llm, room)
        await super().start(room=room)
        try:
            await room.queues.open(self.queue)
            while self._unreturned:
                await room.queues.send(self.queue, self._unreturned[0])
                del self._unreturned[0]
        except BaseException:
            await super().stop()
            raise
        for number in range(self._concurrency):
            loop = _ReceiveLoop(self, room)
            loop.task = self._tasks.start(loop.run(), f"worker {number + 1} of {self.name}")
            self._loops.append(loop)

    async def stop(self) -> None:
        """Stop receiving; finish the messages in progress, or return them to the queue."""
        loops, self._loops = self._loops, []
        try:
            for loop in loops:
                loop.request_stop()
            busy = [loop.task for loop in loops if loop.task is not None and not loop.task.done()]
            if busy:
                await asyncio.wait(busy, timeout=self._stop_grace)
            await self._tasks.close()
        finally:
            await super().stop()

    async def _process_with_retries(self, message: Json) -> None:
        """Process a message until an attempt succeeds or all have failed."""
        delay = self._retry_delay
        for attempt in range(1, self._max_attempts + 1):
            try:
                chat_context = self.init_chat_context()
                toolkits = [*self.toolkits, *await self.required_toolkits(None)]
                await self.process_message(chat_context=chat_context, message=message, toolkits=toolkits)
            except Exception as error:
                is_last = attempt == self._max_attempts
                log.warning("%s: attempt %s on a message failed: %r", self.name, attempt, error, exc_info=is_last)
                if is_last:
                    failure = {"message": message, "error": str(error) or type(error).__name__}
                    if not await _send_with_retries(self.room, self.failed_queue, failure):
                        self._unreturned.append(message)
                    return
                await asyncio.sleep(delay)
                delay *= 2
            else:
                return


class _ReceiveLoop:
    """Receives and processes one message at a time."""

    def __init__(self, worker: Worker, room: RoomClient) -> None:
        self._worker = worker
        self._room = room
        self._stopping = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def request_stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        delay = self._worker._retry_delay
        while not self._stopping.is_set():
            try:
                message = await self._receive()
            except ConnectionLostError as error:
                if self._room.is_closed:
                    log.info("%s: connection to the room closed", self._worker.name)
                    return
                log.info("%s: waiting for reconnection: %s", self._worker.name, error)
            except RequestTimeoutError as error:
                log.info("%s: still waiting for reconnection: %s", self._worker.name, error)
            except RoomException as error:
                log.error("%s: cannot receive messages: %s", self._worker.name, error)
                await self._pause(delay)
            else:
                if message is not None:
                    await self._process(message)

    async def _receive(self) -> Json:
        """Return the next message, or None if the agent stops first or the queue was removed.

        A pending receive request cannot be withdrawn from the server. When the agent stops, the request therefore
        stays open as a task of the room client, and a message that still arrives is returned to the queue.
        """
        receiving = self._room.spawn(
            self._room.queues.receive(self._worker.queue), f"receiving for {self._worker.name}", quiet=True
        )
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([receiving, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not receiving.done() or self._stopping.is_set():
                late = _return_late_message(self._worker, self._room, receiving)
                self._room.spawn(late, "late message", quiet=True)
        return None if self._stopping.is_set() else receiving.result()

    async def _process(self, message: Json) -> None:
        try:
            await self._worker._process_with_retries(message)
        except asyncio.CancelledError:
            # `stop` cancels the task only once, so this await completes.
            await _return_message(self._worker, self._room, message)
            raise

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


async def _return_late_message(worker: Worker, room: RoomClient, receiving: asyncio.Task[Json]) -> None:
    """Return a message to the queue that arrives after its worker has stopped."""
    try:
        message = await receiving
    except RoomException:
        return
    if message is not None:
        await _return_message(worker, room, message)


async def _return_message(worker: Worker, room: RoomClient, message: Json) -> None:
    if not await _send_with_retries(room, worker.queue, message):
        log.warning("%s keeps a message until its next start: the room has ended", worker.name)
        worker._unreturned.append(message)


async def _send_with_retries(room: RoomClient, queue: str, message: Json) -> bool:
    """Send a message, retrying after lost connections; False if the client is closed for good.

    If the connection is lost during a request, its outcome is unknown. Sending twice is better than not at all.
    """
    while True:
        try:
            await room.queues.send(queue, message)
        except (ConnectionLostError, RequestTimeoutError):
            if room.is_closed:
                return False
        else:
            return True
