"""A call in the invoke dialect, from `room.invoke_tool` to its end (protocol 14.2).

    stream = streams.open(caller, message_id, call_id, begin)    # control open: input follows
    stream.receive(item)            # each chunk of the caller, in its connection's reader
    stream.open()                   # the answer is `control open`: output follows
    stream.reply(item)              # each item of the output that the room sends because the caller asked for it
    stream.send(item)               # each item that a host sends
    stream.push(item)               # each item that others caused: a change, an entry of a log
    stream.close() or .fail(error)  # the end, once

What serves the input is a `StreamInput`. What comes of the call goes to the caller by the methods of `Stream`, which
is also the caller's end (a `CallerLink`) of a hosted tool's call.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from enum import Enum
from typing import Final, Protocol

from meshagent.api import jsontext
from meshagent.api.errors import InternalError, InvalidRequestError, LimitExceededError, RoomException
from meshagent.api.wire import envelope
from meshagent.server.dispatch.contents import CONTROL_CLOSE, CONTROL_OPEN, error_content
from meshagent.server.dispatch.invoke.messages import RESPONSE_CHUNK
from meshagent.server.kernel.dispatcher import Caller
from meshagent.server.kernel.operations import EncodedContent
from meshagent.server.kernel.participant import Participant
from meshagent.server.websocket.encoding import encode_message

log = logging.getLogger(__name__)

MAX_STREAMS_PER_PARTICIPANT: Final = 1000


class StreamState(Enum):
    """How far a call has come on the caller's side."""

    INVOKED = "invoked"
    """Not answered yet: a failure is the answer."""
    OPEN = "open"
    """Answered by `control open`: a failure is an item of the output, before its close."""
    CLOSED = "closed"
    """Answered in full. What is still sent is dropped."""


_INVOKED, _OPEN, _CLOSED = StreamState


class StreamInput(Protocol):
    """Serves the input of one stream, in the reader of the caller's connection."""

    def receive(self, item: EncodedContent) -> asyncio.Future[None] | None:
        """Take one item; `control close` is the last.

        Returns:
            A future that is done when the item is durable; None if there is nothing to wait for.

        Raises:
            RoomException: The item is refused. The stream fails with it, and `cancel` is called.
        """
        ...

    def cancel(self) -> None:
        """Stop, and commit nothing: the caller has left, or the stream has failed. Harmless after the end."""
        ...


