"""A connection: one participant's WebSocket, from the upgrade to the end.

It puts packets together, hands messages to the room's dispatcher, and sends answers. Order: messages are
handled in the order in which they came; a request that has to wait becomes a task of the connection.
Bounds: bytes on the way out are bounded by the socket (a slow consumer is cut off), bytes of requests that
wait are bounded by pausing the reader, and their number by refusing more.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from meshagent.api.errors import InternalError, LimitExceededError, RoomException, UnavailableError
from meshagent.api.wire import envelope, names
from meshagent.api.wire.packets import DATA_SIZE, Reassembler, count_packets
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.dispatcher import Dispatcher
from meshagent.server.kernel.operations import AnswerWithFollowUp, StreamedFile
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.running_operation import RUNNING
from meshagent.server.websocket.encoding import data_frame, encode_answer, encode_failure, header_frame
from meshagent.server.websocket.handler import ClientSocket, WebSocketHandler

log = logging.getLogger(__name__)


_WELCOME_DELAY = 0.002
"""Seconds between the handshake and the welcome. What a client sent along with its handshake, a ping for
instance, is answered first; its first whole message brings the welcome forward."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection.

    Attributes:
        max_message_bytes: Data of one message; a larger request is answered with an error.
        max_pending_requests: Requests that wait for something; one more is refused.
        max_pending_bytes: Bytes held by waiting requests before the reader pauses.
        max_buffered_bytes: Bytes that may wait behind a download; one more and the participant is cut off.
    """

    max_message_bytes: int = 64 * 1024 * 1024
    max_pending_requests: int = 10_000
    max_pending_bytes: int = 16 * 1024 * 1024
    max_buffered_bytes: int = 8 * 1024 * 1024


class RoomMembership(Protocol):
    """What a connection needs of its room; `Room` is the real one."""

    @property
    def dispatcher(self) -> Dispatcher:
        """Takes the participant's messages."""
        ...

    def entered(self, connection: Connection) -> None:
        """The socket is open: the participant is in the room."""
        ...

    def welcome(self, connection: Connection) -> None:
        """Tell the participant who and where it is; always the first messages that it gets."""
        ...

    def departed(self, connection: Connection, code: int, reason: str) -> None:
        """The socket is gone; called once, and only after `entered`."""
        ...


