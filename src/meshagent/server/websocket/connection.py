"""One WebSocket connection: it delivers whole messages, takes pre-built frames, and bounds memory and time."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from meshagent.server.websocket.corker import Corker
from meshagent.server.websocket.frames import (
    ABNORMAL,
    INTERNAL_ERROR,
    NORMAL,
    PING,
    PONG,
    TRY_AGAIN_LATER,
    UNSUPPORTED_DATA,
    FrameReader,
    ProtocolViolation,
    close_frame,
    server_frame,
)
from meshagent.server.websocket.handler import WebSocketHandler
from meshagent.server.websocket.read_slices import ReadSlices, ReadTurns
from meshagent.server.websocket.unacknowledged import unacknowledged_bytes

__all__ = ["WebSocket", "WebSocketLimits"]

logger = logging.getLogger(__name__)

_CONGESTED_BYTES: Final = 64 * 1024  # as much as a transport takes before it asks its writer to pause
_JOIN_BYTES: Final = 16 * 1024  # larger batches are handed over piece by piece: copying would cost more
_QUIET_SECONDS: Final = 5.0
"""Silence after which a peer that work is handed to is asked whether it is there."""
_ANSWER_SECONDS: Final = 2.0
"""Longest that it may take to answer before others are preferred."""
_PING: Final = server_frame(b"", PING)

_OPEN: Final = 0
_CLOSING: Final = 1  # our close frame is on its way; the peer's is awaited, its messages are dropped
_ENDING: Final = 2  # nothing is sent or delivered any more; the TCP connection is on its way down


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketLimits:
    """Bounds of every connection of a shell. Bytes and seconds."""

    max_message_bytes: int = 4 * 1024 * 1024 + 4096
    """Largest message taken, fragments added up; a larger one closes with 1009. The slack is for a
    packet's prefix around a 4 MiB body."""
    max_buffered_bytes: int = 8 * 1024 * 1024
    """Most that may wait to be sent when more is written; a connection that is further behind is cut."""
    ping_interval: float = 30.0
    """Silence after which the server pings."""
    ping_timeout: float = 20.0
    """Silence after that ping which ends the connection."""
    close_timeout: float = 5.0
    """Longest wait for the peer to finish a close handshake."""


class Shared(Protocol):
    """What the connections of one server share; `WebSocketShell` is the real one."""

    limits: WebSocketLimits
    loop: asyncio.AbstractEventLoop
    corker: Corker
    read_buffer: memoryview
    read_turns: ReadTurns

    def forget(self, socket: WebSocket) -> None:
        """A connection is gone."""
        ...


