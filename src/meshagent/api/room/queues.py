"""Named queues of messages: `room.queues` (protocol 10)."""

from __future__ import annotations

import asyncio
import builtins
import itertools
from dataclasses import dataclass

from meshagent.api import jsontext
from meshagent.api.contracts import queues as api
from meshagent.api.contracts.content import Body, EmptyBody, JsonBody, TextBody
from meshagent.api.contracts.operation import EMPTY
from meshagent.api.errors import RoomException
from meshagent.api.jsontext import Json
from meshagent.api.room.core import RoomCore

__all__ = ["Queue", "QueuesClient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue; `size` counts the messages that nobody has received yet."""

    name: str
    size: int


class QueuesClient:
    """Queues of the room; use it as `room.queues`. Each message goes to exactly one receiver, oldest first.

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

    async def send(self, name: str, message: Json, create: bool = True) -> None:
        """Append a message, any JSON value. A missing queue is created, unless `create` is false.

        Cancelling the call leaves the outcome unknown: the message is stored once or not at all.
        """
        await self._room.call(api.SEND, api.SendRequest(name=name, message=jsontext.raw(message), create=create))

    async def receive(self, name: str, create: bool = True, wait: bool = True) -> Json:
        """Remove and return the oldest message. If the queue is empty, wait for one, or with `wait` false return None.

        None also means that the queue was closed while this waited, or that the message is null. A missing queue is
        created, unless `create` is false.

        Cancelling the call, for instance with `asyncio.timeout`, takes no message: one that the room had handed over
        already returns to its place in the queue.
        """
        request = api.ReceiveRequest(name=name, create=create, wait=wait, receive_id=next(self._receive_ids))
        body = await self._receive(request)
        match body:
            case JsonBody():
                return body.json
            case TextBody():
                return body.text
            case EmptyBody():
                return None
        raise RoomException(f"unexpected answer to queues.receive: a {body.type!r} content")

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

    async def drain(self, name: str) -> None:
        """Remove all messages of the queue. Receivers that wait go on waiting."""
        await self._room.call(api.DRAIN, api.QueueRequest(name=name))

    async def close(self, name: str) -> None:
        """Remove the queue with its messages. Receivers that wait get None."""
        await self._room.call(api.CLOSE, api.QueueRequest(name=name))
