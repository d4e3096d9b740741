"""`queues.*`: named first-in first-out queues of JSON messages (protocol 10)."""

from __future__ import annotations

from typing import Literal

import msgspec

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Empty, Operation


class QueueRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class SendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Append one message, any JSON value. A missing queue is created, unless `create` is false."""

    name: str
    message: msgspec.Raw
    create: bool = True


class ReceiveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Take the oldest message; if the queue is empty, wait for one, or with `wait` false answer empty.

    `receive_id`, a number that the client uses once per connection, makes it possible to cancel the request.
    """

    name: str
    create: bool = True
    wait: bool = True
    receive_id: int | None = None


class CancelReceiveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Withdraw a receive of the same connection."""

    name: str
    receive_id: int


class CancelledReceive(msgspec.Struct, frozen=True, kw_only=True):
    """`cancelled`: it took no message. `returned`: its message is back in its place. `unknown`: too long ago."""

    outcome: Literal["cancelled", "returned", "unknown"]


class QueueSize(msgspec.Struct, frozen=True, kw_only=True):
    """`size` counts messages that have not been received."""

    name: str
    size: int


class ListResult(msgspec.Struct, frozen=True, kw_only=True):
    queues: list[QueueSize]


LIST = Operation("queues.list", Empty, ListResult)
OPEN = Operation("queues.open", QueueRequest, Empty)
SEND = Operation("queues.send", SendRequest, Empty)
RECEIVE: Operation[ReceiveRequest, Body] = Operation("queues.receive", ReceiveRequest, Body)
"""Answers with the message: `json`, `text` for a string, `empty` for none."""
CANCEL_RECEIVE = Operation("queues.cancel_receive", CancelReceiveRequest, CancelledReceive)
DRAIN = Operation("queues.drain", QueueRequest, Empty)
CLOSE = Operation("queues.close", QueueRequest, Empty)
