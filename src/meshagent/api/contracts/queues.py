"""`queues.*`: named first-in first-out queues of JSON messages (protocol 10)."""

from __future__ import annotations

from typing import Literal

import msgspec

from meshagent.api.contracts.content import Body
from meshagent.api.contracts.operation import Empty, Operation


class QueueRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: str


class SendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Append one message, any JSON value. A missing queue is created, unless `create` is false.

    `delay` is in seconds. A message with the `deduplication_id` of another one that was sent to this queue within five
    minutes is not sent again; its sender gets the same answer.
    """

    name: str
    message: msgspec.Raw
    create: bool = True
    delay: float = 0
    deduplication_id: str | None = None


class ReceiveRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Take the oldest message; if the queue is empty, wait for one, or with `wait` false answer empty.

    `receive_id`, a number that the client uses once per connection, makes it possible to cancel the request. With
    `lease`, in seconds, the message is removed only by `ack`; one that was leased `max_attempts` times moves to the
    dead-letter queue, whose name ends with `.dead`.
    """

    name: str
    create: bool = True
    wait: bool = True
    receive_id: int | None = None
    lease: float | None = None
    max_attempts: int | None = None


class LeasedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a receive with a lease. `attempts` counts the leases of this message, with this one."""

    message: msgspec.Raw
    lease: str
    attempts: int


class LeaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    lease: str


class ReleaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`delay` in seconds."""

    name: str
    lease: str
    delay: float = 0


class ExtendRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The lease ends `seconds` from now."""

    name: str
    lease: str
    seconds: float


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
"""Answers with the message: `json`, `text` for a string, `empty` for none; with a lease, `LeasedMessage` as `json`."""
CANCEL_RECEIVE = Operation("queues.cancel_receive", CancelReceiveRequest, CancelledReceive)
ACK = Operation("queues.ack", LeaseRequest, Empty)
RELEASE = Operation("queues.release", ReleaseRequest, Empty)
EXTEND = Operation("queues.extend", ExtendRequest, Empty)
DRAIN = Operation("queues.drain", QueueRequest, Empty)
CLOSE = Operation("queues.close", QueueRequest, Empty)