class Stream:
    """One call, on its caller's side.

    Attributes:
        caller: The connection that the call came in by.
        call_id: The caller's `tool_call_id`, if it gave one.
        state: How far the call has come.
        received: Items of the input so far.
        sent: Items of the output so far, its close included.
    """

    __slots__ = (
        "_frame_prefix",
        "_input",
        "_message_id",
        "_on_close",
        "call_id",
        "caller",
        "received",
        "sent",
        "state",
    )

    def __init__(
        self,
        caller: Caller,
        message_id: int,
        call_id: str | None,
        on_close: Callable[[Stream], None] | None = None,
    ) -> None:
        """A call that was just invoked.

        Args:
            caller: The connection that the call came in by.
            message_id: The request's message id, which the answer and all items of the output repeat.
            call_id: The caller's `tool_call_id`; one is made up for callers that give none.
            on_close: Called once, when the call ends.
        """
        self.caller = caller
        self.state: StreamState = _INVOKED
        self.received = 0
        self.sent = 0
        self._message_id = message_id
        self.call_id = call_id
        self._on_close = on_close
        self._input: StreamInput | None = None
        self._frame_prefix: bytes | None = None

    @property
    def participant(self) -> Participant:
        """Who called."""
        return self.caller.participant

    def __repr__(self) -> str:
        counts = f"{self.received} received, {self.sent} sent"
        return f"<Stream {self.call_id!r} of {self.participant!r}: {self.state.value}, {counts}>"

    # --- input: from the caller ----------------------------------------------------------------------

    def begin(self, make_input: Callable[[Stream], StreamInput]) -> None:
        """Start what serves the input; errors as in `make_input`."""
        self._input = make_input(self)

    def receive(self, item: EncodedContent) -> asyncio.Future[None] | None:
        """Take one item of the input. If it is refused, the stream fails.

        Returns:
            A future that is done when the item is durable; None if there is nothing to wait for.
        """
        if self._input is None or self.state is _CLOSED:
            return None
        self.received += 1
        try:
            return self._input.receive(item)
        except RoomException as error:
            self.abort(error)
            return None

    # --- output: to the caller -----------------------------------------------------------------------

    def answer(self, content: EncodedContent) -> None:
        """The one answer; the call is over. After `open` it is the last item of the output."""
        if self.state is _INVOKED:
            self._end()
            self.caller.answer(self._message_id, content)
        elif self.state is _OPEN:
            self.reply(content)
            self.close()

    def open(self) -> None:
        """Answer that a stream follows."""
        if self.state is _INVOKED:
            self.state = _OPEN
            self.caller.answer(self._message_id, CONTROL_OPEN)

    def reply(self, item: EncodedContent) -> None:
        """One item that the room sends because the caller asked for it; as fast as the caller reads."""
        if self.state is not _CLOSED:
            self.participant.outbox.reply(self._next_frames(item))

    def send(self, item: EncodedContent) -> asyncio.Future[None] | None:
        """One item of a host, which may send some before it opens the stream.

        Returns:
            None, or what is done when the caller has read enough for the host to send more.
        """
        return None if self.state is _CLOSED else self.participant.outbox.relay(self._next_frames(item))

    def push(self, item: EncodedContent) -> None:
        """One item that somebody else caused: a document's change, an entry of a log. Too many cut the caller off."""
        if self.state is not _CLOSED:
            self.participant.outbox.deliver(self._next_frames(item))

    def _next_frames(self, item: EncodedContent) -> bytes:
        self.sent += 1
        prefix = self._frame_prefix
        if prefix is None:
            call_id = self.call_id or uuid.uuid4().hex
            prefix = self._frame_prefix = b'{"tool_call_id":' + jsontext.dumps(call_id) + b',"chunk":'
        header = prefix + item.header + b"}"
        return encode_message(self._message_id, RESPONSE_CHUNK, envelope.join(header, item.payload))

    def close(self, content: EncodedContent = CONTROL_CLOSE) -> None:
        """The end of the output; `content` is the `control close` that the caller gets."""
        if self.state is not _CLOSED:
            self.reply(content)
            self._end()

    def fail(self, error: RoomException) -> None:
        """End the call with a failure: as the answer if there was none yet, else as an item before the close."""
        if self.state is _INVOKED:
            self._end()
            self.caller.fail(self._message_id, error)
        elif self.state is _OPEN:
            self.reply(error_content(error))
            self.close()

    async def ready(self) -> None:
        """Wait until the caller's connection can take more."""
        await self.participant.outbox.sent()

    # --- ending --------------------------------------------------------------------------------------

    def abort(self, error: RoomException) -> None:
        """Fail, and stop what serves the input."""
        self.fail(error)
        if self._input is not None:
            self._input.cancel()

    def item_stored(self, done: asyncio.Future[None]) -> None:
        """An item that had to be stored is stored, or the stream fails: its sender must not take it for kept."""
        error = None if done.cancelled() else done.exception()
        if isinstance(error, RoomException):
            self.abort(error)
        elif error is not None:  # not foreseen, or a panic of a library
            log.error("an item of %s was not stored", self.call_id, exc_info=error)
            self.abort(InternalError("the item was not stored; the server's log says more"))

    def cancel(self) -> None:
        """Stop without a word: the caller has left."""
        self.state = _CLOSED
        if self._input is not None:
            self._input.cancel()

    def _end(self) -> None:
        self.state = _CLOSED
        if self._on_close is not None:
            self._on_close(self)


class OpenStreams:
    """The streams of one room that take input, by participant and the participant's id for the call.

    Args:
        limit: Streams of one participant at a time.
    """

    def __init__(self, limit: int = MAX_STREAMS_PER_PARTICIPANT) -> None:
        self._limit = limit
        self._streams: dict[str, dict[str, Stream]] = {}

    def open(
        self, caller: Caller, message_id: int, call_id: str | None, make_input: Callable[[Stream], StreamInput]
    ) -> None:
        """Register a stream, then start what serves it: chunks of the input may follow at once.

        Raises:
            InvalidRequestError: The call has no id, or the participant has an open call with that id.
            LimitExceededError: The participant has too many streams.
            RoomException: As `make_input`; the stream is not registered then.
        """
        if call_id is None:
            raise InvalidRequestError("a call that streams its input needs a tool_call_id")
        mine = self._streams.setdefault(caller.participant.id, {})
        if call_id in mine:
            raise InvalidRequestError(f"call id {call_id!r} is already in use")
        if len(mine) >= self._limit:
            raise LimitExceededError(f"{self._limit} streams of this participant are open", limit=self._limit)
        stream = mine[call_id] = Stream(caller, message_id, call_id, self._forget)
        try:
            stream.begin(make_input)
        except BaseException:
            self._forget(stream)
            raise

    def find(self, participant: Participant, call_id: str) -> Stream | None:
        """The open stream of a participant, by the id that it chose."""
        mine = self._streams.get(participant.id)
        return None if mine is None else mine.get(call_id)

    def count(self, participant: Participant) -> int:
        """How many streams a participant has open."""
        return len(self._streams.get(participant.id, ()))

    def left(self, participant: Participant) -> None:
        """Cancel the streams of a participant that has left."""
        for stream in self._streams.pop(participant.id, {}).values():
            stream.cancel()

    def cancel_all(self) -> None:
        """Cancel the streams of everybody: the room ends."""
        streams, self._streams = self._streams, {}
        for mine in streams.values():
            for stream in mine.values():
                stream.cancel()

    def _forget(self, stream: Stream) -> None:
        mine = self._streams.get(stream.participant.id)
        if mine is not None and stream.call_id is not None:
            mine.pop(stream.call_id, None)
