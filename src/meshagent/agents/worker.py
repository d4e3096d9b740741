"""`Worker`: an agent that processes the messages of a queue, at least once each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.default_llm import llm_or_default
from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_responses import ToolResponseAdapter
from meshagent.api import jsontext
from meshagent.api.errors import ConnectionLostError, NotFoundError, RequestTimeoutError, RoomException
from meshagent.api.jsontext import Json
from meshagent.api.room.descriptions import Requirement
from meshagent.api.room.queues import LeasedMessage
from meshagent.api.room.tasks import OwnedTasks
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["Worker"]

log = logging.getLogger(__name__)


class Worker(SingleRoomAgent):
    """Receives messages from a queue and processes each one, by default with a language model.

    Messages are received with a lease, which is extended while they are processed, and removed when they are done. So a
    message may be processed twice but is not lost, even if this process is killed: when its lease ends, it returns to
    the queue. Processing continues across lost connections.

    A failed attempt is retried; after `max_attempts` the message moves to `failed_queue` as `{"message", "error"}`. A
    message that was received `max_deliveries` times without being finished, because the process died each time, moves
    to the queue `{queue}.dead`. When the agent stops, messages in progress get `stop_grace` seconds; then they are
    cancelled and returned to the queue.

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
        lease: Seconds after which another worker gets a message whose worker died, 0.1 to 12 hours.
        max_deliveries: How often a message is received before it is given up.

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
        lease: float = 30.0,
        max_deliveries: int = 10,
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
        self._lease = lease
        self._max_deliveries = max_deliveries
        self._unreleased: list[LeasedMessage] = []  # could not be returned to the queue because the room had ended

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
            while self._unreleased:
                await self._return_from_earlier(room, self._unreleased[0])
                del self._unreleased[0]
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

    async def _return_from_earlier(self, room: RoomClient, leased: LeasedMessage) -> None:
        """Return a message to the queue that was received in an earlier stay in the room."""
        with suppress(NotFoundError):  # the lease has ended meanwhile, or the queue was removed
            await LeasedMessage(
                room, queue=leased.queue, message=leased.message, attempts=leased.attempts, lease=leased.lease
            ).release()

    async def _process_with_retries(self, leased: LeasedMessage) -> None:
        """Process a message until an attempt succeeds or all have failed; then remove it from the queue."""
        delay = self._retry_delay
        for attempt in range(1, self._max_attempts + 1):
            try:
                chat_context = self.init_chat_context()
                toolkits = [*self.toolkits, *await self.required_toolkits(None)]
                await self.process_message(chat_context=chat_context, message=leased.message, toolkits=toolkits)
            except Exception as error:
                is_last = attempt == self._max_attempts
                log.warning("%s: attempt %s on a message failed: %r", self.name, attempt, error, exc_info=is_last)
                if is_last:
                    failure = {"message": leased.message, "error": str(error) or type(error).__name__}
                    send = partial(self.room.queues.send, self.failed_queue, failure, deduplication_id=leased.lease)
                    await self._finish(leased, send)
                    break
                await asyncio.sleep(delay)
                delay *= 2
            else:
                break
        await self._finish(leased, leased.ack)

    async def _finish(self, leased: LeasedMessage, request: Callable[[], Awaitable[None]]) -> None:
        """Make a request that ends the work on a message, also across lost connections.

        If the connection is lost during a request, its outcome is unknown, and it is made again.

        Raises:
            ConnectionLostError, RequestTimeoutError: The client is closed for good.
        """
        while True:
            try:
                await request()
            except (ConnectionLostError, RequestTimeoutError):
                if self.room.is_closed:
                    raise
            except NotFoundError as error:
                log.warning("%s: a message may be processed again: %s", self.name, error)
                return
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
                leased = await self._receive()
                if leased is not None:
                    await self._process(leased)
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

    async def _receive(self) -> LeasedMessage | None:
        """The next message, or None if the agent stops first or the queue was removed."""
        worker = self._worker
        receiving = self._room.spawn(
            self._room.queues.receive(worker.queue, lease=worker._lease, max_attempts=worker._max_deliveries),
            f"receiving for {worker.name}",
            quiet=True,
        )
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([receiving, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            receiving.cancel()  # the room takes a message back that was on its way
        return receiving.result() if receiving.done() and not receiving.cancelled() else None

    async def _process(self, leased: LeasedMessage) -> None:
        keeping = self._worker._tasks.start(self._keep(leased), f"lease of {self._worker.name}")
        try:
            await self._worker._process_with_retries(leased)
        except BaseException:
            # `stop` cancels the task only once, so this await completes.
            await self._release(leased)
            raise
        finally:
            keeping.cancel()

    async def _keep(self, leased: LeasedMessage) -> None:
        """Extend the lease of a message for as long as it is processed."""
        lease = self._worker._lease
        while True:
            await asyncio.sleep(lease / 3)
            try:
                await leased.extend(lease)
            except (ConnectionLostError, RequestTimeoutError):
                continue
            except RoomException as error:
                log.warning("%s: a message may be processed twice: %s", self._worker.name, error)
                return

    async def _release(self, leased: LeasedMessage) -> None:
        try:
            await self._worker._finish(leased, leased.release)
        except RoomException:
            log.warning("%s returns a message at its next start, or when its lease ends", self._worker.name)
            self._worker._unreleased.append(leased)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass
