"""Byte streams between two participants, made of direct messages (spec room-protocol 5.3.5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from meshagent.api.errors import InvalidStateError
from meshagent.api.jsontext import Json
from meshagent.api.transport.chan import Chan, ChanClosed, ChanFull

if TYPE_CHECKING:
    from meshagent.api.room.messaging import MessagingClient
    from meshagent.api.room.participants import RemoteParticipant

__all__ = ["MessageStreamChunk", "MessageStreamReader", "MessageStreamWriter"]

STREAM_OPEN: Final = "stream.open"
STREAM_ACCEPT: Final = "stream.accept"
STREAM_REJECT: Final = "stream.reject"
STREAM_CHUNK: Final = "stream.chunk"
STREAM_CLOSE: Final = "stream.close"

MAX_UNREAD_CHUNKS: Final = 10_000


class MessageStreamChunk:
    """One piece of a stream: a header of the program's own, and bytes."""

    def __init__(self, header: dict[str, Json], data: bytes | None = None) -> None:
        self.header = header
        self.data = data


class MessageStreamReader:
    """The receiving end of a stream.

    Attributes:
        is_complete: Whether the writer has closed the stream, so that what was read is all there is. A stream
            also ends when its writer leaves, when the connection is lost, or when ten thousand chunks wait
            unread.
    """

    def __init__(self, stream_id: str, to: RemoteParticipant, client: MessagingClient, header: dict[str, Any]) -> None:
        self.stream_id = stream_id
        self.to = to
        self.is_complete = False
        self._client = client
        self._header = header
        self._answered = False
        self._chunks: Chan[MessageStreamChunk] = Chan(MAX_UNREAD_CHUNKS)

    @property
    def header(self) -> dict[str, Any]:
        """The message that opened the stream: `{"stream_id", "header"}`, the writer's own header inside."""
        return self._header

    async def read_chunks(self) -> AsyncIterator[MessageStreamChunk]:
        """The chunks in order, until the stream ends. Beginning to read accepts the stream."""
        self._client._accept(self)
        async for chunk in self._chunks:
            yield chunk

    def _receive(self, chunk: MessageStreamChunk) -> None:
        try:
            self._chunks.send_nowait(chunk)
        except ChanFull:
            self._end(complete=False)
        except ChanClosed:
            pass  # a chunk behind the end

    def _end(self, *, complete: bool) -> None:
        if not self._chunks.closed:
            self.is_complete = complete
            self._chunks.close()


class MessageStreamWriter:
    """The sending end of a stream."""

    def __init__(self, stream_id: str, to: RemoteParticipant, client: MessagingClient) -> None:
        self.stream_id = stream_id
        self.to = to
        self._client = client
        self._closed = False
        self._writing = asyncio.Lock()  # keeps chunks in the order of the calls

    async def write(self, chunk: MessageStreamChunk) -> None:
        """Send one chunk; returns when the room has passed it on. Errors as `RoomClient.call`."""
        if self._closed:
            raise InvalidStateError("the stream is closed")
        message = {"stream_id": self.stream_id, "header": chunk.header}
        async with self._writing:
            await self._client.send_message(to=self.to, type=STREAM_CHUNK, message=message, attachment=chunk.data)

    async def close(self) -> None:
        """End the stream, so that its reader knows that it has everything. Closing twice is harmless."""
        if self._closed:
            return
        self._closed = True
        async with self._writing:
            await self._client.send_message(to=self.to, type=STREAM_CLOSE, message={"stream_id": self.stream_id})
