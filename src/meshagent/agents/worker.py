"""`Worker`: an agent that takes jobs from a queue and loses none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from meshagent.agents.agent import SingleRoomAgent
from meshagent.agents.default_llm import llm_or_default
from meshagent.agents.llm.adapter import LLMAdapter
from meshagent.agents.llm.context import AgentChatContext
from meshagent.agents.llm.tool_answers import ToolResponseAdapter
from meshagent.api import jsontext
from meshagent.api.errors import ConnectionLostError, RequestTimeoutError, RoomException
from meshagent.api.jsontext import Json
from meshagent.api.room._tasks import OwnedTasks
from meshagent.api.room.descriptions import Requirement
from meshagent.tools.toolkit import Toolkit

if TYPE_CHECKING:
    from meshagent.api.room.client import RoomClient

__all__ = ["Worker"]

log = logging.getLogger(__name__)


class Worker(SingleRoomAgent):
    """Takes messages from a queue, one after the other, and works on each: by default, a model does.

    A message that was taken is worked on to its end, whatever becomes of the connection meanwhile. Work that fails
    is tried again; after `max_attempts` the message goes to the queue `failed_queue`, as `{"message", "error"}`.
    When the agent stops, work under way gets `stop_grace` seconds; then it is cancelled and its message put back; if
    the room has ended by then, when this agent is started again. So a message may be worked on twice, but is not
    dropped. What cannot be ruled out is the loss of a message that is on the wire at the moment at which the
    connection breaks.

    Args:
        queue: The queue's name; it is made if there is none.
        llm_adapter: The model; by default the room's, see `llm_or_default`.
        tool_adapter: How tool answers become text for the model.
        toolkits: What the model may use.
        rules: Sentences that the model follows.
        concurrency: Messages that are worked on at a time.
        max_attempts: How often work on a message is tried.
        retry_delay: Seconds before the second attempt; doubled for each one after it.
        failed_queue: Where messages go that could not be worked on; `{queue}.failed` by default.
        stop_grace: See above.

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
        self._loops: list[_JobLoop] = []
        self._tasks = OwnedTasks()
        self._unfinished: list[Json] = []  # could not be put back, for the room had ended

    # -- what a job is

    async def process_message(self, *, chat_context: AgentChatContext, message: Json, toolkits: list[Toolkit]) -> Any:
        """Work on one message. Override it to do without a model; an exception makes the work fail.

        Args:
            chat_context: A new conversation with the rules in it.
            message: What was sent to the queue.
            toolkits: The agent's own and those that it requires.
        """
        chat_context.append_user_message(message if isinstance(message, str) else jsontext.dumps(message).decode())
        return await self.llm_adapter.next(
            context=chat_context, room=self.room, toolkits=toolkits, tool_adapter=self._tool_adapter
        )

    def init_chat_context(self) -> AgentChatContext:
        """A new conversation with the rules in it; override to say more."""
        chat = self.llm_adapter.create_chat_context()
        chat.append_rules(self.rules)
        return chat

    # -- life

    async def start(self, *, room: RoomClient) -> None:
        """As `SingleRoomAgent.start`; when it returns, messages are taken."""
        self.llm_adapter = llm_or_default(self._given_llm, room)
        await super().start(room=room)
        try:
            await room.queues.open(self.queue)
            while self._unfinished:
                await room.queues.send(self.queue, self._unfinished[0])
                del self._unfinished[0]
        except BaseException:
            await super().stop()
            raise
        for number in range(self._concurrency):
            loop = _JobLoop(self, room)
            loop.working = self._tasks.start(loop.run(), f"worker {number + 1} of {self.name}")
            self._loops.append(loop)

    async def stop(self) -> None:
        """Take no more messages; finish those in hand, or put them back."""
        loops, self._loops = self._loops, []
        try:
            for loop in loops:
                loop.take_no_more()
            busy = [loop.working for loop in loops if loop.working is not None and not loop.working.done()]
            if busy:
                await asyncio.wait(busy, timeout=self._stop_grace)
            await self._tasks.close()
        finally:
            await super().stop()

    async def _work(self, message: Json) -> None:
        """Work on a message until it is done, or has failed too often."""
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
                    if not await _send_surely(self.room, self.failed_queue, failure):
                        self._unfinished.append(message)
                    return
                await asyncio.sleep(delay)
                delay *= 2
            else:
                return


class _JobLoop:
    """Takes one message at a time and works on it."""

    def __init__(self, worker: Worker, room: RoomClient) -> None:
        self._worker = worker
        self._room = room
        self._stopping = asyncio.Event()
        self.working: asyncio.Task[None] | None = None

    def take_no_more(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        delay = self._worker._retry_delay
        while not self._stopping.is_set():
            try:
                message = await self._take()
            except ConnectionLostError as error:
                if self._room._closed.is_set():
                    log.info("%s: the connection to the room is closed", self._worker.name)
                    return
                log.info("%s: waiting for the connection: %s", self._worker.name, error)
            except RequestTimeoutError as error:
                log.info("%s: still waiting for the connection: %s", self._worker.name, error)
            except RoomException as error:
                log.error("%s: the room gives no messages: %s", self._worker.name, error)
                await self._pause(delay)
            else:
                if message is not None:
                    await self._finish(message)

    async def _take(self) -> Json:
        """The next message; None if the agent stops first, or the queue was removed.

        A request to receive cannot be taken back. When the agent stops, it therefore stays with the room, and what
        it may still bring is put back.
        """
        receiving = self._room._tasks.start(
            self._room.queues.receive(self._worker.queue), f"receiving for {self._worker.name}", quiet=True
        )
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait([receiving, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            if not receiving.done() or self._stopping.is_set():
                self._room._tasks.start(_put_back_late(self._worker, self._room, receiving), "late message", quiet=True)
        return None if self._stopping.is_set() else receiving.result()

    async def _finish(self, message: Json) -> None:
        try:
            await self._worker._work(message)
        except asyncio.CancelledError:
            # The task is being cancelled once; what it awaits now goes through.
            await _put_back(self._worker, self._room, message)
            raise

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


async def _put_back_late(worker: Worker, room: RoomClient, receiving: asyncio.Task[Json]) -> None:
    """Put back what a worker receives that has stopped."""
    try:
        message = await receiving
    except RoomException:
        return
    if message is not None:
        await _put_back(worker, room, message)


async def _put_back(worker: Worker, room: RoomClient, message: Json) -> None:
    if not await _send_surely(room, worker.queue, message):
        log.warning("%s keeps a message, for the room has ended", worker.name)
        worker._unfinished.append(message)


async def _send_surely(room: RoomClient, queue: str, message: Json) -> bool:
    """Send a message, over lost connections too; False if the client will not come back.

    A connection that is lost during a request leaves its outcome unknown; sent twice is better than not at all.
    """
    while True:
        try:
            await room.queues.send(queue, message)
        except (ConnectionLostError, RequestTimeoutError):
            if room._closed.is_set():
                return False
        else:
            return True
