"""Named queues of messages: `room.queues` (protocol 10)."""

from __future__ import annotations

import asyncio
import builtins
import itertools
from dataclasses import dataclass
from typing import Any, overload

import msgspec

from meshagent.api import jsontext
from meshagent.api.contracts import queues as api
from meshagent.api.contracts.content import Body, EmptyBody, JsonBody, TextBody
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import RoomException
from meshagent.api.jsontext import Json
from meshagent.api.room.core import RoomCalls, RoomCore

__all__ = ["LeasedMessage", "Queue", "QueuesClient"]


class _Leased(msgspec.Struct):
    """`contracts.queues.LeasedMessage`, decoded."""

    message: Any
    lease: str
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue; `size` counts the messages that nobody has received yet."""

    name: str
    size: int


class LeasedMessage:
    """A message received with a lease. It stays in its queue, unseen by others, until `ack` or the end of the lease.

    The lease belongs to no connection: it can be ended after a reconnection, too. All methods raise `NotFoundError` if
    the lease has ended; somebody else may have received the message then.

    Attributes:
        queue: Name of the queue.
        message: The message, a JSON value.
        attempts: How often the message was received with a lease, with this time: 1 for the first.
        lease: The lease's id.
    """

    def __init__(self, room: RoomCalls, *, queue: str, message: Json, attempts: int, lease: str) -> None:
        self._room = room
        self.queue = queue
        self.message = message
        self.attempts = attempts
        self.lease = lease

    async def ack(self) -> None:
        """The message is done: remove it for good."""
        await self._room.call(api.ACK, api.LeaseRequest(name=self.queue, lease=self.lease))

    async def release(self, *, delay: float = 0) -> None:
        """Return the message to its place in the queue, at once or after `delay` seconds, at most 7 days."""
        await self._room.call(api.RELEASE, api.ReleaseRequest(name=self.queue, lease=self.lease, delay=delay))

    async def extend(self, seconds: float) -> None:
        """Let the lease end `seconds` from now, at most 12 hours."""
        await self._room.call(api.EXTEND, api.ExtendRequest(name=self.queue, lease=self.lease, seconds=seconds))

    def __repr__(self) -> str:
        return f"<LeasedMessage {self.lease} of {self.queue!r}, attempt {self.attempts}>"


class QueuesClient:
    """Queues of the room; use it as `room.queues`. Each message goes to one receiver at a time, oldest first.

    Errors of all methods: as `RoomClient.call`; `NotFoundError` for a queue that does not exist.
    """

    def __init__(self, *, room: RoomCore) -> None:
        self._room = room
        self._receive_ids = itertools.count(1)

    async def list(self, name: str | None = None, message: Json = None, create: bool = True) -> builtins.list[Queue]:
        """All queues of the room. The parameters are ignored; existing programs pass them."""
        result = await self._room.call(api.LIST, EMPTY)
        return [Queue(name=queue.name, size=queue.size) for queue in result.queues]

    async def open(self, name: str) -> None:
        """Create the queue, unless it exists."""
        await self._room.call(api.OPEN, api.QueueRequest(name=name))

    async def send(
        self,
        name: str,
        message: Json,
        create: bool = True,
        *,
        delay: float = 0,
        deduplication_id: str | None = None,
    ) -> None:
        """Append a message, any JSON value. A missing queue is created, unless `create` is false.

        Cancelling the call leaves the outcome unknown: the message is stored once or not at all.

        Args:
            name: The queue.
            message: The message.
            create: Whether a missing queue is created.
            delay: Seconds before anybody can receive the message, at most 7 days.
            deduplication_id: Up to 128 characters. A second message with the same id within five minutes is dropped
                without an error, so that a send whose outcome is unknown can be repeated.
        """
        request = api.SendRequest(
            name=name, message=jsontext.raw(message), create=create, delay=delay, deduplication_id=deduplication_id
        )
        await self._room.call(api.SEND, request)

    @overload
    async def receive(self, name: str, create: bool = True, wait: bool = True) -> Json: ...

    @overload
    async def receive(
        self, name: str, create: bool = True, wait: bool = True, *, lease: float, max_attempts: int | None = None
    ) -> LeasedMessage | None: ...

    async def receive(
        self,
        name: str,
        create: bool = True,
        wait: bool = True,
        *,
        lease: float | None = None,
        max_attempts: int | None = None,
    ) -> Json | LeasedMessage:
        """Receive the oldest message. If the queue is empty, wait for one, or with `wait` false return None.

        None also means that the queue was closed while this waited, or, without a lease, that the message is null. A
        missing queue is created, unless `create` is false.

        Without `lease` the message is removed and returned: it is processed at most once. With `lease` the result is a
        `LeasedMessage`, which comes back to the queue unless `ack` is called in time: it is processed at least once,
        even if this process is killed.

        Cancelling the call, for instance with `asyncio.timeout`, takes no message: one that the room had handed over
        already returns to its place in the queue.

        Args:
            name: The queue.
            create: Whether a missing queue is created.
            wait: Whether to wait for a message.
            lease: Seconds, 0.1 to 12 hours.
            max_attempts: Messages that were leased so often are moved to the queue `{name}.dead`, and the next one is
                returned. Needs `lease`. Default: no limit.
        """
        request = api.ReceiveRequest(
            name=name,
            create=create,
            wait=wait,
            receive_id=next(self._receive_ids),
            lease=lease,
            max_attempts=max_attempts,
        )
        body = await self._receive(request)
        match body:
            case EmptyBody():
                return None
            case JsonBody() if lease is None:
                return body.json
            case TextBody() if lease is None:
                return body.text
            case JsonBody():
                return self._leased(name, body.json)
        raise RoomException(f"unexpected answer to queues.receive: a {body.type!r} content")

    def _leased(self, name: str, content: Json) -> LeasedMessage:
        leased = jsontext.convert(content, _Leased)
        return LeasedMessage(
            self._room, queue=name, message=leased.message, attempts=leased.attempts, lease=leased.lease
        )

    async def _receive(self, request: api.ReceiveRequest) -> Body:
        connection = self._room.connection_number
        try:
            return await self._room.call(api.RECEIVE, request)
        except asyncio.CancelledError:
            if request.receive_id is not None and connection == self._room.connection_number:
                cancel = api.CancelReceiveRequest(name=request.name, receive_id=request.receive_id)
                self._room.call_nowait(
                    api.CANCEL_RECEIVE, cancel, if_fails=f"a cancelled receive may take a message from {request.name}"
                )
            raise

    async def ack(self, name: str, lease: str) -> None:
        """End a lease by its id, as `LeasedMessage.ack`: the message is removed for good.

        This and the next two are for programs that keep the id and not the `LeasedMessage`, say over a restart.

        Raises:
            NotFoundError: There is no such queue, or the lease has ended.
        """
        await self._room.call(api.ACK, api.LeaseRequest(name=name, lease=lease))

    async def release(self, name: str, lease: str, *, delay: float = 0) -> None:
        """End a lease by its id, as `LeasedMessage.release`: the message returns to its place. Errors as in `ack`."""
        await self._room.call(api.RELEASE, api.ReleaseRequest(name=name, lease=lease, delay=delay))

    async def extend(self, name: str, lease: str, seconds: float) -> None:
        """Let a lease end `seconds` from now, as `LeasedMessage.extend`. Errors as in `ack`."""
        await self._room.call(api.EXTEND, api.ExtendRequest(name=name, lease=lease, seconds=seconds))

    async def drain(self, name: str) -> None:
        """Remove all messages of the queue. Receivers that wait go on waiting."""
        await self._room.call(api.DRAIN, api.QueueRequest(name=name))

    async def close(self, name: str) -> None:
        """Remove the queue with its messages. Receivers that wait get None."""
        await self._room.call(api.CLOSE, api.QueueRequest(name=name))
