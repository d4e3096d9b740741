"""Streams that a task serves: it takes the input item by item, and sends items when it has some.

Pulls are one piece of credit each: a receiver of data asks for each piece. What ends early commits nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

from meshagent.api import jsontext
from meshagent.api.errors import InvalidRequestError, LimitExceededError, RoomException
from meshagent.server.dispatch.contents import ContentHeader, binary_content
from meshagent.server.dispatch.invoke.stream import Stream
from meshagent.server.kernel.json_cost import check_values
from meshagent.server.kernel.operations import EncodedContent

log = logging.getLogger(__name__)

MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
"""Input that may wait to be handled; a client that sends more without being asked is cut short."""

_ITEM_BYTES: Final = 512
"""What an item counts besides its bytes. Without it, any number of empty items could wait."""

PULL: Final = binary_content({"kind": "pull"})

Spawn = Callable[..., "asyncio.Task[None]"]
"""Runs a coroutine as a task that the room owns: `RoomContext.spawn`."""


class Item:
    """One item of a stream's input, with its header decoded."""

    __slots__ = ("content", "payload")

    def __init__(self, item: EncodedContent) -> None:
        self.content = jsontext.decode(item.header, ContentHeader)
        self.payload = item.payload

    @property
    def is_close(self) -> bool:
        return self.content.type == "control" and self.content.method == "close"

    @property
    def headers(self) -> dict[str, Any]:
        """The headers of a binary content, or the members of a JSON one: clients send starts and pulls as either."""
        value = jsontext.loads(self._header_text())
        if not isinstance(value, dict):
            raise InvalidRequestError("a chunk's headers must be an object")
        return value

    def _header_text(self) -> bytes:
        text = bytes(self.content.headers if self.content.type == "binary" else self.content.json)
        check_values(text)
        return text

    def read_as(self, kind: type[Any]) -> Any:
        """The headers as a `kind`."""
        return jsontext.decode(self._header_text(), kind)


class Inbox:
    """A stream's input in order; bounded, filled by the reader, emptied by whoever serves the stream."""

    def __init__(self) -> None:
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()

    def put(self, encoded: EncodedContent) -> None:
        """Add one item.

        Raises:
            InvalidRequestError: It is no content.
            LimitExceededError: More waits than a client may send unasked.
        """
        if self._bytes > MAX_WAITING_BYTES:
            raise LimitExceededError("too much input was sent without being asked for", limit=MAX_WAITING_BYTES)
        size = _ITEM_BYTES + len(encoded.header) + len(encoded.payload)
        self._items.append((Item(encoded), size))
        self._bytes += size
        self._arrived.set()

    @property
    def is_empty(self) -> bool:
        return not self._items

    async def next(self) -> Item:
        """The next item; a close is one too."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        item, size = self._items.popleft()
        self._bytes -= size
        return item

    async def start(self, kind: type[Any]) -> tuple[Any, bytes]:
        """The first item, which says what the stream is about, as a `kind`, with its data.

        Raises:
            InvalidRequestError: The input ended before it, or the item is no `kind`.
        """
        item = await self.next()
        if item.is_close:
            raise InvalidRequestError("the stream was closed before it started")
        return item.read_as(kind), item.payload


class StreamHandler(Protocol):
    """Serves streams of one tool; each call of `serve` is a task."""

    async def serve(self, stream: Stream, inbox: Inbox) -> None:
        """Serve one stream to its end; it is open, and is closed afterwards.

        Raises:
            RoomException: The stream fails with it.
        """
        ...


class TaskInput:
    """The input of a stream that a task serves (a `StreamInput`)."""

    __slots__ = ("_inbox", "_task")

    def __init__(self, stream: Stream, handler: StreamHandler, spawn: Spawn) -> None:
        self._inbox = Inbox()
        stream.open()
        self._task = spawn(_serve(stream, handler, self._inbox), name="stream")

    def receive(self, item: EncodedContent) -> None:
        self._inbox.put(item)

    def cancel(self) -> None:
        self._task.cancel()


async def _serve(stream: Stream, handler: StreamHandler, inbox: Inbox) -> None:
    try:
        await handler.serve(stream, inbox)
    except RoomException as error:
        stream.fail(error)
    except Exception:
        log.exception("%r failed", stream)
        stream.fail(RoomException("the stream failed inside the server; its log says more", wire_code=1008))
    else:
        stream.close()


class Upload(Protocol):
    """Takes a stream of bytes that becomes something whole at its end."""

    async def write(self, data: bytes) -> None: ...

    async def finish(self) -> None:
        """Commit what was written: it is complete."""
        ...

    async def discard(self) -> None:
        """Throw away what was written, unless `finish` was called."""
        ...


async def receive_upload(
    stream: Stream, inbox: Inbox, upload: Upload, *, size: int | None, pull: EncodedContent = PULL
) -> None:
    """Pull an upload piece by piece, and commit it if all of it came.

    A client whose source fails also ends with a close, so what is shorter than announced is thrown away
    (protocol 14.7).

    Raises:
        InvalidRequestError: It ended early; nothing was committed.
    """
    received = 0
    try:
        while True:
            stream.reply(pull)
            item = await inbox.next()
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
    stream: Stream, inbox: Inbox, pieces: AsyncIterator[EncodedContent], *, close_is_pulled: bool = True
) -> None:
    """Answer each pull with one piece.

    Args:
        stream: The stream that is served.
        inbox: Where its pulls arrive.
        pieces: What is sent.
        close_is_pulled: Whether the client pulls once more after the last piece, to be answered with the close.
    """
    async for piece in pieces:
        if (await inbox.next()).is_close:
            return
        stream.reply(piece)
        await stream.ready()
    if close_is_pulled:
        await inbox.next()