class Connection(WebSocketHandler):
    """Implements the socket's handler, the dispatcher's caller, and the participant's outbox.

    Args:
        room: Where the participant enters when the socket opens.
        admission: Who it is.
        limits: Bounds.
    """

    __slots__ = (
        "_behind",
        "_behind_bytes",
        "_limits",
        "_paused",
        "_pending_bytes",
        "_reassembler",
        "_room",
        "_stream",
        "_tasks",
        "_welcome",
        "_writable",
        "participant",
        "socket",
    )

    socket: ClientSocket | None

    def __init__(self, room: RoomMembership, admission: Admission, limits: ConnectionLimits) -> None:
        self.participant = Participant(
            participant_id=str(uuid.uuid4()),
            name=admission.name,
            role=admission.role,
            scope=admission.scope,
            outbox=self,
            project_id=admission.project_id,
            key_id=admission.key_id,
        )
        self._room = room
        self._limits = limits
        self._reassembler = Reassembler(limits.max_message_bytes)
        self._tasks: set[asyncio.Future[Any]] | None = None
        self._pending_bytes = 0
        self._paused = False
        self._behind: deque[bytes | tuple[int, StreamedFile]] | None = None
        self._behind_bytes = 0
        self._stream: asyncio.Task[None] | None = None
        self._writable: asyncio.Event | None = None
        self._welcome: asyncio.TimerHandle | None = None
        self.socket = None

    # --- the socket's side ---------------------------------------------------------------------------

    def connected(self, socket: ClientSocket) -> None:
        self.socket = socket
        self._welcome = asyncio.get_running_loop().call_later(_WELCOME_DELAY, self._send_welcome)
        self._room.entered(self)

    def _send_welcome(self) -> None:
        if self._welcome is not None:
            self._welcome.cancel()
            self._welcome = None
            self._room.welcome(self)

    def received(self, packet: bytes) -> None:
        reassembler = self._reassembler
        message = reassembler.receive(packet)
        if message is not None:
            if self._welcome is not None:
                self._send_welcome()
            self._room.dispatcher.dispatch(self, message)
        elif reassembler.oversized is not None:
            oversized, reassembler.oversized = reassembler.oversized, None
            limit = self._limits.max_message_bytes
            self.fail(
                oversized.id,
                LimitExceededError(f"the message is larger than the limit of {limit} bytes", limit=limit),
            )

    def received_text(self, text: str) -> bool:
        """Text frames belong to no client of this protocol; they are ignored, not punished (protocol 1.3)."""
        return True

    def writable(self) -> None:
        if self._writable is not None:
            self._writable.set()

    def lost(self, code: int, reason: str) -> None:
        self.socket = None
        self._behind = None
        if self._welcome is not None:
            self._welcome.cancel()
        for task in self._tasks or ():
            task.cancel()
        if self._stream is not None:
            self._stream.cancel()
        if self._reassembler.dropped:
            log.info("%r sent %d packets that fit no message", self.participant, self._reassembler.dropped)
        self._room.departed(self, code, reason)

    # --- the participant's outbox --------------------------------------------------------------------

    def deliver(self, frames: bytes) -> None:
        if self._welcome is not None:
            self._send_welcome()
        if self._behind is not None:
            self._queue_behind(frames)
        elif self.socket is not None:
            self.socket.write(frames)

    async def sent(self) -> bool:
        await asyncio.sleep(0)  # answers of this turn are written in the next one
        while self._behind and self._stream is not None:
            await asyncio.wait([self._stream])
        return self.socket is not None and await self.socket.drained()

    def disconnect(self, code: int, reason: str) -> None:
        if self.socket is not None:
            self.socket.close(code, reason)

    def drop(self) -> None:
        """Cut the connection without a close frame, which makes current clients come back."""
        if self.socket is not None:
            self.socket.drop()

    # --- the dispatcher's caller ---------------------------------------------------------------------

    def answer(self, message_id: int, result: object) -> None:
        if isinstance(result, AnswerWithFollowUp):
            self.deliver(encode_answer(message_id, result.result))
            if self.socket is not None:
                result.follow_up()
        elif isinstance(result, StreamedFile):
            self._send_stream(message_id, result)
        else:
            self.deliver(encode_answer(message_id, result))

    def fail(self, message_id: int, error: RoomException) -> None:
        self.deliver(encode_failure(message_id, error))

    def answer_when_done(self, message_id: int, result: Any, size: int) -> None:
        tasks = self._tasks
        if tasks is None:
            tasks = self._tasks = set()
        limit = self._limits.max_pending_requests
        if len(tasks) >= limit:
            if asyncio.iscoroutine(result):
                result.close()
            raise LimitExceededError(f"over {limit} requests of this connection are waiting", limit=limit)
        future: asyncio.Future[Any]
        if asyncio.iscoroutine(result):  # naming a task costs less than the number that it would get
            future = asyncio.get_running_loop().create_task(result, name=RUNNING.name)
        else:
            future = asyncio.ensure_future(result)
        tasks.add(future)
        self._pending_bytes += size
        if self._pending_bytes > self._limits.max_pending_bytes and not self._paused and self.socket is not None:
            self._paused = True
            self.socket.pause_reading()
        future.add_done_callback(lambda done: self._finish(message_id, done, size))

    def _finish(self, message_id: int, done: asyncio.Future[Any], size: int) -> None:
        if self._tasks is not None:
            self._tasks.discard(done)
        self._pending_bytes -= size
        if self._paused and self._pending_bytes <= self._limits.max_pending_bytes // 2:
            self._paused = False
            if self.socket is not None:
                self.socket.resume_reading()
        if done.cancelled():
            if self.socket is not None:
                self.fail(message_id, UnavailableError("the server stopped working on the request"))
            return
        error = done.exception()
        if error is None:
            self.answer(message_id, done.result())
        elif isinstance(error, RoomException):
            self.fail(message_id, error)
        else:  # also what is no Exception, such as a panic in a library that is written in Rust
            self.fail(message_id, self._room.dispatcher.unexpected(self.participant, "a request", error))

    # --- streamed files ------------------------------------------------------------------------------

    def _queue_behind(self, item: bytes | tuple[int, StreamedFile]) -> None:
        """Keep what comes while a stream is being sent: packets of two messages must never mix."""
        assert self._behind is not None
        self._behind.append(item)
        if isinstance(item, bytes):
            self._behind_bytes += len(item)
        socket = self.socket
        if socket is None:
            return
        waiting = self._behind_bytes
        if waiting + socket.buffered > self._limits.max_buffered_bytes:
            log.warning("%r reads too slowly: %d bytes wait behind a download", self.participant, waiting)
            socket.drop()

    def _send_stream(self, message_id: int, file: StreamedFile) -> None:
        if self._behind is not None:
            self._queue_behind((message_id, file))
            return
        self._behind = deque()
        self._behind_bytes = 0
        self._stream = asyncio.get_running_loop().create_task(self._stream_files(message_id, file))

    async def _stream_files(self, message_id: int, file: StreamedFile) -> None:
        """Send a file, then what queued up behind it, until nothing is left."""
        try:
            await self._stream_file(message_id, file)
            while self._behind:
                item = self._behind.popleft()
                if isinstance(item, bytes):
                    self._behind_bytes -= len(item)
                    if self.socket is not None:
                        self.socket.write(item)
                else:
                    await self._stream_file(*item)
            self._behind = None
        except Exception:
            # The message was announced and cannot be finished; its receiver can only start afresh.
            log.exception("a download of %r broke off", self.participant)
            self.drop()
        finally:
            self._stream = None

    async def _stream_file(self, message_id: int, file: StreamedFile) -> None:
        carried = envelope.pack({"type": "file", "name": file.name, "mime_type": file.mime_type})
        total = count_packets(len(carried) + file.size)
        self._write(header_frame(message_id, names.RESPONSE, total))
        index = 0
        async for chunk in file.chunks:
            view = memoryview(chunk)
            if carried:  # fill up the packet that was begun
                missing = DATA_SIZE - len(carried)
                begun, view = carried + view[:missing], view[missing:]
                if len(begun) < DATA_SIZE:
                    carried = begun
                    continue
                index += 1
                self._write(data_frame(message_id, index, begun))
            while len(view) >= DATA_SIZE:
                index += 1
                self._write(data_frame(message_id, index, view[:DATA_SIZE]))
                view = view[DATA_SIZE:]
                await self._room_in_socket()
            carried = bytes(view)
        if carried:
            index += 1
            self._write(data_frame(message_id, index, carried))
        if index != total:
            raise InternalError(f"{file.name} changed its size while it was sent")

    def _write(self, frame: bytes) -> None:
        if self.socket is not None:
            self.socket.write(frame)

    async def _room_in_socket(self) -> None:
        """Yield after every packet, and wait while the socket is full."""
        while self.socket is not None and self.socket.congested:
            self._writable = asyncio.Event()
            await self._writable.wait()
        await asyncio.sleep(0)
