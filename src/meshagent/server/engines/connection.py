"""Calls to one engine process, many at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from meshagent.api.errors import RoomException
from meshagent.server.engines.errors import received_error
from meshagent.server.engines.methods import Method
from meshagent.server.engines.packets import (
    PACKET_BYTES,
    Answer,
    Call,
    Cancel,
    CloseRoom,
    End,
    Failure,
    FromEngine,
    LogEntry,
    Notice,
    PacketSocket,
    Ping,
    Pong,
    Start,
)

__all__ = ["EngineConnection", "EngineGoneError", "PendingCall"]


class EngineGoneError(Exception):
    """The process ended before the answer came.

    Attributes:
        blame: What to tell the caller, if the call itself was why the process was killed.
    """

    def __init__(self, blame: RoomException | None = None) -> None:
        super().__init__("the engine's process ended")
        self.blame = blame


@dataclass(slots=True, eq=False)
class PendingCall:
    """A call without an answer yet.

    Attributes:
        is_write: Whether it changes something.
        running: For how many seconds it is worked on, as the process said last; None while it waits.
        cpu: Processor time that it was charged with.
    """

    is_write: bool
    future: asyncio.Future[msgspec.Raw]
    running: float | None = None
    cpu: float = 0.0


@dataclass(slots=True)
class _Sending:
    """The order of a room's calls while some are too long to be sent at once."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class EngineConnection:
    """The server's end.

    Attributes:
        pending: The calls that wait for an answer, by number.
        last_use: When the last call came or ended.
        in_use: Whether the process holds something open of somebody, as it said last.
        ping_sent: When the `Ping` was sent that waits for its answer; None if none does.
        lost: Done when the process closed its end.
    """

    def __init__(self) -> None:
        self.socket = PacketSocket(self._received, self._lost)
        self.pending: dict[int, PendingCall] = {}
        self.last_use = time.monotonic()
        self.in_use = False
        self.ping_sent: float | None = None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_busy = asyncio.Event()
        self._number = 0
        self._sending: dict[str, _Sending] = {}
        self._decoder = msgspec.msgpack.Decoder(FromEngine)
        self._ended = False

    @property
    def is_open(self) -> bool:
        """Whether calls are taken."""
        return not self._ended

    async def call(self, room: str, method: Method, arguments: msgspec.Raw) -> Any:
        """Call, and wait for the result; calls of one room reach the process in their order.

        Raises:
            EngineGoneError: The process ended first.
            RoomException: The call failed.
        """
        number, pending = self._add(method.is_write)
        try:
            await self._send(room, Call(number, room, method.name, arguments), len(bytes(arguments)))
            return method.result.decode(await pending.future)
        finally:
            self._remove(number)

    async def close_room(self, room: str) -> None:
        """Finish the writes of a room. Errors as of `call`."""
        number, pending = self._add(True)
        try:
            await self._send(room, CloseRoom(number, room), 0)
            await pending.future
        finally:
            self._remove(number)

    def notify(self, room: str, method: str, arguments: msgspec.Raw) -> None:
        """Call without an answer."""
        self.last_use = time.monotonic()
        self.socket.send_now(Notice(room, method, arguments))

    def start(self, start: Start) -> None:
        """Say what is served: before anything else."""
        self.socket.send_now(start)

    def ping(self) -> None:
        """Ask for a sign of life, if none is on its way."""
        if self.ping_sent is None:
            self.ping_sent = time.monotonic()
            self.socket.send_now(Ping())

    def end(self) -> None:
        """Ask the process to close its rooms and end; no calls are taken any more."""
        self._ended = True
        self.socket.send_now(End())

    def fail(self, blamed: dict[int, RoomException]) -> None:
        """The process is gone, and no call gets an answer."""
        self._ended = True
        self.socket.close()
        for number, pending in self.pending.items():
            if not pending.future.done():
                pending.future.set_exception(EngineGoneError(blamed.get(number)))

    # --- inside ----------------------------------------------------------------------------------------

    def _add(self, is_write: bool) -> tuple[int, PendingCall]:
        self._number += 1
        pending = self.pending[self._number] = PendingCall(is_write, asyncio.get_running_loop().create_future())
        self.last_use = time.monotonic()
        self.is_busy.set()
        return self._number, pending

    def _remove(self, number: int) -> None:
        pending = self.pending.pop(number)
        self.last_use = time.monotonic()
        if not pending.future.done() or pending.future.cancelled():
            self.socket.send_now(Cancel(number))
        elif (error := pending.future.exception()) is not None:
            del error  # its caller was told, or left: it is not lost without a word

    async def _send(self, room: str, message: Call | CloseRoom, size: int) -> None:
        if size < PACKET_BYTES - 1024 and self.socket.is_free and room not in self._sending:
            self.socket.send_now(message)
            return
        sending = self._sending.setdefault(room, _Sending())
        sending.users += 1
        try:
            async with sending.lock:
                whole = asyncio.ensure_future(self.socket.send(message))
                await asyncio.shield(whole)  # half a message would stay in the process for good
        finally:
            sending.users -= 1
            if not sending.users:
                self._sending.pop(room, None)

    def _received(self, data: bytes) -> None:
        message: FromEngine = self._decoder.decode(data)
        match message:
            case Answer():
                self._settle(message.number, message.result)
            case Failure():
                self._settle(message.number, received_error(message.error))
            case Pong():
                self.ping_sent = None
                self.in_use = message.in_use
                for number, pending in self.pending.items():
                    pending.running = message.running.get(number)
            case LogEntry():
                logging.getLogger(message.logger).log(message.level, "%s", message.text)

    def _settle(self, number: int, outcome: msgspec.Raw | RoomException) -> None:
        pending = self.pending.get(number)
        if pending is None or pending.future.done():
            return
        if isinstance(outcome, RoomException):
            pending.future.set_exception(outcome)
        else:
            pending.future.set_result(outcome)

    def _lost(self) -> None:
        self._ended = True
        if not self.lost.done():
            self.lost.set_result(None)
