"""Outgoing messages queued for a connection that cannot keep up.

Three kinds of messages are queued, in one order. Replies (answers, downloads, states of documents) are sent at the pace
of the participant's reading, whatever their size; while more than `max_reply_bytes` of them wait, the server stops
reading its requests. Relayed messages (items of the streams that it opened to hosts) stop the reading of their hosts at
`PUSHED_FACTOR` times `max_pushed_bytes`. Pushed messages (events, broadcasts, updates from others) are bounded: senders
that can wait do (`offer`), the rest is queued up to `PUSHED_FACTOR` times the bound. A participant that reads too
little is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from meshagent.api.errors import InternalError
from meshagent.api.wire import envelope, names
from meshagent.api.wire.packets import DATA_SIZE, count_packets
from meshagent.server.kernel.byte_budget import BudgetShare, ByteBudget
from meshagent.server.kernel.operations import StreamedFile
from meshagent.server.websocket.encoding import data_frame, header_frame
from meshagent.server.websocket.handler import ClientSocket

log = logging.getLogger(__name__)

MAX_WINDOW: Final = 1024 * 1024
"""Bytes handed to a socket ahead of its reading: enough to keep a fast reader busy."""

PUSHED_FACTOR: Final = 8
"""What others push or relay may reach this many times `max_pushed_bytes` for a participant that reads, but slowly."""

MAX_STREAMS: Final = 64
"""Downloads that wait before the reader pauses; each holds an open file."""

_IDLE_CHECKS: Final = 5
"""Checks without a byte read after which a participant is cut off whatever it waits for."""


@dataclass(frozen=True, slots=True)
class BacklogLimits:
    """Bounds of a backlog.

    Attributes:
        max_pushed_bytes: What others may have pushed before senders wait; a single message is always taken.
        max_reply_bytes: Answers beyond which the reader pauses.
        drain_timeout: Seconds in which a participant with more than `max_pushed_bytes` waiting must read an eighth
            of that.
        waiting: What all participants together may have waiting. While it is more, senders wait for each participant
            with something waiting, and those with more than a window of what others sent are cut off.
    """

    max_pushed_bytes: int
    max_reply_bytes: int
    drain_timeout: float
    waiting: ByteBudget

    @property
    def window(self) -> int:
        """Bytes handed to the socket ahead of its reading."""
        return min(MAX_WINDOW, self.max_pushed_bytes // 4)


class Owner(Protocol):
    """The connection that a backlog belongs to."""

    def emptied(self) -> None:
        """Nothing waits any more; the backlog is not used again."""
        ...

    def cut(self, reason: str) -> None:
        """The participant must go."""
        ...

    def replies_changed(self) -> None:
        """More or fewer bytes of answers wait."""
        ...


@dataclass(slots=True)
class _Pushed:
    frames: bytes


@dataclass(slots=True)
class _Relayed:
    frames: bytes


@dataclass(slots=True)
class _Stream:
    message_id: int
    file: StreamedFile


_Item = bytes | _Pushed | _Relayed | _Stream | asyncio.Future[bool]


class Backlog:
    """The queue of one connection while it is congested; its own task empties it.

    Args:
        socket: Where it goes.
        owner: The connection.
        limits: Bounds.
        name: The participant, for the log.
    """

    __slots__ = (
        "_checks_without_progress",
        "_held",
        "_items",
        "_limits",
        "_name",
        "_owner",
        "_relay_deadline",
        "_relay_room",
        "_sent_to_kernel",
        "_share",
        "_socket",
        "_task",
        "_timer",
        "_writable",
        "pushed_bytes",
        "relayed_bytes",
        "reply_bytes",
        "streams",
    )

    def __init__(self, socket: ClientSocket, owner: Owner, limits: BacklogLimits, name: str) -> None:
        self._socket = socket
        self._owner = owner
        self._limits = limits
        self._name = name
        self._items: deque[_Item] = deque()
        self._held: deque[tuple[bytes, asyncio.Future[bool]]] = deque()
        self._share = BudgetShare(limits.waiting)
        self.pushed_bytes = 0
        self.relayed_bytes = 0
        self.reply_bytes = 0
        self.streams = 0
        self._relay_room: asyncio.Future[None] | None = None
        self._relay_deadline: asyncio.TimerHandle | None = None
        self._writable: asyncio.Event | None = None
        self._checks_without_progress = 0
        self._sent_to_kernel = socket.taken
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(limits.drain_timeout, self._check)
        self._task = loop.create_task(self._run(), name="sending to a slow reader")

    # ---- what goes in

    @property
    def is_full(self) -> bool:
        """Whether senders have to wait."""
        return bool(self._held) or self._is_over()

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all kinds that wait, besides files."""
        return self.pushed_bytes + self.relayed_bytes + self.reply_bytes

    @property
    def exceeds_budget(self) -> bool:
        """Whether all participants together have too much waiting, and this one is among them."""
        return self._share.is_exceeded

    def push(self, frames: bytes) -> None:
        """Keep what somebody else sends; beyond the bound the participant is cut off."""
        limit = self._limits.max_pushed_bytes * PUSHED_FACTOR
        if self.pushed_bytes > limit:
            self._owner.cut(f"too slow: over {limit} bytes that others sent are waiting")
            return
        self._items.append(_Pushed(frames))
        self.pushed_bytes += len(frames)
        self._count()
        if self.pushed_bytes > self._limits.window and self._share.is_exceeded:
            self._owner.cut("too slow: all participants together have too much waiting")

    def offer(self, frames: bytes) -> asyncio.Future[bool] | None:
        """Keep what somebody else sends, or hold it until there is room.

        Returns:
            None if it is kept; else what becomes True when it is, and False if the connection ends before.
        """
        if not self.is_full:
            self.push(frames)
            return None
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._held.append((frames, waiter))
        return waiter

    def reply(self, frames: bytes) -> None:
        """Keep what the participant asked for."""
        self._items.append(frames)
        self.reply_bytes += len(frames)
        self._count()
        self._owner.replies_changed()

    def relay(self, frames: bytes) -> asyncio.Future[None] | None:
        """Keep an item of a stream that the participant opened to a host.

        Returns:
            None, or what is done when half of what may wait does. The participant is cut off if it does not get
            there within `drain_timeout`: its hosts serve others too.
        """
        self._items.append(_Relayed(frames))
        self.relayed_bytes += len(frames)
        self._count()
        if self._relay_room is None and self._has_much_relayed(self._limits.max_pushed_bytes * PUSHED_FACTOR):
            loop = asyncio.get_running_loop()
            self._relay_room = loop.create_future()
            timeout = self._limits.drain_timeout
            reason = f"too slow: the hosts of its streams waited for it for {timeout:g} s"
            self._relay_deadline = loop.call_later(timeout, self._owner.cut, reason)
        return self._relay_room

    def _has_much_relayed(self, limit: int) -> bool:
        waiting = self.relayed_bytes
        return waiting > limit or (self._share.is_exceeded and waiting > self._limits.window)

    def _let_hosts_go_on(self) -> None:
        if self._relay_deadline is not None:
            self._relay_deadline.cancel()
        if self._relay_room is not None and not self._relay_room.done():
            self._relay_room.set_result(None)
        self._relay_room = self._relay_deadline = None

    def stream(self, message_id: int, file: StreamedFile) -> None:
        """Keep a download that the participant asked for; it is read when its turn comes."""
        self._items.append(_Stream(message_id, file))
        self.streams += 1
        self._owner.replies_changed()

    async def passed(self) -> bool:
        """Wait until everything that waits now was handed to the socket; False if the connection ends before."""
        marker: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._items.append(marker)
        return await marker

    # ---- what the socket tells

    def writable(self) -> None:
        """The socket has drained."""
        if self._writable is not None:
            self._writable.set()

    def close(self) -> None:
        """The connection is over: forget everything, and tell those who wait."""
        self._timer.cancel()
        self._task.cancel()
        self._let_hosts_go_on()
        self._share.hold(0)
        for item in self._items:
            if isinstance(item, asyncio.Future) and not item.done():
                item.set_result(False)
        self._items.clear()
        held, self._held = self._held, deque()
        for _, waiter in held:
            if not waiter.done():
                waiter.set_result(False)

    # ---- what goes out

    async def _run(self) -> None:
        try:
            while self._items or self._held:
                if not self._items:
                    self._take_one()
                else:
                    await self._send(self._items.popleft())
                    self._take_held()
        except Exception:
            # The header of a message is sent and its data cannot be: the client has to reconnect.
            log.exception("a download of %s broke off", self._name)
            self._owner.cut("a download broke off")
        else:
            self._timer.cancel()
            self._share.hold(0)
            self._owner.emptied()

    async def _send(self, item: _Item) -> None:
        if isinstance(item, bytes):
            await self._room_for_bytes()
            self.reply_bytes -= len(item)
            self._count()
            self._socket.write(item)
            self._owner.replies_changed()
        elif isinstance(item, _Pushed):
            await self._room_for_bytes()
            self.pushed_bytes -= len(item.frames)
            self._count()
            self._socket.write(item.frames)
        elif isinstance(item, _Relayed):
            await self._room_for_bytes()
            self.relayed_bytes -= len(item.frames)
            self._count()
            self._socket.write(item.frames)
            half = self._limits.max_pushed_bytes * PUSHED_FACTOR // 2
            if self._relay_room is not None and not self._has_much_relayed(half):
                self._let_hosts_go_on()
        elif isinstance(item, _Stream):
            await self._stream_file(item.message_id, item.file)
            self.streams -= 1
            self._owner.replies_changed()
        elif not item.done():
            item.set_result(True)

    def _take_held(self) -> None:
        while self._held and not self._is_over():
            self._take_one()

    def _take_one(self) -> None:
        frames, waiter = self._held.popleft()
        if waiter.cancelled():  # its sender has left without an answer
            return
        self._items.append(_Pushed(frames))
        self.pushed_bytes += len(frames)
        self._count()
        waiter.set_result(True)

    def _is_over(self) -> bool:
        return self.pushed_bytes > self._limits.max_pushed_bytes or self._share.is_exceeded

    def _count(self) -> None:
        self._share.hold(self.waiting_bytes)

    async def _stream_file(self, message_id: int, file: StreamedFile) -> None:
        carried = envelope.pack({"type": "file", "name": file.name, "mime_type": file.mime_type})
        total = count_packets(len(carried) + file.size)
        write = self._socket.write
        write(header_frame(message_id, names.RESPONSE, total))
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
                write(data_frame(message_id, index, begun))
            while len(view) >= DATA_SIZE:
                index += 1
                write(data_frame(message_id, index, view[:DATA_SIZE]))
                view = view[DATA_SIZE:]
                await self._room_for_packet()
            carried = bytes(view)
        if carried:
            index += 1
            write(data_frame(message_id, index, carried))
        if index != total:
            raise InternalError(f"{file.name} changed its size while it was sent")

    async def _room_for_bytes(self) -> None:
        await self._wait_while(lambda: self._socket.congested and self._socket.buffered >= self._limits.window)

    async def _room_for_packet(self) -> None:
        """Yield after every packet, and wait while the socket is full."""
        await self._wait_while(lambda: self._socket.congested)
        await asyncio.sleep(0)

    async def _wait_while(self, full: Callable[[], bool]) -> None:
        while full():
            self._writable = asyncio.Event()
            await self._writable.wait()

    # ---- who reads too slowly

    def _check(self) -> None:
        """Cut off a participant that does not read enough; called every `drain_timeout` seconds."""
        limits = self._limits
        sent = self._socket.taken
        read, self._sent_to_kernel = sent - self._sent_to_kernel, sent
        self._checks_without_progress = 0 if read else self._checks_without_progress + 1
        seconds = f"{limits.drain_timeout:g} s"
        if self.is_full and read < limits.max_pushed_bytes // 8:
            self._owner.cut(f"too slow: read {read} bytes in {seconds} while {self.pushed_bytes} bytes waited")
        elif self._checks_without_progress >= _IDLE_CHECKS and self._socket.buffered:
            self._owner.cut(f"too slow: read nothing in {_IDLE_CHECKS} times {seconds}")
        else:
            self._timer = asyncio.get_running_loop().call_later(limits.drain_timeout, self._check)
