"""The handlers of a connection: which one gets a message, in what order, and which messages are kept for later ones."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from meshagent.api.errors import InvalidStateError
from meshagent.api.wire import names
from meshagent.api.wire.packets import Message

log = logging.getLogger(__name__)

ProtocolT = TypeVar("ProtocolT")

Handler = Callable[[ProtocolT, int, str, bytes], "Awaitable[None] | None"]
"""Called with the protocol, message id, type and data of a message; may be a coroutine function."""

ANY: Final = "*"
MAX_BACKLOG: Final = 64
MAX_WAITING: Final = 10_000


class HandlerOverflowError(Exception):
    """Too many messages wait for one handler: the connection must end."""


class _HandlerQueue(Generic[ProtocolT]):
    """One handler, and the messages that wait while it is busy with an earlier one."""

    __slots__ = ("handler", "task", "waiting")

    def __init__(self, handler: Handler[ProtocolT]) -> None:
        self.handler = handler
        self.waiting: deque[Message] = deque()
        self.task: asyncio.Task[None] | None = None


class HandlerTable(Generic[ProtocolT]):
    """The handlers of one protocol object.

    A handler gets its messages one at a time, in order. While a coroutine handler waits, messages of other types
    go on: a handler may await the answer to a request on the same connection. Exceptions are logged.

    Messages without a handler are kept, the first 64 of a connection, and handed over when one is registered.
    `connected`, `room_ready` and the latest `room.status` are remembered for as long as the connection lives, so
    that each new client of one connection learns them.
    """

    def __init__(self, protocol: ProtocolT) -> None:
        self._protocol = protocol
        self._queues: dict[str, _HandlerQueue[ProtocolT]] = {}
        self._backlog: list[Message] = []
        self._lifecycle: dict[str, Message] = {}

    def register(self, message_type: str, handler: Handler[ProtocolT]) -> None:
        """Pass messages of a type to `handler`, earlier ones first; `*` gets messages that have no other handler."""
        if message_type in self._queues:
            raise InvalidStateError(f"messages of type {message_type!r} already have a handler")
        self._queues[message_type] = _HandlerQueue(handler)
        early = [message for message in self._backlog if message_type in (message.type, ANY)]
        self._backlog = [message for message in self._backlog if message not in early]
        if message_type in self._lifecycle:
            early.insert(0, self._lifecycle[message_type])
        if early:
            asyncio.get_running_loop().call_soon(self._replay, self._queues[message_type], early)

    def unregister(self, message_type: str, handler: Handler[ProtocolT]) -> None:
        """Undo `register`; messages that still wait for the handler are dropped."""
        queue = self._queues.get(message_type)
        if queue is None or queue.handler != handler:
            raise InvalidStateError(f"this function is not the handler of messages of type {message_type!r}")
        del self._queues[message_type]
        queue.waiting.clear()

    def new_connection(self) -> None:
        """Forget messages of the previous connection that had no handler."""
        self._backlog.clear()
        self._lifecycle.clear()

    def dispatch(self, message: Message) -> None:
        """Pass a message to its handler, now or when the handler is free.

        Raises:
            HandlerOverflowError: Ten thousand messages wait for one handler.
        """
        if message.type in names.LIFECYCLE:
            self._lifecycle[message.type] = message
        queue = self._queues.get(message.type) or self._queues.get(ANY)
        if queue is not None:
            self._enqueue(queue, message)
        elif message.type not in self._lifecycle:
            self._keep(message)

    async def close(self) -> None:
        """Cancel handlers that are still busy, except the calling task."""
        current = asyncio.current_task()
        tasks = [queue.task for queue in self._queues.values() if queue.task is not None and queue.task is not current]
        for queue in self._queues.values():
            queue.waiting.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _keep(self, message: Message) -> None:
        if len(self._backlog) < MAX_BACKLOG:
            self._backlog.append(message)
        else:
            log.error("dropped a message of type %r: no handler is registered", message.type)

    def _replay(self, queue: _HandlerQueue[ProtocolT], early: list[Message]) -> None:
        for message in early:
            self._enqueue(queue, message)

    def _enqueue(self, queue: _HandlerQueue[ProtocolT], message: Message) -> None:
        if queue.task is not None:
            if len(queue.waiting) >= MAX_WAITING:
                raise HandlerOverflowError(f"{MAX_WAITING} messages wait for the handler of {message.type!r}")
            queue.waiting.append(message)
            return
        pending = self._call(queue, message)
        if pending is not None:
            queue.task = asyncio.get_running_loop().create_task(self._run(queue, message.type, pending))

    def _call(self, queue: _HandlerQueue[ProtocolT], message: Message) -> Awaitable[None] | None:
        try:
            return queue.handler(self._protocol, message.id, message.type, message.data)
        except Exception:
            log.exception("handler of %r failed", message.type)
            return None

    async def _run(self, queue: _HandlerQueue[ProtocolT], message_type: str, pending: Awaitable[None]) -> None:
        """Await a coroutine handler, then pass it the messages that have arrived meanwhile."""
        following: Awaitable[None] | None = pending
        try:
            while True:
                if following is not None:
                    try:
                        await following
                    except Exception:
                        log.exception("handler of %r failed", message_type)
                if not queue.waiting:
                    return
                following = self._call(queue, queue.waiting.popleft())
        finally:
            queue.task = None
