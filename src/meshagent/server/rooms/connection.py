"""A connection: one participant's WebSocket, from the upgrade to the end.

It puts packets together, hands messages to the room's dispatcher, and sends answers. Order: messages are
handled in the order in which they came; a request that has to wait becomes a task of the connection.
Bounds: what waits to be sent is bounded by its backlog, bytes of requests that wait and of answers that are not read
by pausing the reader, and the number of requests by refusing more.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from meshagent.api.errors import LimitExceededError, RoomException, UnavailableError
from meshagent.api.wire.close_codes import CloseCode
from meshagent.api.wire.packets import Message, Reassembler
from meshagent.server.kernel.admission import Admission
from meshagent.server.kernel.byte_budget import STEP, BudgetShare, ByteBudget
from meshagent.server.kernel.dispatcher import Dispatcher
from meshagent.server.kernel.operations import AnswerWithFollowUp, StreamedFile
from meshagent.server.kernel.participant import Participant
from meshagent.server.kernel.rate_limits import RateExceededError, RequestGate, RequestRates
from meshagent.server.kernel.running_operation import RUNNING
from meshagent.server.rooms.backlog import MAX_STREAMS, Backlog, BacklogLimits, Owner
from meshagent.server.websocket.encoding import encode_answer, encode_failure
from meshagent.server.websocket.handler import ClientSocket, WebSocketHandler

log = logging.getLogger(__name__)


_NOTHING: Final[frozenset[asyncio.Future[None]]] = frozenset()

_WELCOME_DELAY = 0.002
"""Seconds between the handshake and the welcome. What a client sent along with its handshake, a ping for
instance, is answered first; its first whole message brings the welcome forward."""


_WORK: Final = {
    "storage": 32,
    "database": 32,
    "database.insert": 4,
    "dataset": 32,
    "sql": 32,
    "room": 32,
    "queues.send": 1,
}
"""What the operations that keep disks and engines busy count, by name or by its first word. The others wait for people,
or cost little. Inserts that wait at the same time share a commit, so that many cost little more than one."""

MAX_WORK: Final = 256
MOST_AT_A_TIME: Final = MAX_WORK // _WORK["storage"]
MOST_INSERTS: Final = MAX_WORK // _WORK["database.insert"]


def _weight(operation: str) -> int:
    return _WORK.get(operation) or _WORK.get(operation.partition(".")[0], 0)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Bounds of one connection.

    Attributes:
        max_message_bytes: Data of one message; a larger request is answered with an error.
        max_pending_requests: Requests that wait for something; one more is refused.
        max_pending_bytes: Bytes held by waiting requests, or by answers that wait, before the reader pauses.
        max_pushed_bytes: Bytes that others may have queued for the participant before senders wait; the setting
            `limits.max_buffered_bytes`.
        drain_timeout: Seconds in which the participant must read an eighth of `max_pushed_bytes` while senders wait.
        rates: How many requests tokens and projects may send in a second.
        waiting: Bytes that all connections together may have waiting. While it is more, those that have 64 KiB
            waiting send no message and get no answer of that size.
    """

    max_message_bytes: int = 64 * 1024 * 1024
    max_pending_requests: int = 10_000
    max_pending_bytes: int = 16 * 1024 * 1024
    max_pushed_bytes: int = 8 * 1024 * 1024
    drain_timeout: float = 10.0
    rates: RequestRates = field(default_factory=RequestRates)
    waiting: ByteBudget = field(default_factory=ByteBudget)

    @property
    def backlog(self) -> BacklogLimits:
        """What may wait to be sent."""
        return BacklogLimits(self.max_pushed_bytes, self.max_pending_bytes, self.drain_timeout, self.waiting)


@dataclass(slots=True)
class _Work:
    """A request whose coroutine has not begun yet."""

    message_id: int
    coroutine: Coroutine[Any, Any, Any]
    size: int
    name: str
    weight: int


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


