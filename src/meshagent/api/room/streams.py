"""Byte streams between two participants, made of direct messages (protocol 5.8)."""

from __future__ import annotations

import asyncio
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from meshagent.api.errors import ConnectionLostError, InvalidStateError, NotFoundError, RoomException
from meshagent.api.jsontext import Json
from meshagent.api.participant import Participant
from meshagent.api.room.participants import RemoteParticipant
from meshagent.api.transport.chan import Chan, ChanClosed, ChanFull

__all__ = [
    "MessageStreamChunk",
    "MessageStreamReader",
    "MessageStreamWriter",
    "StreamAcceptor",
    "StreamSender",
    "Streams",
]

log = logging.getLogger(__name__)

STREAM_OPEN: Final = "stream.open"
STREAM_ACCEPT: Final = "stream.accept"
STREAM_REJECT: Final = "stream.reject"
STREAM_CHUNK: Final = "stream.chunk"
STREAM_CLOSE: Final = "stream.close"

MAX_UNREAD_CHUNKS: Final = 10_000


class StreamSender(Protocol):
    """Sends the messages that a stream is made of; a `MessagingClient` does."""

    async def send_message(
        self, *, to: Participant | str, type: str, message: Json, attachment: bytes | None = None
    ) -> None:
        """Send a message to one participant; returns when the room has passed it on."""
        ...

    def send_message_nowait(self, *, to: Participant | str, type: str, message: Json) -> None:
        """As `send_message`, without waiting; a failure is logged."""
        ...


class MessageStreamChunk:
    """One piece of a stream: a header of the program's own, and bytes."""

    def __init__(self, header: dict[str, Json], data: bytes | None = None) -> None:
        self.header = header
        self.data = data


class MessageStreamReader:
    """The receiving end of a stream.

    Attributes:
        stream_id: Identifies the stream.
        to: The participant who writes it.
        is_complete: Whether the writer has closed the stream, so that what was read is all there is. A stream
            also ends when its writer leaves, when the connection is lost, or when ten thousand chunks wait
            unread.
    """

    def __init__(self, stream_id: str, to: RemoteParticipant, client: StreamSender, header: dict[str, Any]) -> None:
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
        self._accept()
        async for chunk in self._chunks:
            yield chunk

    def _accept(self) -> None:
        self._answer(STREAM_ACCEPT, {"stream_id": self.stream_id})

    def _reject(self, reason: str) -> None:
        self._answer(STREAM_REJECT, {"stream_id": self.stream_id, "error": reason})

    def _answer(self, kind: str, message: dict[str, Json]) -> None:
        if not self._answered:
            self._answered = True
            self._client.send_message_nowait(to=self.to, type=kind, message=message)

    def _receive(self, chunk: MessageStreamChunk) -> None:
        try:
            self._chunks.send_nowait(chunk)
        except ChanFull:
            log.warning("stream %s ends: %d chunks are unread", self.stream_id, MAX_UNREAD_CHUNKS)
            self._end(complete=False)
        except ChanClosed:
            pass  # a chunk that follows the end

    def _end(self, *, complete: bool) -> None:
        if not self._chunks.closed:
            self.is_complete = complete
            self._chunks.close()


StreamAcceptor = Callable[[MessageStreamReader], Any]
"""Called with each stream that a participant opens to this client; may be a coroutine function.

Returning, or beginning to read, accepts the stream; raising before that rejects it."""


