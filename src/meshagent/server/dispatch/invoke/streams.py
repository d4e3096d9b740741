"""Streaming calls of the room's own areas, with all rules of streams in one place (spec room-protocol-current 2.5).

Every chunk is acknowledged, an output stream is always closed, a failure before `open` is the answer and after it
an error chunk, pulls are one piece of credit each, and what ends early commits nothing. Services see none of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, LimitExceededError, RoomException
from meshagent.server.dispatch.invoke.messages import Content, binary_chunk, close_chunk, error_chunk
from meshagent.server.kernel.participant import Participant
from meshagent.server.services.agents.pending_calls import Chunk

log = logging.getLogger(__name__)

MAX_WAITING_BYTES = 8 * 1024 * 1024
"""Input that may wait for a stream's work; a client that sends more without being asked is cut short."""

PULL = binary_chunk({"kind": "pull"})


class Output(Protocol):
    """Where a call's output goes; nothing here waits or raises."""

    def open(self) -> None:
        """Answer the call: its output is a stream."""
        ...

    def send(self, chunk: Chunk) -> None:
        """One item of the stream."""
        ...

    async def ready(self) -> None:
        """Wait until the caller's connection can take more."""
        ...


class Failing(Protocol):
    """What can be told that a call failed."""

    def failed(self, error: RoomException) -> None: ...


class FailingOutput(Output, Failing, Protocol):
    """An output that can be told that its call failed."""


class Item:
    """One item of a call's input."""

    __slots__ = ("content", "payload")

    def __init__(self, chunk: Chunk) -> None:
        self.content = jsontext.decode(chunk.header, Content)
        self.payload = chunk.payload

    @property
    def is_close(self) -> bool:
        return self.content.type == "control" and self.content.method == "close"

    @property
    def headers(self) -> dict[str, Any]:
        """The headers of a binary content, or the members of a JSON one: clients send starts and pulls as either."""
        raw = self.content.headers if self.content.type == "binary" else self.content.json
        value = jsontext.loads(bytes(raw))
        if not isinstance(value, dict):
            raise InvalidRequestError("a chunk's headers must be an object")
        return value

    def read_as(self, kind: type[Any]) -> Any:
        """The headers as a `kind`."""
        return jsontext.convert(self.headers, kind)


class OpenCall(Protocol):
    """A call that takes input."""

    @property
    def output(self) -> Failing:
        """Where a failure of the input is told."""
        ...

    def chunk(self, chunk: Chunk) -> asyncio.Future[None] | None:
        """Take one item, in the connection's reader; a future says when it is durable, where that takes time.

        Raises:
            RoomException: The item is wrong; the call fails with it.
        """
        ...

    def abandon(self) -> None:
        """The caller is gone: stop, and commit nothing."""
        ...


class StreamWork(Protocol):
    """What an area does for one streaming call."""

    async def run(self, caller: Participant, items: Inbox, output: Output) -> None:
        """Serve the call to its end; the output is open, and closed afterwards.

        Raises:
            RoomException: Sent as an error chunk before the close.
        """
        ...


class Inbox:
    """A call's input in order; bounded, filled by the reader, emptied by the work."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    def put(self, item: Item) -> None:
        """Add one item.

        Raises:
            LimitExceededError: More waits than a client may send unasked.
        """
        if self._bytes > MAX_WAITING_BYTES:
            raise LimitExceededError("too much was sent without being asked for", limit=MAX_WAITING_BYTES)
        self._bytes += len(item.payload)
        self._items.append(item)
        self._arrived.set()

    @property
    def is_empty(self) -> bool:
        return not self._items

    async def next(self) -> Item:
        """The next item; a close is one too."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        item = self._items.popleft()
        self._bytes -= len(item.payload)
        return item

    async def start(self, kind: type[Any]) -> tuple[Any, bytes]:
        """The first item, which says what the call is about, as a `kind`, with its data.

        Raises:
            InvalidRequestError: The input ended before, or the item is not that.
        """
        item = await self.next()
        if item.is_close:
            raise InvalidRequestError("the stream was closed before it started")
        return item.read_as(kind), item.payload


class WorkingCall:
    """A streaming call that a task works on."""

    __slots__ = ("_inbox", "output", "task")

    def __init__(self, caller: Participant, work: StreamWork, output: FailingOutput, spawn: Any) -> None:
        self._inbox = Inbox()
        self.output = output
        output.open()
        self.task: asyncio.Task[None] = spawn(self._run(caller, work), name="stream")

    def chunk(self, chunk: Chunk) -> None:
        try:
            self._inbox.put(Item(chunk))
        except RoomException:
            self.task.cancel()
            raise

    def abandon(self) -> None:
        self.task.cancel()

    async def _run(self, caller: Participant, work: StreamWork) -> None:
        try:
            await work.run(caller, self._inbox, self.output)
        except RoomException as error:
            self.output.send(error_chunk(str(error), error.wire_code))
        except Exception:
            log.exception("a stream of %r failed", caller)
            self.output.send(error_chunk("the stream failed inside the server; its log says more", 1008))
        self.output.send(close_chunk())


class Upload(Protocol):
    """Takes a stream of bytes that becomes something whole at its end."""

    async def write(self, data: bytes) -> None: ...

    async def finish(self) -> None:
        """All has come: commit it."""
        ...

    async def discard(self) -> None:
        """It will not be finished: forget it. Harmless after `finish`."""
        ...


async def receive_upload(items: Inbox, output: Output, upload: Upload, *, size: int | None, pull: Chunk = PULL) -> None:
    """Pull an upload piece by piece, and commit it if all of it came.

    A client whose source fails also ends with a close, so what is shorter than was announced is thrown away
    (spec room-protocol-current 2.8).

    Raises:
        InvalidRequestError: It ended early; nothing was committed.
    """
    received = 0
    try:
        while True:
            output.send(pull)
            item = await items.next()
            if item.is_close:
                break
            received += len(item.payload)
            await upload.write(item.payload)
        if size is not None and received != size:
            raise InvalidRequestError(f"the upload ended after {received} of {size} bytes; nothing was stored")
        await upload.finish()
    finally:
        await upload.discard()


async def send_download(
    items: Inbox, output: Output, pieces: AsyncIterator[Chunk], *, close_is_pulled: bool = True
) -> None:
    """Answer each pull with one piece.

    Args:
        close_is_pulled: Whether the client pulls once more after the last piece, to be answered with the close.
    """
    async for piece in pieces:
        if (await items.next()).is_close:
            return
        output.send(piece)
        await output.ready()
    if close_is_pulled:
        await items.next()