class Connection(WebSocketHandler, Owner):
    """Implements the socket's handler, the dispatcher's caller, and the participant's outbox.

    Args:
        room: Where the participant enters when the socket opens.
        admission: Who it is.
        limits: Bounds.
    """

    __slots__ = (
        "_acknowledged",
        "_backlog",
        "_backlog_limits",
        "_clear_socket",
        "_gate",
        "_incoming",
        "_limits",
        "_paused",
        "_pending_bytes",
        "_queued",
        "_read_after",
        "_reassembler",
        "_room",
        "_tasks",
        "_welcome",
        "_window",
        "_working",
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
        self._gate = limits.rates.gate(admission)
        self._backlog_limits = limits.backlog
        self._window = self._backlog_limits.window
        self._reassembler = Reassembler(limits.max_message_bytes)
        self._incoming = BudgetShare(limits.waiting)
        self._tasks: set[asyncio.Future[Any]] | None = None
        self._pending_bytes = 0
        self._working = 0
        self._queued: deque[_Work] | None = None
        self._paused = False
        self._read_after: frozenset[asyncio.Future[None]] = _NOTHING
        self._acknowledged: int | None = None
        self._backlog: Backlog | None = None
        self._welcome: asyncio.TimerHandle | None = None
        # The socket while nothing goes before what is written to it: no welcome and no backlog. Every delivery of a
        # broadcast looks at this one attribute.
        self._clear_socket: ClientSocket | None = None
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
            if self._backlog is None:
                self._clear_socket = self.socket
            self._room.welcome(self)

    def received(self, packet: bytes) -> None:
        reassembler = self._reassembler
        message = reassembler.receive(packet)
        if message is not None:
            if self._welcome is not None:
                self._send_welcome()
            if len(message.data) >= STEP and self._incoming.is_exceeded:
                self._fail_for_budget(message.id)
            elif self._gate is None:
                self._room.dispatcher.dispatch(self, message)
            else:
                self._dispatch_within_rate(self._gate, message)
            if self._incoming.counted:
                self._count_incoming()
        elif reassembler.size >= STEP:
            self._count_incoming()
            if self._incoming.is_exceeded:
                self._fail_for_budget(reassembler.give_up())
                self._count_incoming()
        elif reassembler.oversized is not None:
            oversized, reassembler.oversized = reassembler.oversized, None
            limit = self._limits.max_message_bytes
            self.fail(
                oversized.id,
                LimitExceededError(f"the message is larger than the limit of {limit} bytes", limit=limit),
            )

    def _count_incoming(self) -> None:
        self._incoming.hold(self._pending_bytes + self._reassembler.size)

    def _fail_for_budget(self, message_id: int) -> None:
        limit = self._limits.waiting.limit
        text = f"over {limit:,} bytes of requests and answers wait in the room, or too many in the server; try again"
        self.fail(message_id, LimitExceededError(text, limit=limit))

    def _dispatch_within_rate(self, gate: RequestGate, message: Message) -> None:
        dispatcher = self._room.dispatcher
        try:
            if not dispatcher.is_one_way(message.type):
                gate.count()
        except RateExceededError as error:
            self.fail(message.id, error)
        else:
            dispatcher.dispatch(self, message)

    def received_text(self, text: str) -> bool:
        """Text frames belong to no client of this protocol; they are ignored, not punished (protocol 1.3)."""
        return True

    def writable(self) -> None:
        if self._backlog is not None:
            self._backlog.writable()

    def lost(self, code: int, reason: str) -> None:
        if self.socket is not None:
            self._acknowledged = self.socket.acknowledged
        self.socket = self._clear_socket = None
        self._close_backlog()
        if self._welcome is not None:
            self._welcome.cancel()
        for work in self._queued or ():
            work.coroutine.close()
        self._queued = None
        for task in self._tasks or ():
            task.cancel()
        self._incoming.hold(0)
        if self._reassembler.dropped:
            log.info("%r sent %d packets that fit no message", self.participant, self._reassembler.dropped)
        self._room.departed(self, code, reason)

    # --- the participant's outbox --------------------------------------------------------------------

    def deliver(self, frames: bytes) -> None:
        socket = self._clear_socket
        if socket is not None and not socket.congested:
            socket.write(frames)
        elif (kept := self._kept_unless_written(frames)) is not None:
            kept.push(frames)

    def offer(self, frames: bytes) -> asyncio.Future[bool] | None:
        socket = self._clear_socket
        if socket is not None and not socket.congested:
            socket.write(frames)
            return None
        if self._backlog is not None:
            return self._backlog.offer(frames)
        self.deliver(frames)
        return None

    def reply(self, frames: bytes) -> None:
        socket = self._clear_socket
        if socket is not None and not socket.congested:
            socket.write(frames)
        elif (kept := self._kept_unless_written(frames)) is not None:
            kept.reply(frames)

    def relay(self, frames: bytes) -> asyncio.Future[None] | None:
        socket = self._clear_socket
        if socket is not None and not socket.congested:
            socket.write(frames)
        elif (kept := self._kept_unless_written(frames)) is not None:
            return kept.relay(frames)
        return None

    def read_after(self, ready: asyncio.Future[None]) -> None:
        if ready not in self._read_after:
            self._read_after |= {ready}
            ready.add_done_callback(self._end_read_after)
            self._pace_reading()

    def _end_read_after(self, ready: asyncio.Future[None]) -> None:
        self._read_after -= {ready}
        if self._paused:
            self._pace_reading()

    def _kept_unless_written(self, frames: bytes) -> Backlog | None:
        """The slow way out: write `frames`, or say which backlog has to keep them; None too if nobody is there."""
        if self._welcome is not None:
            self._send_welcome()
        socket = self.socket
        if socket is None:
            return None
        if self._backlog is None and socket.buffered + len(frames) <= self._window:
            socket.write(frames)
            return None
        return self._kept(socket)

    def position(self) -> int:
        waiting = 0 if self._backlog is None else self._backlog.waiting_bytes
        return waiting + (0 if self.socket is None else self.socket.sent_bytes)

    def surely_missed(self, position: int) -> bool:
        return self._acknowledged is not None and position > self._acknowledged

    def seems_present(self) -> bool:
        return self.socket is not None and self.socket.seems_present()

    @property
    def is_full(self) -> bool:
        return self._backlog is not None and self._backlog.is_full

    def _kept(self, socket: ClientSocket) -> Backlog:
        if self._backlog is None:
            self._clear_socket = None
            self._backlog = Backlog(socket, self, self._backlog_limits, repr(self.participant))
        return self._backlog

    async def sent(self) -> bool:
        await asyncio.sleep(0)  # answers of this turn are written in the next one
        if self._backlog is not None:
            await self._backlog.passed()
        return self.socket is not None and await self.socket.drained()

    def disconnect(self, code: int, reason: str) -> None:
        if self.socket is not None:
            self.socket.close(code, reason)

    # --- the backlog's owner ---------------------------------------------------------------------------

    def emptied(self) -> None:
        self._backlog = None
        self._clear_socket = self.socket

    def cut(self, reason: str) -> None:
        log.warning("%r is cut off: %s", self.participant, reason)
        self._close_backlog()
        if self.socket is not None:
            self.socket.drop(CloseCode.TRY_AGAIN, reason)

    def replies_changed(self) -> None:
        self._pace_reading()

    def _close_backlog(self) -> None:
        if self._backlog is not None:
            self._backlog.close()
            self._backlog = None

    def drop(self) -> None:
        """Cut the connection without a close frame, which makes current clients come back."""
        if self.socket is not None:
            self.socket.drop()

    # --- the dispatcher's caller ---------------------------------------------------------------------

    def answer(self, message_id: int, result: object) -> None:
        if isinstance(result, AnswerWithFollowUp):
            self.reply(encode_answer(message_id, result.result))
            if self.socket is not None:
                result.follow_up()
        elif isinstance(result, StreamedFile):
            if self.socket is not None:
                self._kept(self.socket).stream(message_id, result)
        else:
            frames = encode_answer(message_id, result)
            if self._backlog is not None and len(frames) >= STEP and self._backlog.exceeds_budget:
                self._fail_for_budget(message_id)
            else:
                self.reply(frames)

    def fail(self, message_id: int, error: RoomException) -> None:
        self.reply(encode_failure(message_id, error))

    def answer_when_done(self, message_id: int, result: Any, size: int) -> None:
        tasks = self._tasks
        if tasks is None:
            tasks = self._tasks = set()
        limit = self._limits.max_pending_requests
        if len(tasks) >= limit:
            if asyncio.iscoroutine(result):
                result.close()
            raise LimitExceededError(f"over {limit} requests of this connection are waiting", limit=limit)
        self._pending_bytes += size
        if self._pending_bytes >= self._incoming.counted + STEP:
            self._count_incoming()
        if asyncio.iscoroutine(result):
            self._take_work(_Work(message_id, result, size, RUNNING.name, _weight(RUNNING.name)))
        else:
            future = asyncio.ensure_future(result)
            self._count_work(future, RUNNING.name == "queues.send")  # of those that have begun, only these are many
            self._watch(message_id, future, size)
        if self._pending_bytes > self._limits.max_pending_bytes or self._working > MAX_WORK:
            self._pace_reading()

    def _take_work(self, work: _Work) -> None:
        """Start a request, or let it wait for earlier ones, in order, while too much is worked on."""
        if not self._queued and self._working + work.weight <= MAX_WORK:
            self._start_work(work)
            return
        if self._queued is None:
            self._queued = deque()
        self._queued.append(work)
        self._pace_reading()

    def _start_work(self, work: _Work) -> None:
        # Naming a task costs less than the number that it would get.
        task = asyncio.get_running_loop().create_task(work.coroutine, name=work.name)
        self._count_work(task, work.weight)
        self._watch(work.message_id, task, work.size)

    def _count_work(self, future: asyncio.Future[Any], weight: int) -> None:
        if weight:
            self._working += weight
            future.add_done_callback(lambda _: self._end_work(weight))

    def _end_work(self, weight: int) -> None:
        self._working -= weight
        while self._queued and self._working + self._queued[0].weight <= MAX_WORK:
            self._start_work(self._queued.popleft())
        if self._paused:
            self._pace_reading()

    def _watch(self, message_id: int, future: asyncio.Future[Any], size: int) -> None:
        """Answer when `future` is done; with the connection's end it is cancelled."""
        assert self._tasks is not None
        self._tasks.add(future)
        future.add_done_callback(lambda done: self._finish(message_id, done, size))

    def _finish(self, message_id: int, done: asyncio.Future[Any], size: int) -> None:
        if self._tasks is not None:
            self._tasks.discard(done)
        self._pending_bytes -= size
        if self._incoming.counted:
            self._count_incoming()
        if self._paused:
            self._pace_reading()
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

    def _pace_reading(self) -> None:
        """Read no further while too much of the participant waits: requests for their answers, answers for it."""
        socket = self.socket
        if socket is None:
            return
        limit = self._limits.max_pending_bytes
        held, streams = self._pending_bytes, 0
        if self._backlog is not None:
            held, streams = max(held, self._backlog.reply_bytes), self._backlog.streams
        too_much = held > limit or streams > MAX_STREAMS or self._working > MAX_WORK
        if too_much or self._queued or self._read_after:
            if not self._paused:
                self._paused = True
                socket.pause_reading()
        elif self._paused and held <= limit // 2:
            self._paused = False
            socket.resume_reading()
