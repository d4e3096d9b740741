"""Which function takes which message, in what order, and what becomes of messages that nobody wants yet."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from meshagent.api.errors import InvalidStateError
from meshagent.api.wire import names
from meshagent.api.wire.packets import Message

if TYPE_CHECKING:
    from meshagent.api.transport.protocol import Protocol

log = logging.getLogger(__name__)

MessageHandler = Callable[["Protocol", int, str, bytes], "Awaitable[None] | None"]
"""Takes the protocol, the message's id, its type and its data; may be a coroutine function."""

ANY: Final = "*"
MAX_BACKLOG: Final = 64
MAX_WAITING: Final = 10_000


class HandlerOverflowError(Exception):
    """A handler is so far behind that the connection must end."""


class _Lane:
    """One handler with the messages that wait for it, because it is still busy with an earlier one."""

    __slots__ = ("handler", "task", "waiting")

    def __init__(self, handler: MessageHandler) -> None:
        self.handler = handler
        self.waiting: deque[Message] = deque()
        self.task: asyncio.Task[None] | None = None


class HandlerTable:
    """The handlers of one protocol object.

    A handler gets its messages one at a time, in order. While a coroutine handler waits, messages of other types
    go on: a handler may await the answer to a request on the same connection. Exceptions are logged.

    Messages without a handler are kept, the first 64 of a connection, and handed over when one is registered.
    `connected`, `room_ready` and the latest `room.status` are remembered for as long as the connection lives, so
    that each new client of one connection learns them.
    """

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._lanes: dict[str, _Lane] = {}
        self._backlog: list[Message] = []
        self._lifecycle: dict[str, Message] = {}

    def register(self, message_type: str, handler: MessageHandler) -> None:
        """Send messages of a type to `handler`, those first that came before; `*` takes what nobody else takes."""
        if message_type in self._lanes:
            raise InvalidStateError(f"messages of type {message_type!r} already have a handler")
        self._lanes[message_type] = _Lane(handler)
        early = [message for message in self._backlog if message_type in (message.type, ANY)]
        self._backlog = [message for message in self._backlog if message not in early]
        if message_type in self._lifecycle:
            early.insert(0, self._lifecycle[message_type])
        if early:
            asyncio.get_running_loop().call_soon(self._replay, self._lanes[message_type], early)

    def unregister(self, message_type: str, handler: MessageHandler) -> None:
        """Undo `register`; messages that still wait for the handler are dropped."""
        lane = self._lanes.get(message_type)
        if lane is None or lane.handler != handler:
            raise InvalidStateError(f"this function is not the handler of messages of type {message_type!r}")
        del self._lanes[message_type]
        lane.waiting.clear()

    def new_connection(self) -> None:
        """Forget the messages of the previous connection that nobody took."""
        self._backlog.clear()
        self._lifecycle.clear()

    def dispatch(self, message: Message) -> None:
        """Hand a message to its handler, now or when the handler is free.

        Raises:
            HandlerOverflowError: Ten thousand messages wait for one handler.
        """
        if message.type in names.LIFECYCLE:
            self._lifecycle[message.type] = message
        lane = self._lanes.get(message.type) or self._lanes.get(ANY)
        if lane is not None:
            self._enqueue(lane, message)
        elif message.type not in self._lifecycle:
            self._keep(message)

    async def close(self) -> None:
        """Cancel handlers that are still busy, but never the task that calls this."""
        current = asyncio.current_task()
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None and lane.task is not current]
        for lane in self._lanes.values():
            lane.waiting.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _keep(self, message: Message) -> None:
        if len(self._backlog) < MAX_BACKLOG:
            self._backlog.append(message)
        else:
            log.error("dropped a message of type %r: no handler is registered", message.type)

    def _replay(self, lane: _Lane, early: list[Message]) -> None:
        for message in early:
            self._enqueue(lane, message)

    def _enqueue(self, lane: _Lane, message: Message) -> None:
        if lane.task is not None:
            if len(lane.waiting) >= MAX_WAITING:
                raise HandlerOverflowError(f"{MAX_WAITING} messages wait for the handler of {message.type!r}")
            lane.waiting.append(message)
            return
        pending = self._call(lane, message)
        if pending is not None:
            lane.task = asyncio.get_running_loop().create_task(self._run(lane, message.type, pending))

    def _call(self, lane: _Lane, message: Message) -> Awaitable[None] | None:
        try:
            return lane.handler(self._protocol, message.id, message.type, message.data)
        except Exception:
            log.exception("handler of %r failed", message.type)
            return None

    async def _run(self, lane: _Lane, message_type: str, pending: Awaitable[None]) -> None:
        """Await a coroutine handler, then give it what came meanwhile."""
        following: Awaitable[None] | None = pending
        try:
            while True:
                if following is not None:
                    try:
                        await following
                    except Exception:
                        log.exception("handler of %r failed", message_type)
                if not lane.waiting:
                    return
                following = self._call(lane, lane.waiting.popleft())
        finally:
            lane.task = None