class MessageStreamWriter:
    """The sending end of a stream.

    Attributes:
        stream_id: Identifies the stream.
        to: The participant who reads it.
    """

    def __init__(self, stream_id: str, to: RemoteParticipant, client: StreamSender) -> None:
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
        """End the stream, so that its reader knows that it has everything. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        async with self._writing:
            await self._client.send_message(to=self.to, type=STREAM_CLOSE, message={"stream_id": self.stream_id})


@dataclass(frozen=True, slots=True)
class _Opening:
    """A stream that its peer has not answered yet."""

    to: RemoteParticipant
    answer: asyncio.Future[None]


class Streams:
    """The streams of one client: those that it opens, and those that others open to it.

    Args:
        sender: Sends the messages that streams are made of.
        spawn: Runs a task under a name, until the client leaves.

    Attributes:
        on_accept: Decides about streams that others open; None rejects them all.
    """

    def __init__(self, sender: StreamSender, spawn: Callable[[Awaitable[None], str], object]) -> None:
        self.on_accept: StreamAcceptor | None = None
        self._sender = sender
        self._spawn = spawn
        self._openings: dict[str, _Opening] = {}
        self._readers: dict[str, MessageStreamReader] = {}

    # -- opening

    async def open(self, to: RemoteParticipant, header: dict[str, Json]) -> MessageStreamWriter:
        """See `MessagingClient.create_stream`."""
        stream_id = str(uuid.uuid4())
        opening = _Opening(to, asyncio.get_running_loop().create_future())
        self._openings[stream_id] = opening
        try:
            message = {"stream_id": stream_id, "header": header}
            await self._sender.send_message(to=to, type=STREAM_OPEN, message=message)
            await opening.answer
        finally:
            del self._openings[stream_id]
            if opening.answer.done() and not opening.answer.cancelled():
                opening.answer.exception()  # asyncio would log it where sending has failed first
        return MessageStreamWriter(stream_id, to, self._sender)

    def accepted(self, sender_id: str, message: dict[str, Any]) -> None:
        """The peer has accepted a stream."""
        opening = self._awaited(sender_id, message)
        if opening is not None:
            opening.answer.set_result(None)

    def rejected(self, sender_id: str, message: dict[str, Any]) -> None:
        """The peer has rejected a stream; `error` says why."""
        opening = self._awaited(sender_id, message)
        if opening is not None:
            opening.answer.set_exception(RoomException(message.get("error") or "the stream was rejected"))

    def _awaited(self, sender_id: str, message: dict[str, Any]) -> _Opening | None:
        """The opening that a message answers, if it comes from whom the stream was opened to."""
        opening = self._openings.get(message["stream_id"])
        return opening if opening is not None and opening.to.id == sender_id and not opening.answer.done() else None

    # -- receiving

    def opened(self, sender_id: str, opener: RemoteParticipant | None, message: dict[str, Any]) -> None:
        """A participant opens a stream to this client; `opener` is None where its presence is not known."""
        stream_id, accept = message["stream_id"], self.on_accept
        if opener is None or accept is None:
            reason = "the opener has not enabled messaging" if opener is None else "streams are not accepted here"
            refusal = {"stream_id": stream_id, "error": reason}
            self._sender.send_message_nowait(to=sender_id, type=STREAM_REJECT, message=refusal)
            return
        reader = self._readers[stream_id] = MessageStreamReader(stream_id, opener, self._sender, message)
        self._spawn(self._decide(accept, reader), "stream acceptance")

    async def _decide(self, accept: StreamAcceptor, reader: MessageStreamReader) -> None:
        try:
            result = accept(reader)
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # noqa: BLE001 - its text is the answer, as the protocol wants
            log.info("rejected stream %s: %s", reader.stream_id, error)
            self._end(reader, complete=False)
            reader._reject(str(error))
        else:
            reader._accept()

    def chunk(self, message: dict[str, Any], data: bytes) -> None:
        """A chunk has arrived."""
        reader = self._readers.get(message["stream_id"])
        if reader is not None:
            reader._receive(MessageStreamChunk(message["header"], data))

    def closed(self, message: dict[str, Any]) -> None:
        """The writer has closed its stream."""
        reader = self._readers.get(message["stream_id"])
        if reader is not None:
            self._end(reader, complete=True)

    def _end(self, reader: MessageStreamReader, *, complete: bool) -> None:
        self._readers.pop(reader.stream_id, None)
        reader._end(complete=complete)

    # -- what ends streams from outside

    def participant_left(self, participant_id: str) -> None:
        """End the streams to and from a participant."""
        for opening in self._openings.values():
            if opening.to.id == participant_id and not opening.answer.done():
                opening.answer.set_exception(NotFoundError("the participant left before it answered"))
        for reader in [reader for reader in self._readers.values() if reader.to.id == participant_id]:
            self._end(reader, complete=False)

    def connection_lost(self) -> None:
        """End all streams: they do not outlive the connection."""
        for opening in self._openings.values():
            if not opening.answer.done():
                opening.answer.set_exception(ConnectionLostError("the connection closed before the stream was open"))
        for reader in list(self._readers.values()):
            self._end(reader, complete=False)