class WebSocket(asyncio.BufferedProtocol):
    """One connection, from its accepted handshake to its end. Use it on its loop only.

    Attributes:
        remote: The peer's address as text, "" if unknown.
        bytes_in: Bytes read from the connection since the handshake.
        bytes_out: Bytes handed to the transport since the handshake.
    """

    __slots__ = (
        "_asked_at",
        "_corked_bytes",
        "_drain_waiters",
        "_end_code",
        "_end_reason",
        "_handler",
        "_late_pong",
        "_pending",
        "_reader",
        "_shell",
        "_slices",
        "_slow_path_bytes",
        "_state",
        "_timer",
        "_transport",
        "_transport_paused",
        "acknowledged",
        "bytes_in",
        "bytes_out",
        "congested",
        "heard_at",
        "reading_paused",
        "remote",
    )

    def __init__(self, shell: Shared, transport: asyncio.Transport, handler: WebSocketHandler, remote: str) -> None:
        self._shell = shell
        self._transport = transport
        self._handler: WebSocketHandler | None = handler
        self._reader = FrameReader(self, handler.received, shell.limits.max_message_bytes)
        self._slices = ReadSlices(shell.loop, transport, shell.read_buffer, self._feed, shell.read_turns)
        self._state = _OPEN
        self._end_code = ABNORMAL
        self._end_reason = "connection lost"
        self._timer: asyncio.TimerHandle | None = None
        self._pending: list[bytes] = []
        self._corked_bytes = 0
        self._slow_path_bytes = _CONGESTED_BYTES
        self._transport_paused = False
        self._drain_waiters: deque[tuple[int, asyncio.Future[bool]]] | None = None
        self._late_pong = b""
        self.congested = False
        """Whether more than 64 KiB wait. Bulk senders stop while it is true and go on in `writable`."""
        self.reading_paused = False
        """Whether `pause_reading` is in force."""
        self.bytes_in = 0
        self.heard_at = shell.loop.time()
        """The loop's time when something came last."""
        self._asked_at = 0.0
        self.acknowledged: int | None = None
        """Bytes that the peer's system had received when the connection was cut; None if that is not known."""
        self.bytes_out = 0
        self.remote = remote

    def start(self, early_bytes: bytes) -> None:
        """Introduce the connection to its handler, then take what came behind the handshake."""
        assert self._handler is not None
        try:
            self._handler.connected(self)
        except Exception:  # as in `_feed`
            logger.exception("handling a new WebSocket connection from %s failed", self.remote)
            self._fail(INTERNAL_ERROR, "internal error")
        if early_bytes:
            self.bytes_in += len(early_bytes)
            self._slices.serve(early_bytes)

    # ---- what the owner uses

    @property
    def buffered(self) -> int:
        """Bytes waiting to be sent, here and in the transport."""
        return self._corked_bytes + self._transport.get_write_buffer_size()

    @property
    def taken(self) -> int:
        """Bytes that the operating system has taken so far."""
        return self.bytes_out - self._transport.get_write_buffer_size()

    @property
    def is_open(self) -> bool:
        """Whether messages can still be sent."""
        return self._state == _OPEN

    def write(self, frames: bytes) -> None:
        """Send whole frames, as `server_frame` builds them; the same bytes may go to many sockets.

        They leave with everything else of this turn of the loop. Never waits: if more than
        `max_buffered_bytes` wait already, the connection is cut, what waits is freed, and `lost` is
        called with 1013 in a later turn. A single write may be larger than that. Rooms
        queue less than this bound (`rooms.backlog`): it is the last resort for every sender. Does nothing once the
        connection is not open.
        """
        if self._state:
            return
        if not self._pending:
            self._shell.corker.add(self)
        self._pending.append(frames)
        self._corked_bytes += len(frames)
        if self._corked_bytes > self._slow_path_bytes:
            self._check_bound(len(frames))

    async def drained(self) -> bool:
        """Wait until the system has taken everything written so far; False if the connection ends before that."""
        if self._state == _ENDING:
            return False
        if not self.buffered:
            return True
        if self._drain_waiters is None:
            self._drain_waiters = deque()
            if not self._transport.is_closing():  # by default a transport reports only that 64 KiB have shrunk to 16
                self._transport.set_write_buffer_limits(high=0)
        waiter: asyncio.Future[bool] = self._shell.loop.create_future()
        self._drain_waiters.append((self.bytes_out + self._corked_bytes, waiter))
        return await waiter

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Send what waits, then a close frame; wait up to `close_timeout` for the peer's.

        No more messages are delivered; `lost(code, reason)` follows. `reason` is cut to 123 bytes.

        Raises:
            ValueError: `code` must not stand in a close frame.
        """
        frame = close_frame(code, reason)
        if self._state:
            return
        self._state = _CLOSING
        self._end_code, self._end_reason = code, reason
        self._reader.discard_messages()
        self._send_now(frame)
        self._end_by(self._shell.limits.close_timeout)
        self.resume_reading()

    def drop(self, code: int = ABNORMAL, reason: str = "dropped by the server") -> None:
        """Cut the TCP connection without a close frame, discarding what waits; current clients reconnect."""
        self._cut(code, reason)

    def pause_reading(self) -> None:
        """Stop reading from the peer, and delivering what has been read; a message being delivered is the last."""
        if not self._state and not self.reading_paused:
            self.reading_paused = True
            self._reader.deadline = 0.0
            self._slices.pause()

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        if self.reading_paused:
            self.reading_paused = False
            self._slices.resume()

    @property
    def sent_bytes(self) -> int:
        """Bytes that were given to `write` so far."""
        return self.bytes_out + self._corked_bytes

    def seems_present(self) -> bool:
        """Whether the peer seems to be there; asks it, if nothing was heard of it for a few seconds."""
        now = self._shell.loop.time()
        if now - self.heard_at < _QUIET_SECONDS or self.reading_paused:
            return True
        if self._asked_at <= self.heard_at:
            self._asked_at = now
            self.probe()
            return True
        return now - self._asked_at < _ANSWER_SECONDS

    # ---- asyncio.BufferedProtocol

    def get_buffer(self, sizehint: int) -> memoryview:
        """A part of the shell's one read buffer, which is emptied before control returns to the loop."""
        return self._slices.view

    def buffer_updated(self, nbytes: int) -> None:
        """Take the bytes just read."""
        self.bytes_in += nbytes
        self.heard_at = self._shell.loop.time()
        self._slices.read(nbytes)

    def _feed(self, data: bytes | memoryview, deadline: float) -> int:
        """Deliver messages from the peer until `deadline`, or a pause; returns the bytes taken."""
        reader = self._reader
        reader.deadline = deadline
        try:
            return reader.feed(data)
        except ProtocolViolation as violation:
            self._fail(violation.code, violation.reason)
        except Exception:  # the handler's; its connection's state is unknown, so the connection ends
            logger.exception("handling a WebSocket message from %s failed", self.remote)
            self._fail(INTERNAL_ERROR, "internal error")
        return len(data)

    def eof_received(self) -> bool:
        """The peer sends no more. Half-open connections are not kept; unsent bytes would only wait."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        return False

    def pause_writing(self) -> None:
        """The transport holds more than 64 KiB: from here on every write is checked against the bound.

        While somebody waits for it to drain, any byte that it holds has the same effect.
        """
        self._transport_paused = self.congested = True
        self._slow_path_bytes = 0

    def resume_writing(self) -> None:
        """The transport has drained."""
        self._transport_paused = False
        self._slow_path_bytes = _CONGESTED_BYTES
        if self._late_pong:
            pong, self._late_pong = self._late_pong, b""
            self.write(pong)
        self._relieve()
        if self._drain_waiters is not None:
            self._wake_drained()

    def connection_lost(self, exc: BaseException | None) -> None:
        """The TCP connection is gone."""
        self._state = _ENDING
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._reader.stop()
        self._slices.stop()
        self._forget_pending()
        self._shell.forget(self)
        self._report(self._end_code, self._end_reason)

    # ---- frames that are not binary messages (FrameSink)

    def on_text(self, text: str) -> None:
        """A text message: the handler's to take, or a reason to close."""
        if self._state == _OPEN and self._handler is not None and not self._handler.received_text(text):
            raise ProtocolViolation(UNSUPPORTED_DATA, "text messages are not accepted here")

    def on_ping(self, payload: bytes) -> None:
        """Answer; while the peer does not read, only its latest ping (RFC 6455 section 5.5.3)."""
        pong = server_frame(payload, PONG)
        if self._transport_paused:
            self._late_pong = pong
        else:
            self.write(pong)

    def on_close(self, code: int, reason: str) -> None:
        """The peer's close frame: the answer to ours, or a wish to end that is answered and obeyed."""
        if self._state == _OPEN:
            self._end_code, self._end_reason = code, reason
            self._send_now(close_frame(code))
        self._state = _ENDING
        self._reader.stop()
        self._end_by(self._shell.limits.close_timeout)  # the peer may not read what still waits
        self._transport.close()
        self._report(self._end_code, self._end_reason)

    # ---- heartbeat

    def probe(self) -> None:
        """Ping a silent peer."""
        self.write(_PING)

    def silent(self) -> None:
        """The peer did not answer in time."""
        self._cut(ABNORMAL, "no sign of life within the ping timeout")

    # ---- sending

    def flush(self) -> None:
        """Hand what waits to the transport. The corker calls it."""
        pending = self._pending
        if not pending:
            return
        transport = self._transport
        if transport.is_closing():
            self._forget_pending()
            return
        self.bytes_out += self._corked_bytes
        if len(pending) == 1:
            transport.write(pending[0])
        elif self._corked_bytes <= _JOIN_BYTES:
            transport.write(b"".join(pending))
        else:
            transport.writelines(pending)
            if not self._transport_paused:
                self._pause_if_full()
        pending.clear()
        self._corked_bytes = 0
        if self.congested:
            self._relieve()
        if self._drain_waiters is not None:
            self._wake_drained()

    def _pause_if_full(self) -> None:
        """Make the transport ask for a pause if it holds too much.

        `writelines` of asyncio's own transport never does, in Python 3.12 and 3.13.0 (3.11's does): its buffer grows
        without a word, and nobody is told when it has drained. Setting the limits again makes it compare.
        """
        high = None if self._drain_waiters is None else 0
        if self._transport.get_write_buffer_size() > (_CONGESTED_BYTES if high is None else high):
            self._transport.set_write_buffer_limits(high)

    def _send_now(self, frame: bytes) -> None:
        self._pending.append(frame)
        self._corked_bytes += len(frame)
        self.flush()

    def _check_bound(self, added: int) -> None:
        """Slow path of `write`, taken above 64 KiB of one batch or while the transport is paused."""
        self.congested = True
        limit = self._shell.limits.max_buffered_bytes
        if self.buffered - added > limit:
            self._cut(TRY_AGAIN_LATER, f"too slow: more than {limit} bytes waiting to be sent")

    def _relieve(self) -> None:
        if self.congested and not self._transport_paused and self._corked_bytes <= _CONGESTED_BYTES:
            self.congested = False
            if self._handler is not None and not self._state:
                self._handler.writable()

    def _wake_drained(self) -> None:
        waiters = self._drain_waiters
        if waiters is None:
            return
        taken = self.bytes_out - self._transport.get_write_buffer_size()
        while waiters and waiters[0][0] <= taken:
            waiter = waiters.popleft()[1]
            if not waiter.done():
                waiter.set_result(True)
        if not waiters:
            self._drain_waiters = None
            if not self._transport.is_closing():
                self._transport.set_write_buffer_limits()

    def _give_up_draining(self) -> None:
        waiters, self._drain_waiters = self._drain_waiters, None
        for _, waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(False)

    def _forget_pending(self) -> None:
        self._pending.clear()
        self._corked_bytes = 0
        self._late_pong = b""

    # ---- ending

    def _fail(self, code: int, reason: str) -> None:
        """End for a reason the peer is told: close frame, half-close, then wait for it to go.

        Closing the TCP connection at once could reset it while the peer's bytes are unread, and the
        reset would overtake the close frame.
        """
        if self._state != _ENDING:
            if self._state == _OPEN:
                self._end_code, self._end_reason = code, reason
                self._send_now(close_frame(code, reason))
            self._state = _ENDING
            if self._transport.can_write_eof() and not self._transport.is_closing():
                self._transport.write_eof()
            self._end_by(self._shell.limits.close_timeout)
            self.resume_reading()
        self._reader.stop()
        self._report(self._end_code, self._end_reason)

    def _cut(self, code: int, reason: str) -> None:
        """End at once; `lost` follows from the transport, in a later turn."""
        unacknowledged = unacknowledged_bytes(self._transport)
        if unacknowledged is not None:
            self.acknowledged = self.taken - unacknowledged
        if self._state == _OPEN:
            self._end_code, self._end_reason = code, reason
        self._state = _ENDING
        self._reader.stop()
        self._forget_pending()
        self._transport.abort()

    def _end_by(self, seconds: float) -> None:
        """Abort the connection if it still stands after `seconds`."""
        if self._timer is None:
            self._timer = self._shell.loop.call_later(seconds, self._transport.abort)

    def _report(self, code: int, reason: str) -> None:
        self._give_up_draining()
        handler, self._handler = self._handler, None
        if handler is None:
            return
        try:
            handler.lost(code, reason)
        except Exception:  # the connection is over either way
            logger.exception("handling the end of a WebSocket connection from %s failed", self.remote)
